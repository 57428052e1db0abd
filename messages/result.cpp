#include "messages/result.hpp"

#include "messages/names_impl.hpp"

namespace ballast {

const char* to_string(errc code) noexcept {
  const auto index = static_cast<std::size_t>(code);
  return index < error_names.size() ? error_names[index] : "unknown";
}

}  // namespace ballast
