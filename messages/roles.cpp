#include "messages/roles.hpp"

#include <fmt/format.h>

#include <array>
#include <vector>

namespace ballast {
namespace {

constexpr std::array role_names{"agent", "operator", "client", "observer"};

std::optional<peer_role> role_of(std::string_view user) { return role_named(user.substr(0, user.find('/'))); }

template <class... M>
bool is_one_of(const message_body& body) {
  return (std::holds_alternative<M>(body) || ...);
}

using roles = std::vector<peer_role>;

// Nobody sends a gateway what it sends itself.
roles heard_by_coordinator(const message_body& body) {
  using enum peer_role;
  if (is_one_of<hello, heartbeat, seat_outcome, load_summary, seat_trouble>(body)) return {agent};
  if (is_one_of<scale_request, rebalance_request, abort_request>(body)) return {operator_};
  if (is_one_of<get_status>(body)) return {operator_, client, observer};
  if (is_one_of<get_operations>(body)) return {operator_, observer};
  return {};
}

roles heard_by_front_end(const message_body& body) {
  using enum peer_role;
  if (is_one_of<inference_request, cancel_request>(body)) return {client};
  if (is_one_of<session_handover, handover_taken>(body)) return {agent};
  return {};
}

status admit(std::string_view user, const message_body& body, const roles& heard) {
  if (user.empty()) return {};
  const auto role = role_of(user);
  std::vector<std::string> names;
  for (const auto one : heard) {
    if (role == one) return {};
    names.push_back(to_string(one));
  }
  return fail(errc::invalid_argument,
              fmt::format("a {} is not for {} to send here; {}", message_name(body), user,
                          names.empty() ? std::string("nobody may")
                                        : fmt::format("use a key of the role {}", fmt::join(names, " or "))));
}

}  // namespace

const char* to_string(peer_role role) noexcept { return role_names[static_cast<std::size_t>(role)]; }

std::optional<peer_role> role_named(std::string_view name) {
  for (std::size_t i = 0; i < role_names.size(); ++i)
    if (name == role_names[i]) return static_cast<peer_role>(i);
  return std::nullopt;
}

std::string user_of(peer_role role, const std::string& name) { return fmt::format("{}/{}", to_string(role), name); }

status coordinator_admits(std::string_view user, const message_body& body) {
  return admit(user, body, heard_by_coordinator(body));
}

status front_end_admits(std::string_view user, const message_body& body) {
  return admit(user, body, heard_by_front_end(body));
}

}  // namespace ballast
