// `ballast keygen`, and the keys of the other verbs.
#include <fmt/core.h>

#include <ostream>

#include "cli/render/render.hpp"
#include "cli/verbs/verbs.hpp"

namespace ballast::verbs {

status keygen(const common_options& common, const std::string& file, std::ostream& out) {
  const auto made = make_keys(file);
  if (!made) return fail(made.error());
  if (common.json) {
    out << fmt::format("{{\"file\":{},\"public\":\"{}\"}}\n", json::quoted(file), made->public_key);
    return {};
  }
  out << fmt::format("{} holds the secret key; keep it to its owner. For the list of those who may connect:\n\n", file)
      << fmt::format("[[peer]]\nname = \"…\"\nrole = \"agent\"  # or operator, client, observer\nkey = \"{}\"\n",
                     made->public_key);
  return {};
}

status secure(link_context& context, const common_options& common) {
  link_security security;
  security.insecure = common.insecure;
  security.server_key = common.server_key;
  if (!common.server_key.empty() && !is_key(common.server_key))
    return fail(errc::invalid_argument, "--server-key is not a public key of `ballast keygen`: 64 hexadecimal digits");
  if (!common.keys.empty()) {
    auto keys = read_keys(common.keys);
    if (!keys) return fail(keys.error());
    security.keys = std::move(*keys);
  }
  return context.secure(std::move(security));
}

}  // namespace ballast::verbs
