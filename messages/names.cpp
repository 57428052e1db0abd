#include "messages/names_impl.hpp"

namespace ballast {

const char* message_name(const message_body& body) noexcept {
  return body.valueless_by_exception() ? "none" : message_names[body.index()];
}

const char* command_name(const command_body& body) noexcept {
  return body.valueless_by_exception() ? "none" : command_names[body.index()];
}

}  // namespace ballast
