#include "policies/load_window.hpp"

#include <algorithm>
#include <cmath>

namespace ballast::policies {

namespace {

void add_scaled(load_matrix& into, const load_matrix& tokens, double sign) {
  for (std::size_t l = 0; l < into.size(); ++l) {
    for (std::size_t e = 0; e < into[l].size(); ++e) into[l][e] = std::max(0.0, into[l][e] + sign * tokens[l][e]);
  }
}

}  // namespace

load_window::load_window(std::uint32_t layers, std::uint32_t experts, std::uint64_t window_size)
    : layers_(layers),
      experts_(experts),
      window_size_(std::max<std::uint64_t>(window_size, 1)),
      totals_(layers, std::vector<double>(experts)) {}

void load_window::set_active(const std::vector<seat_id>& seats) {
  active_ = {seats.begin(), seats.end()};
  for (auto& b : open_) std::erase_if(b.awaited, [&](seat_id s) { return !active_.contains(s); });
  count_complete();
}

void load_window::reset(step_t from) {
  from_ = from;
  counted_.clear();
  open_.clear();
  totals_.assign(layers_, std::vector<double>(experts_));
}

bool load_window::well_formed(step_t first_step, step_t last_step, const load_matrix& tokens) const {
  if (last_step < first_step || tokens.size() != layers_) return false;
  return std::all_of(tokens.begin(), tokens.end(), [&](const auto& row) {
    return row.size() == experts_ &&
           std::all_of(row.begin(), row.end(), [](double t) { return std::isfinite(t) && t >= 0; });
  });
}

load_window::bucket* load_window::find(step_t last_step) {
  for (auto* buckets : {&counted_, &open_}) {
    const auto at = std::lower_bound(buckets->begin(), buckets->end(), last_step,
                                     [](const auto& b, step_t s) { return b.last < s; });
    if (at != buckets->end() && at->last == last_step) return &*at;
  }
  return nullptr;
}

load_window::verdict load_window::add(seat_id seat, step_t first_step, step_t last_step, const load_matrix& tokens) {
  if (!well_formed(first_step, last_step, tokens)) return verdict::malformed;
  if (first_step < from_) return verdict::outdated;
  auto* b = find(last_step);
  if (b == nullptr) {
    const bool late = !counted_.empty() && last_step < counted_.back().last;
    if (late && counted_.back().last - first_step + 1 > window_size_) return verdict::outdated;
    auto& buckets = late ? counted_ : open_;
    const auto at =
        std::lower_bound(buckets.begin(), buckets.end(), last_step, [](const auto& o, step_t s) { return o.last < s; });
    b = &*buckets.insert(at, {first_step, last_step, {}, active_, load_matrix(layers_, std::vector<double>(experts_))});
  }
  if (!b->reported.insert(seat).second) return verdict::repeated;
  b->first = std::min(b->first, first_step);
  b->awaited.erase(seat);
  add_scaled(b->tokens, tokens, +1);
  if (!counted_.empty() && last_step <= counted_.back().last) {
    add_scaled(totals_, tokens, +1);
    slide();
    return verdict::taken;
  }
  count_complete();
  if (open_.size() > open_max) count_up_to(open_.front().last);
  return verdict::taken;
}

// The latest complete bucket counts, and with it all before it.
void load_window::count_complete() {
  const auto complete = std::find_if(open_.rbegin(), open_.rend(), [](const auto& b) { return b.awaited.empty(); });
  if (complete != open_.rend()) count_up_to(complete->last);
}

void load_window::count_up_to(step_t last_step) {
  while (!open_.empty() && open_.front().last <= last_step) {
    add_scaled(totals_, open_.front().tokens, +1);
    counted_.push_back(std::move(open_.front()));
    open_.pop_front();
  }
  slide();
}

void load_window::slide() {
  while (counted_.size() > 1 && counted_.back().last - counted_.front().first + 1 > window_size_) {
    add_scaled(totals_, counted_.front().tokens, -1);
    counted_.pop_front();
  }
}

std::uint64_t load_window::steps() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& b : counted_) sum += b.last - b.first + 1;
  return sum;
}

}  // namespace ballast::policies
