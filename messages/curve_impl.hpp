// Puts keys on a ZeroMQ socket before it is bound or connected, or refuses an address that would be spoken to in the
// clear.
#pragma once

#include <string>
#include <zmq.hpp>

#include "messages/security.hpp"

namespace ballast::curve {

// ZAP domains: who may connect depends on what a socket is for.
inline constexpr const char* messages_domain = "messages";  // everybody on the list
inline constexpr const char* data_domain = "data";          // agents only: tokens and weights

// The address to bind or connect, without its "?key=…". Of tcp sockets: CURVE where this process has keys; plain
// without them, on loopback or where the settings say insecure. inproc and ipc stay plain: the system guards them.
// Errors: invalid_argument, one line with the remedy. Throws zmq::error_t.
result<std::string> prepare(zmq::socket_t& socket, const link_security& security, const std::string& address, bool bind,
                            const char* domain);

// A bound address as others are told of it: with the key to expect there, if it takes one.
std::string announced(const link_security& security, const std::string& bound);

bool is_loopback(const std::string& address);  // tcp://127.…, tcp://localhost:…, tcp://[::1]:…

}  // namespace ballast::curve
