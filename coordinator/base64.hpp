// Base64 (RFC 4648, with padding): how bytes stand in etcd's JSON.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ballast {

std::string to_base64(std::string_view bytes);
std::optional<std::string> from_base64(std::string_view text);  // none: it is not base64

}  // namespace ballast
