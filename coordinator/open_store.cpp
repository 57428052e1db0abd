#include "coordinator/open_store.hpp"

#include <fmt/format.h>

#include <string_view>

#include "coordinator/etcd_store.hpp"
#include "coordinator/sqlite_store.hpp"

namespace ballast {

bool is_replicated(const std::string& where) { return where.starts_with("etcd://"); }

result<std::unique_ptr<store>> open_store(const std::string& where) {
  if (where.empty() || where == "memory") return std::make_unique<memory_store>();
  constexpr std::string_view sqlite = "sqlite://";
  if (where.starts_with(sqlite) && where.size() > sqlite.size()) return open_sqlite_store(where.substr(sqlite.size()));
  if (is_replicated(where)) {
    auto candidate = etcd_candidate::open(where, {});
    if (!candidate) return fail(candidate.error());
    return candidate->lead();
  }
  return fail(errc::invalid_argument,
              fmt::format("store = `{}` is unknown; stores are memory, sqlite://FILE and etcd://HOST:PORT", where));
}

}  // namespace ballast
