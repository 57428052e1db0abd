// What the coordinator has saved, and its death at any moment: before a write, after it, or in between two.
#include <fmt/core.h>

#include <algorithm>

#include "tests/sim/sim_cluster.hpp"

namespace ballast::sim {

void world::advance() {
  release(gate_.released());
  if (const auto change = gate_.begin_save()) write(change);
}

void world::write(const std::shared_ptr<const store_change>& change) {
  if (death_due_ == death::before_write && --writes_until_death_ == 0) return coordinator_dies();
  writing_ = true;
  if (sim_.now() >= disk_slow_until_us_) return written(*change);
  sim_.after(sim_.roll.between(1 * ms, 120 * ms), [this, change, life = coordinator_life_] {
    if (life == coordinator_life_) written(*change);
  });
}

void world::written(const store_change& change) {
  writing_ = false;
  for (const auto& [name, row] : change.rows) {
    if (row)
      disk_[name] = *row;
    else
      disk_.erase(name);
  }
  if (death_due_ == death::after_write && --writes_until_death_ == 0) return coordinator_dies();
  gate_.saved();
  advance();
}

void world::coordinator_dies() {
  if (!coordinator_up_) return;
  sim_.trace([] { return std::string("the coordinator dies"); });
  ++deaths_;
  death_due_ = death::none;
  coordinator_up_ = writing_ = false;
  ++coordinator_life_;
  gate_ = {};
  sim_.after(dead_for_us_, [this] { coordinator_returns(); });
}

void world::coordinator_returns() {
  auto saved = cluster::restore(disk_, config_);
  if (!saved) throw broken("the coordinator cannot read what it saved: " + saved.error().text);
  *state_ = std::move(*saved);
  if (fabric_.planted == bug::forgets_litter) state_->unnamed.clear();
  if (fabric_.planted == bug::forgets_requests) state_->requests.clear();
  saver_ = cluster::state_saver(disk_);
  clock_ms_ = state_->now_ms;
  coordinator_up_ = true;
  sim_.trace(
      [&] { return fmt::format("the coordinator is back, operation {} is the newest", state_->last_operation); });
  check_explained();
  for (auto& m : std::exchange(held_, {})) {
    m.to_life = coordinator_life_;
    sim_.after(delay_us(), [this, m = std::move(m)] { coordinator_takes(m); });
  }
}

}  // namespace ballast::sim
