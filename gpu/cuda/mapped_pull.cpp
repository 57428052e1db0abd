#include <fmt/core.h>

#include <algorithm>

#include "gpu/cuda/mapped_pull_impl.hpp"

namespace ballast::gpu::cuda {

status mapped_pull::run(std::span<const pull_item> items, std::span<std::optional<result<std::uint64_t>>> out) {
  items_ = items;
  out_ = out;
  until_ = host::clock::now() + deadline_;
  auto ended = issue_all();
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
  const auto limit = with_.speed.bytes_per_s() / (std::chrono::microseconds(std::chrono::seconds(1)) / batch_time);
  const auto bytes = with_.speed.limited() ? std::min<std::size_t>(limit, batch_bytes) : batch_bytes;
  return std::clamp<std::size_t>(bytes / pool_.page_bytes(), 1, checksum_batch::most);
}

status mapped_pull::issue_located(std::size_t first, const source_link::located& found) {
  batch b;
  const auto flush = [&]() -> status {
    b.lease = found.lease;
    b.until = found.until;
    return issue(std::exchange(b, {}));
  };
  for (std::size_t i = 0; i < found.pages.size(); ++i) {
    if (!add(b, first + i, found.pages[i]) || b.items.size() < pages_at_once()) continue;
    if (auto ok = flush(); !ok) return ok;
  }
  return b.items.empty() ? status{} : flush();
}

// False: this item cannot be pulled, and out says why.
bool mapped_pull::add(batch& b, std::size_t i, const located_frame& where) {
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
  b.items.push_back(i);
  b.expected.push_back(where.checksum);
  b.copies.push_back({pool_.at(item.page), view_.base + where.page * view_.stride, pool_.page_bytes()});
  return true;
}

status mapped_pull::issue(batch b) {
  while (with_.copier.full())
    if (auto ok = collect_oldest(); !ok) return ok;
  auto ok = copy(b);
  if (ok) {
    checksum_batch arrived;
    arrived.count = static_cast<std::uint32_t>(b.copies.size());
    for (std::uint32_t i = 0; i < arrived.count; ++i) arrived.at[i] = b.copies[i].to;
    ok = with_.copier.finish(arrived, pool_.page_bytes(), with_.verify);
  }
  if (!ok) {
    with_.copier.abandon();
    return ok;
  }
  under_way_.push_back(std::move(b));
  return {};
}

// Unpaced, the whole batch at once; else in pieces, each when its time has come.
status mapped_pull::copy(const batch& b) {
  if (with_.stop.cancelled()) return fail(errc::aborted, fmt::format("pull from {} was cancelled", link_.address()));
  if (!with_.speed.limited()) return with_.copier.issue(b.copies);
  const auto bytes = pool_.page_bytes();
  const auto second = with_.speed.bytes_per_s();
  const auto pieces = bytes > second ? 1 : (bytes + with_.paced_bytes - 1) / with_.paced_bytes;  // a lease outlasts a page
  const auto piece = ((bytes + pieces - 1) / pieces + 255) / 256 * 256;
  for (const auto& page : b.copies)
    for (std::size_t at = 0; at < bytes; at += piece) {
      if (auto ok = wait_for_pace(); !ok) return ok;
      const page_copier::copy one{page.to + at, page.from + at, std::min(piece, bytes - at)};
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
  if (with_.stop.wait_until(next))
    return fail(errc::aborted, fmt::format("pull from {} was cancelled", link_.address()));
  until_ = host::clock::now() + deadline_;
  return {};
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
