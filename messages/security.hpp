// Keys, the list of who may connect, and limits: what a process needs to speak to others over a network. Read once, at
// start. Nothing here touches a socket (curve_impl.hpp, zap_impl.hpp), and no secret is ever part of an error or a log
// line.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "messages/peer_limits.hpp"
#include "messages/result.hpp"
#include "messages/roles.hpp"

namespace ballast {

class settings;

// A CURVE key as text: 64 hexadecimal digits.
bool is_key(const std::string& text);

struct key_pair {
  std::string public_key, secret_key;
};

struct allowed_peer {
  std::string name;
  peer_role role = peer_role::observer;
};

struct link_security {
  std::optional<key_pair> keys;                 // of this process; none: plain sockets, on loopback addresses only
  std::map<std::string, allowed_peer> allowed;  // by public key: who may connect to sockets that this process binds
  std::string server_key;                       // of servers whose address names none ("tcp://host:port?key=…")
  bool insecure = false;                        // plain sockets on any address: for networks that are trusted
  peer_limits limits;
};

// Reads [security] of a deployment's settings, with the files it names. Errors: one line naming file, line and remedy.
result<link_security> read_security(const settings& file);
// A key pair's file. Errors: io (not there, or readable by others than its owner), malformed.
result<key_pair> read_keys(const std::string& path);
// Errors: malformed (no key, no such role, a key twice), naming file and line.
result<std::map<std::string, allowed_peer>> read_allowed(const std::string& path);

// A new pair, in a new file that only its owner can read. Errors: io (there is a file already), unavailable (libzmq has
// no CURVE). Needs ballast::link.
result<key_pair> make_keys(const std::string& path);

}  // namespace ballast
