#include "tests/gpu/cuda_rebalance.hpp"

#include <algorithm>
#include <future>

namespace ballast::gpu::bench {

rebalance::rebalance(rig& r, placement& table, free_slots& free, rebalance_options o)
    : rig_(r), table_(table), free_(free), options_(o) {
  const auto layers = rig_.options().shape.layers;
  for (std::uint32_t first = 0; first < layers; first += options_.wave_layers) {
    auto& made = waves_.emplace_back();
    made.first = first;
    made.last = std::min(layers, first + options_.wave_layers);
    plan(made);
  }
}

rebalance::~rebalance() {
  for (auto& t : movers_) t.join();
}

void rebalance::start() {
  begun_ = bench_clock::now();
  for (std::uint32_t r = 0; r < rig_.ranks(); ++r) movers_.emplace_back([this, r] { move(r); });
}

bool rebalance::finished() const {
  const std::lock_guard lock(mutex_);
  return done_ || failed_;
}

status rebalance::outcome() const {
  const std::lock_guard lock(mutex_);
  return failed_ ? status(fail(*failed_)) : status{};
}

bool rebalance::all(const wave& w, progress least) const {
  return std::ranges::all_of(w.at, [&](progress p) { return p >= least; });
}

status rebalance::at_boundary(std::uint32_t rank, std::uint32_t step) {
  std::unique_lock lock(mutex_);
  latest_ = std::max(latest_, step);
  for (auto number = over_; number < opened_; ++number) {
    auto& w = waves_[number];
    const auto next = due(w, rank, step);
    if (!next) continue;
    lock.unlock();  // ranks do not wait for each other here
    auto replaced = perform(w, rank, *next);
    lock.lock();
    if (replaced) retired_.push_back(std::move(replaced));
    w.at[rank] = *next;
    if (!w.agreed && all(w, progress::entered)) w.agreed = latest_ + 1;
  }
  const auto before = over_;
  while (over_ < opened_ && all(waves_[over_], progress::reclaimed)) ++over_;
  if (over_ == waves_.size() && !done_) {
    took_ = milliseconds_since(begun_);
    done_ = true;
  }
  if (over_ != before) changed_.notify_all();
  return {};
}

void rebalance::settle() {
  for (std::uint32_t boundary = 0; !finished(); ++boundary) {
    for (std::uint32_t r = 0; r < rig_.ranks(); ++r) (void)at_boundary(r, boundary);
    std::unique_lock lock(mutex_);
    if (!done_ && !failed_) changed_.wait_for(lock, std::chrono::microseconds(50));
  }
}

// What the rank is to do next with a wave, ahead of that step; none: others are to do something first.
std::optional<rebalance::progress> rebalance::due(const wave& w, std::uint32_t rank, std::uint32_t step) const {
  const auto at = w.at[rank];
  if (at == progress::staged && all(w, progress::staged)) return progress::entered;
  if (at == progress::entered && w.agreed && step >= *w.agreed) return progress::routed;
  // A boundary later: this rank has no step by the old table under way, nor has any other.
  if (at == progress::routed && all(w, progress::routed)) return progress::reclaimed;
  return std::nullopt;
}

// Touches only what is the rank's own. Returns the table that was replaced, if one was.
std::shared_ptr<const routing_table> rebalance::perform(wave& w, std::uint32_t rank, progress what) {
  if (what == progress::routed) return rig_.use(rank, std::move(w.routing[rank]));
  if (what == progress::reclaimed) reclaim(w, rank);
  if (what == progress::entered)
    for (const auto& a : w.arrivals[rank]) rig_.at(rank).slots(0).set(a.layer, a.slot, a.page, a.expert);
  return nullptr;
}

void rebalance::reclaim(wave& w, std::uint32_t rank) {
  auto& slots = rig_.at(rank).slots(0);
  for (const auto& [layer, slot] : w.departures[rank]) {
    const auto held = slots.at(layer, slot);
    slots.clear(layer, slot);
    rig_.at(rank).pages(0).give_back(held.page);
    free_[rank][layer].push_back(slot);
  }
}

// The first experts of a layer that have one replica, as many on each rank, change places.
void rebalance::plan(wave& w) {
  const auto ranks = rig_.ranks();
  w.departures.resize(ranks);
  w.arrivals.resize(ranks);
  w.routing.resize(ranks);
  w.at.assign(ranks, progress::fetching);
  for (auto layer = w.first; layer < w.last; ++layer) {
    std::vector<std::uint32_t> sent(ranks, 0);
    for (std::uint32_t e = 0; e < table_.layers[layer].size(); ++e) {
      auto& replicas = table_.layers[layer][e];
      if (replicas.size() != 1) continue;
      const auto from = index_of(replicas[0].seat), to = (from + 1) % ranks;
      if (sent[from] == options_.per_layer || free_[to][layer].empty()) continue;
      ++sent[from];
      const auto slot = free_[to][layer].back();
      free_[to][layer].pop_back();
      w.departures[from].emplace_back(layer, replicas[0].slot);
      w.arrivals[to].push_back({layer, e, slot, 0});
      replicas = {{rig::seat(to), slot, 1.0}};
    }
  }
  ++table_.version;
  w.table = table_;
}

status rebalance::fetch(wave& w, std::uint32_t rank) {
  auto& device = rig_.at(rank);
  std::vector<pull_item> items;
  for (auto& a : w.arrivals[rank]) {
    const auto page = device.pages(0).take();
    if (!page) return fail(page.error());
    a.page = *page;
    items.push_back({0, {a.layer, a.expert}, a.page});
  }
  // Tables are made ready beside the transfer, as an agent does it.
  auto routing = std::async(std::launch::async, [&] { return device.make_routing(w.table); });
  const auto& source = rig_.at((rank + 1) % rig_.ranks()).transport().address();
  for (const auto& got : device.transport().pull_many(source, items, std::chrono::seconds(20))) {
    if (!got) return fail(got.error());
    bytes_ += *got;
  }
  auto table = routing.get();
  if (!table) return fail(table.error());
  w.routing[rank] = std::move(*table);
  return {};
}

// A wave, once there is room for it under way; null: something failed.
rebalance::wave* rebalance::next_wave(std::size_t number) {
  std::vector<std::shared_ptr<const routing_table>> retired;  // destroyed here, after the lock is
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return failed_ || number < over_ + options_.waves_in_flight; });
  retired.swap(retired_);
  if (failed_) return nullptr;
  opened_ = std::max(opened_, number + 1);
  return &waves_[number];
}

void rebalance::move(std::uint32_t rank) {
  for (std::size_t number = 0; number < waves_.size(); ++number) {
    auto* w = next_wave(number);
    if (w == nullptr) return;
    const auto fetched = fetch(*w, rank);
    const std::lock_guard lock(mutex_);
    if (!fetched)
      failed_ = fetched.error();
    else
      w->at[rank] = progress::staged;
    changed_.notify_all();
    if (failed_) return;
  }
}

}  // namespace ballast::gpu::bench
