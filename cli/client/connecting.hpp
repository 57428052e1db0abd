// Options of a link that connects, as every client makes them.
#pragma once

#include <string>

#include "messages/link.hpp"

namespace ballast {

inline link_options connecting(link_kind kind, const std::string& address, const std::string& name) {
  link_options options;
  options.kind = kind;
  options.address = address;
  options.name = name;
  return options;
}

}  // namespace ballast
