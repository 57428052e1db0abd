// Who a peer is, once its key was found in the allow-list, and what it may then say where. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "messages/messages.hpp"
#include "messages/result.hpp"

namespace ballast {

enum class peer_role : std::uint8_t { agent, operator_, client, observer };

const char* to_string(peer_role role) noexcept;  // "operator"
std::optional<peer_role> role_named(std::string_view name);

// What an authenticated connection is known by on its socket: "operator/alice".
std::string user_of(peer_role role, const std::string& name);

// Admission at a coordinator's gateway and at an agent's front end. Empty `user`: the socket is a plain one, on which
// all are trusted. Error: forbidden for this role, one line that names it, the message and who may send it.
using admission = status (*)(std::string_view user, const message_body& body);
status coordinator_admits(std::string_view user, const message_body& body);
status front_end_admits(std::string_view user, const message_body& body);

}  // namespace ballast
