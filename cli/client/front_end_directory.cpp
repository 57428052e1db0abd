#include "cli/client/front_end_directory.hpp"

#include <utility>

namespace ballast {

bool front_end_directory::on(const cluster_status& all) {
  // Overtaken by an event; unless it happens twice in a row: then a new coordinator counts from the start again.
  if (all.event_sequence < sequence_ && ++overtaken_ < 2) return false;
  overtaken_ = 0;
  sequence_ = all.event_sequence;
  gap_ = false;
  seats_.clear();
  for (const auto& seat : all.seats) seats_[seat.seat] = seat;
  return rebuild();
}

bool front_end_directory::on(const event& news) {
  if (news.sequence <= sequence_) return false;
  if (sequence_ != 0 && news.sequence != sequence_ + 1) gap_ = true;
  sequence_ = news.sequence;
  for (const auto& seat : news.seats) seats_[seat.seat] = seat;
  return !news.seats.empty() && rebuild();
}

bool front_end_directory::rebuild() {
  std::set<std::string> open, alive;
  active_seats_ = 0;
  for (const auto& [id, seat] : seats_) {
    const bool active = seat.state == "active";
    active_seats_ += active ? 1 : 0;
    if (seat.front_end.empty()) continue;
    if (active) open.insert(seat.front_end);
    if (active || seat.state == "leaving") alive.insert(seat.front_end);
  }
  const bool changed = open != open_ || alive != alive_;
  open_ = std::move(open);
  alive_ = std::move(alive);
  return changed;
}

}  // namespace ballast
