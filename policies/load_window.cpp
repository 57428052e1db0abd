#include "policies/load_window.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace ballast::policies {

namespace {

void add_scaled(load_matrix& into, const load_matrix& tokens, double sign) {
  for (std::size_t l = 0; l < into.size(); ++l) {
    for (std::size_t e = 0; e < into[l].size(); ++e) into[l][e] = std::max(0.0, into[l][e] + sign * tokens[l][e]);
  }
}

double sum_of(const std::vector<double>& row) { return std::accumulate(row.begin(), row.end(), 0.0); }

void receive(std::vector<double>& into, const load_matrix& tokens) {
  into.resize(tokens.size());
  for (std::size_t l = 0; l < tokens.size(); ++l) into[l] += sum_of(tokens[l]);
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
  past_.clear();
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
    b = &*buckets.insert(at,
                         {first_step, last_step, {}, active_, load_matrix(layers_, std::vector<double>(experts_)), {}});
  }
  if (!b->reported.insert(seat).second) return verdict::repeated;
  b->first = std::min(b->first, first_step);
  b->awaited.erase(seat);
  add_scaled(b->tokens, tokens, +1);
  receive(b->received[seat], tokens);
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
    keep_as_history(std::move(counted_.front()));
    counted_.pop_front();
  }
}

void load_window::keep_as_history(bucket old) {
  const auto grain = std::max<std::uint64_t>(1, window_size_ / parts_max);
  if (!past_.empty() && old.last - past_.back().first + 1 <= grain) {
    past_.back().last = old.last;
    add_scaled(past_.back().tokens, old.tokens, +1);
  } else {
    past_.push_back({old.first, old.last, std::move(old.tokens)});
  }
  while (past_.size() > intervals_max * (parts_max + 1)) past_.pop_front();
}

load_window::bucket load_window::recent(std::uint64_t steps, double tokens) const {
  const double enough = tokens * layers_ * experts_;
  double held = 0;
  bucket out;
  out.tokens.assign(layers_, std::vector<double>(experts_));
  for (auto b = counted_.rbegin(); b != counted_.rend(); ++b) {
    if (out.last == 0) out.last = b->last;
    out.first = b->first;
    add_scaled(out.tokens, b->tokens, +1);
    for (const auto& [seat, layers] : b->received) {
      auto& row = out.received[seat];
      row.resize(layers_);
      for (std::size_t l = 0; l < layers.size(); ++l) row[l] += layers[l];
      held += sum_of(layers);
    }
    if (out.last - out.first + 1 >= steps && held >= enough) break;
  }
  return out;
}

std::vector<load_matrix> load_window::parts() const {
  std::vector<load_matrix> out;
  if (counted_.empty()) return out;
  const auto from = counted_.front().first;
  const auto length = counted_.back().last - from + 1;
  std::size_t part = parts_max;
  for (const auto& b : counted_) {
    const auto at = static_cast<std::size_t>((b.last - from) * parts_max / length);
    if (out.empty() || at != part) out.emplace_back(layers_, std::vector<double>(experts_));
    part = at;
    add_scaled(out.back(), b.tokens, +1);
  }
  return out;
}

std::vector<load_matrix> load_window::intervals() const {
  std::vector<load_matrix> out;
  auto newest = past_.rbegin();
  while (newest != past_.rend() && out.size() < intervals_max) {
    load_matrix sum(layers_, std::vector<double>(experts_));
    const auto last = newest->last;
    bool whole = false;
    for (; newest != past_.rend() && !whole; ++newest) {
      add_scaled(sum, newest->tokens, +1);
      whole = last - newest->first + 1 + window_size_ / (2 * parts_max) >= window_size_;
    }
    if (whole) out.push_back(std::move(sum));
  }
  std::reverse(out.begin(), out.end());
  return out;
}

std::uint64_t load_window::steps() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& b : counted_) sum += b.last - b.first + 1;
  return sum;
}

imbalance_report imbalance_of_ranks(const std::map<seat_id, std::vector<double>>& received,
                                    const std::vector<seat_info>& seats) {
  std::size_t layers = 0;
  double speed = 0;
  for (const auto& [seat, row] : received) layers = std::max(layers, row.size());
  for (const auto& s : seats) speed += s.speed;
  imbalance_report report;
  for (std::size_t l = 0; l < layers; ++l) {
    double peak = 0, total = 0;
    for (const auto& s : seats) {
      const auto row = received.find(s.seat);
      const double got = row != received.end() && l < row->second.size() ? row->second[l] : 0;
      peak = std::max(peak, got / s.speed);
      total += got;
    }
    report.layers.push_back(total > 0 ? std::max(1.0, peak * speed / total) : 1.0);
  }
  if (layers == 0) return report;
  report.mean = sum_of(report.layers) / static_cast<double>(layers);
  report.max = *std::ranges::max_element(report.layers);
  report.min = *std::ranges::min_element(report.layers);
  return report;
}

}  // namespace ballast::policies
