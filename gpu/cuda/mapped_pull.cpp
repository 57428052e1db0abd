#include <fmt/core.h>

#include <algorithm>

#include "gpu/cuda/mapped_pull_impl.hpp"

namespace ballast::gpu::cuda {

static_assert(step_rhythm::patience < host::pace::catch_up, "what waited for its phase is made up for");

status mapped_pull::run(std::span<const pull_item> items, std::span<std::optional<result<std::uint64_t>>> out) {
  items_ = items;
  out_ = out;
  until_ = host::clock::now() + deadline_;
  auto ended = issue_all();
  if (!ended) with_.copier.abandon();
  while (!under_way_.empty()) {
    auto collected = collect_oldest();
    if (ended) ended = std::move(collected);
  }
  release_done();
  return ended;
}

status mapped_pull::issue_all() {
  for (std::size_t first = 0; first < items_.size();) {
    if (auto ok = wait_for_pace(); !ok) return ok;  // before the lease begins to run
    std::vector<page_key> keys;
    const auto count = std::min(keys_at_once(), items_.size() - first);
    for (std::size_t i = first; i < first + count; ++i) keys.push_back(items_[i].key);
    const auto found = link_.locate(items_[first].model, keys, until_);
    if (!found) return fail(found.error());
    if (found->lease != 0) leases_.push_back(found->lease);
    if (auto ok = issue_located(first, *found); !ok) return ok;
    first += count;
  }
  return {};
}

// As many as are asked for within a second at a limited speed: a lease is not to run out meanwhile.
std::size_t mapped_pull::keys_at_once() const {
  if (!with_.speed.limited()) return most_located;
  return std::clamp<std::size_t>(with_.speed.bytes_per_s() / pool_.page_bytes(), 1, most_located);
}

std::size_t mapped_pull::pages_at_once() const {
  const auto limit = with_.speed.bytes_per_s() / (std::chrono::milliseconds(std::chrono::seconds(1)) / batch_time);
  const auto bytes = with_.speed.limited() ? std::min<std::size_t>(limit, batch_bytes) : batch_bytes;
  return std::clamp<std::size_t>(bytes / pool_.page_bytes(), 1, checksum_batch::most);
}

status mapped_pull::issue_located(std::size_t first, const source_link::located& found) {
  open_.lease = found.lease;
  open_.until = found.until;
  for (std::size_t i = 0; i < found.pages.size(); ++i) {
    const auto& where = found.pages[i];
    if (!can_come(first + i, where)) continue;
    const page_copier::copy page{pool_.at(items_[first + i].page), view_.base + where.page * view_.stride,
                                 pool_.page_bytes()};
    if (with_.speed.limited())
      if (auto ok = copy(page); !ok) return ok;
    open_.items.push_back(first + i);
    open_.expected.push_back(where.checksum);
    open_.copies.push_back(page);
    if (open_.items.size() < pages_at_once()) continue;
    if (auto ok = close_batch(); !ok) return ok;
  }
  return close_batch();
}

// False: this item cannot be pulled, and out says why.
bool mapped_pull::can_come(std::size_t i, const located_frame& where) {
  const auto& item = items_[i];
  const auto refuse = [&](errc code, std::string text) {
    out_[i] = fail(code, std::move(text));
    return false;
  };
  if (where.found == 0)
    return refuse(errc::not_found, fmt::format("{}: no page there holds model {} layer {} expert {}", link_.address(),
                                               item.model, item.key.layer, item.key.expert));
  if (where.page >= view_.pages)
    return refuse(errc::corrupt,
                  fmt::format("{} names page {} of its {} pages", link_.address(), where.page, view_.pages));
  if (auto ok = pool_.check_filling(item.page); !ok) return refuse(ok.error().code, ok.error().text);
  return true;
}

// What is open, if anything, is summed as soon as its copies have arrived.
status mapped_pull::close_batch() {
  if (open_.items.empty()) return {};
  while (with_.copier.full())
    if (auto ok = collect_oldest(); !ok) return ok;
  if (with_.stop.cancelled()) return fail(errc::aborted, fmt::format("pull from {} was cancelled", link_.address()));
  if (!with_.speed.limited())
    if (auto ok = with_.copier.issue(open_.copies); !ok) return ok;
  checksum_batch arrived;
  arrived.count = static_cast<std::uint32_t>(open_.copies.size());
  for (std::uint32_t i = 0; i < arrived.count; ++i) arrived.at[i] = open_.copies[i].to;
  if (auto ok = with_.copier.finish(arrived, pool_.page_bytes(), with_.verify); !ok) return ok;
  batch next;
  next.lease = open_.lease;
  next.until = open_.until;
  under_way_.push_back(std::exchange(open_, std::move(next)));
  return {};
}

// In pieces, each when its time has come.
status mapped_pull::copy(const page_copier::copy& page) {
  const auto second = with_.speed.bytes_per_s();
  const auto pieces =
      page.bytes > second ? 1 : (page.bytes + with_.paced_bytes - 1) / with_.paced_bytes;  // a lease outlasts a page
  const auto piece = ((page.bytes + pieces - 1) / pieces + 255) / 256 * 256;
  for (std::size_t at = 0; at < page.bytes; at += piece) {
    if (auto ok = wait_for_pace(); !ok) return ok;
    const page_copier::copy one{page.to + at, page.from + at, std::min(piece, page.bytes - at)};
    with_.speed.spend(one.bytes, host::clock::now());
    if (auto ok = with_.copier.issue({&one, 1}); !ok) return ok;
  }
  return {};
}

status mapped_pull::wait_for_pace() {
  if (!with_.speed.limited()) return {};
  const auto next = with_.speed.next();
  if (next > until_)
    return fail(errc::timed_out, fmt::format("pull from {}: the pace does not meet the deadline", link_.address()));
  for (;;) {
    const auto go = may_go(next);
    if (!go) return fail(go.error());
    if (*go) break;
    if (with_.stop.wait_until(with_.rhythm.look_again_at(next)))
      return fail(errc::aborted, fmt::format("pull from {} was cancelled", link_.address()));
  }
  until_ = host::clock::now() + deadline_;
  return {};
}

// May the piece go that is due at `due`? Ends the batch meanwhile, if it can be summed now.
result<bool> mapped_pull::may_go(source_link::time_point due) {
  if (with_.rhythm_word != nullptr) with_.rhythm.look(*static_cast<const volatile std::uint32_t*>(with_.rhythm_word));
  if (with_.rhythm.may_copy(due, host::clock::now())) return true;
  if (with_.rhythm.in_lull())
    if (auto ok = close_batch(); !ok) return fail(ok.error());
  return false;
}

status mapped_pull::collect_oldest() {
  const auto b = std::move(under_way_.front());
  under_way_.pop_front();
  const auto sums = with_.copier.wait_oldest();
  if (!sums) {
    for (const auto i : b.items) out_[i] = fail(sums.error());
    return fail(sums.error());
  }
  for (std::size_t i = 0; i < b.items.size(); ++i) settle(b, i, (*sums)[i]);
  until_ = host::clock::now() + deadline_;
  // The last lease's batches are still being issued; an earlier one's have all been.
  while (leases_.size() > 1 && (under_way_.empty() || under_way_.front().lease != leases_.front())) {
    link_.release(leases_.front());
    leases_.pop_front();
  }
  return {};
}

// Publishes a page that is what the source said; else says why not.
void mapped_pull::settle(const batch& b, std::size_t i, std::uint64_t sum) {
  auto& out = out_[b.items[i]];
  const auto& item = items_[b.items[i]];
  with_.counts.copied_bytes += pool_.page_bytes();
  if (sum == b.expected[i] || !with_.verify) {
    if (auto ok = pool_.seal_verified(item.page, item.key, b.expected[i]); ok)
      out = pool_.page_bytes();
    else
      out = fail(ok.error());
    return;
  }
  if (host::clock::now() >= b.until) {
    out = fail(errc::not_found, fmt::format("{} may have given layer {} expert {} away: it was copied too slowly",
                                            link_.address(), item.key.layer, item.key.expert));
    return;
  }
  ++with_.counts.corrupt_pages;
  out = fail(errc::corrupt,
             fmt::format("page {} for layer {} expert {}: checksum {:016x}, expected {:016x} (pulled from {})",
                         item.page, item.key.layer, item.key.expert, sum, b.expected[i], link_.address()));
}

void mapped_pull::release_done() {
  for (const auto lease : leases_) link_.release(lease);
  leases_.clear();
}

}  // namespace ballast::gpu::cuda
