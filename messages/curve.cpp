#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "messages/curve_impl.hpp"

namespace ballast {
namespace curve {
namespace {

constexpr std::string_view key_mark = "?key=";
using raw_key = std::array<std::uint8_t, 32>;

raw_key raw(const std::string& hex) {
  raw_key key{};
  for (std::size_t i = 0; i < key.size(); ++i)
    key[i] = static_cast<std::uint8_t>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
  return key;
}

void set_key(zmq::socket_t& socket, int option, const std::string& hex) {
  raw_key key = raw(hex);
  const int failed = zmq_setsockopt(socket.handle(), option, key.data(), key.size());
  explicit_bzero(key.data(), key.size());
  if (failed != 0) throw zmq::error_t();
}

status refuse_plain(const link_security& security, const std::string& address, bool bind) {
  if (security.insecure || is_loopback(address)) return {};
  return fail(
      errc::invalid_argument,
      fmt::format("{} {} would be in the clear; make keys with `ballast keygen` and name them as keys in [security] "
                  "(ballast: --keys), or set insecure = true there (--insecure) if the network is trusted",
                  bind ? "binding" : "connecting to", address));
}

status set_client_keys(zmq::socket_t& socket, const link_security& security, const std::string& address,
                       const std::string& server_key) {
  if (!is_key(server_key))
    return fail(
        errc::invalid_argument,
        fmt::format("{}: the server's public key is not known; append it to the address as ?key=…, or name it as "
                    "server_key in [security]",
                    address));
  set_key(socket, ZMQ_CURVE_SERVERKEY, server_key);
  set_key(socket, ZMQ_CURVE_PUBLICKEY, security.keys->public_key);
  set_key(socket, ZMQ_CURVE_SECRETKEY, security.keys->secret_key);
  return {};
}

}  // namespace

bool is_loopback(const std::string& address) {
  if (address.starts_with("tcp://localhost:") || address.starts_with("tcp://[::1]:")) return true;
  constexpr std::string_view network = "tcp://127.";
  if (!address.starts_with(network)) return false;
  // Numbers alone: 127.example.org is a name, and may be anywhere.
  const auto rest = std::string_view(address).substr(network.size());
  return rest.substr(0, rest.find(':')).find_first_not_of("0123456789.") == std::string_view::npos;
}

result<std::string> prepare(zmq::socket_t& socket, const link_security& security, const std::string& address, bool bind,
                            const char* domain) {
  const auto mark = address.find(key_mark);
  const auto plain = address.substr(0, mark);
  const auto key = mark == std::string::npos ? security.server_key : address.substr(mark + key_mark.size());
  if (!address.starts_with("tcp://")) return plain;
  if (!security.keys) {
    if (mark != std::string::npos)
      return fail(
          errc::invalid_argument,
          fmt::format("{}: expects a key, and this process has none; make one with `ballast keygen` and name it "
                      "as keys in [security]",
                      plain));
    if (auto ok = refuse_plain(security, plain, bind); !ok) return fail(ok.error());
    return plain;
  }
  if (!bind) {
    if (auto ok = set_client_keys(socket, security, plain, key); !ok) return fail(ok.error());
    return plain;
  }
  socket.set(zmq::sockopt::zap_domain, domain);
  socket.set(zmq::sockopt::curve_server, true);
  set_key(socket, ZMQ_CURVE_SECRETKEY, security.keys->secret_key);
  return plain;
}

std::string announced(const link_security& security, const std::string& bound) {
  if (!security.keys || !bound.starts_with("tcp://")) return bound;
  return bound + std::string(key_mark) + security.keys->public_key;
}

}  // namespace curve

namespace {

std::string hex(const char* z85) {
  std::array<std::uint8_t, 32> raw{};
  zmq_z85_decode(raw.data(), z85);
  auto text = fmt::format("{:02x}", fmt::join(raw, ""));
  explicit_bzero(raw.data(), raw.size());
  return text;
}

}  // namespace

result<key_pair> make_keys(const std::string& path) {
  std::array<char, 41> made_public{}, made_secret{};
  if (zmq_curve_keypair(made_public.data(), made_secret.data()) != 0)
    return fail(errc::unavailable, "this libzmq has no CURVE; install one that was built with libsodium");
  const key_pair keys{hex(made_public.data()), hex(made_secret.data())};
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (file < 0)
    return fail(errc::io, fmt::format("{}: {}", path,
                                      errno == EEXIST ? "is there already and is not overwritten; name another file"
                                                      : std::strerror(errno)));
  const auto text = fmt::format(
      "# A key pair of Ballast. The public key may be known to everybody, the secret to nobody.\n"
      "public = \"{}\"\nsecret = \"{}\"\n",
      keys.public_key, keys.secret_key);
  const bool written = ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const bool closed = ::close(file) == 0;
  if (written && closed) return keys;
  ::unlink(path.c_str());
  return fail(errc::io, fmt::format("{}: cannot be written ({})", path, std::strerror(errno)));
}

}  // namespace ballast
