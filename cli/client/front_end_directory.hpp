// Which front ends serve, as the coordinator's status and events tell. Pure; used by one thread.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "messages/messages.hpp"

namespace ballast {

class front_end_directory {
 public:
  // True if what is known changed. A status older than an event already seen changes nothing.
  bool on(const cluster_status& all);
  bool on(const event& news);

  bool gap() const noexcept { return gap_; }                              // an event was missed: ask for the status
  const std::set<std::string>& open() const noexcept { return open_; }    // with an active seat: takes requests
  const std::set<std::string>& alive() const noexcept { return alive_; }  // with an active or leaving seat
  std::size_t active_seats() const noexcept { return active_seats_; }

 private:
  bool rebuild();

  std::map<seat_id, seat_status> seats_;
  std::set<std::string> open_, alive_;
  std::size_t active_seats_ = 0;
  std::uint64_t sequence_ = 0;
  std::uint32_t overtaken_ = 0;  // statuses in a row that were older than an event
  bool gap_ = false;
};

}  // namespace ballast
