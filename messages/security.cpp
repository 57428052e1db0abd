#include "messages/security.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "messages/settings.hpp"

namespace ballast {
namespace {

constexpr std::uint32_t many = 1u << 30;

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

tl::unexpected<error> bad(const settings& at, const std::string& what) {
  return fail(errc::malformed, fmt::format("{}: {}", at.where(), what));
}

peer_limits read_limits(const settings& s) {
  peer_limits l;
  l.messages_per_s = s.get("peer_messages_per_s", l.messages_per_s, 0, many);
  l.waiting = s.get("peer_waiting", l.waiting, 16, many);
  l.queue_bytes = s.get("peer_queue_mib", l.queue_bytes >> 20, 1, 1u << 20) << 20;
  l.handshake_ms = s.get("handshake_ms", l.handshake_ms, 100, 600'000);
  return l;
}

}  // namespace

bool is_key(const std::string& text) { return text.size() == 64 && std::ranges::all_of(text, is_hex); }

result<key_pair> read_keys(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0)
    return fail(errc::io, fmt::format("{}: no such key file; make one with `ballast keygen {}`", path, path));
  if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0)
    return fail(errc::io, fmt::format("{}: others than its owner may read this secret; chmod 600 {}", path, path));
  const auto file = settings::from_file(path);
  // A parser's complaint could quote the secret.
  if (!file) return fail(errc::malformed, fmt::format("{}: not a key file; make one with `ballast keygen`", path));
  key_pair keys{file->get("public", ""), file->get("secret", "")};
  if (!file->finish() || !is_key(keys.public_key) || !is_key(keys.secret_key))
    return fail(errc::malformed, fmt::format("{}: not a key file; make one with `ballast keygen`", path));
  return keys;
}

result<std::map<std::string, allowed_peer>> read_allowed(const std::string& path) {
  const auto file = settings::from_file(path);
  if (!file) return fail(file.error());
  std::map<std::string, allowed_peer> allowed;
  for (const auto& row : file->tables("peer")) {
    const auto name = row.get("name", ""), role = row.get("role", ""), key = row.get("key", "");
    if (auto ok = row.finish(); !ok) return fail(ok.error());
    if (name.empty()) return bad(row, "a peer needs a name, for logs");
    const auto known = role_named(role);
    if (!known) return bad(row, fmt::format("role \"{}\" is none of agent, operator, client, observer", role));
    if (!is_key(key)) return bad(row, "key is not a public key of `ballast keygen`: 64 hexadecimal digits");
    if (!allowed.emplace(key, allowed_peer{name, *known}).second) return bad(row, "this key is in the list already");
  }
  if (auto ok = file->finish(); !ok) return fail(ok.error());
  return allowed;
}

result<link_security> read_security(const settings& file) {
  const auto table = file.table("security");
  link_security s;
  const auto keys = table.get("keys", ""), peers = table.get("peers", "");
  s.server_key = table.get("server_key", "");
  s.insecure = table.get("insecure", false);
  s.limits = read_limits(table);
  if (auto ok = table.finish(); !ok) return fail(ok.error());
  if (!s.server_key.empty() && !is_key(s.server_key))
    return bad(table, "server_key is not a public key of `ballast keygen`: 64 hexadecimal digits");
  if (keys.empty()) {
    if (!peers.empty() || !s.server_key.empty())
      return bad(table, "peers and server_key are of no use without keys; name the file of `ballast keygen` as keys");
    return s;
  }
  if (s.insecure) return bad(table, "keys and insecure = true exclude each other; remove one");
  auto own = read_keys(keys);
  if (!own) return fail(own.error());
  s.keys = std::move(*own);
  if (peers.empty()) return s;
  auto allowed = read_allowed(peers);
  if (!allowed) return fail(allowed.error());
  s.allowed = std::move(*allowed);
  return s;
}

}  // namespace ballast
