// Changes for tests of stores.
#pragma once

#include <string>

#include "coordinator/store.hpp"

namespace ballast {

inline store_change put(const std::string& name, const std::string& text) { return {{{name, text}}, {}}; }

inline journal_record line(operation_id id) {
  journal_record r;
  r.at_ms = 7 * id;
  r.operation.id = id;
  r.operation.kind = "scale";
  r.operation.reason = "asked for";
  r.members = {seat_id{0}, seat_id{3}};
  r.versions = {4};
  return r;
}

}  // namespace ballast
