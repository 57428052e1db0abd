#include "coordinator/open_store.hpp"

#include <fmt/format.h>

#include <string_view>

#include "coordinator/sqlite_store.hpp"

namespace ballast {

result<std::unique_ptr<store>> open_store(const std::string& where) {
  if (where.empty() || where == "memory") return std::make_unique<memory_store>();
  constexpr std::string_view sqlite = "sqlite://";
  if (where.starts_with(sqlite) && where.size() > sqlite.size()) return open_sqlite_store(where.substr(sqlite.size()));
  return fail(errc::invalid_argument,
              fmt::format("store = `{}` is unknown; stores are memory and sqlite://FILE", where));
}

}  // namespace ballast
