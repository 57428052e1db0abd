#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "agent/rank_unit.hpp"
#include "messages/log.hpp"

namespace ballast {
namespace {

bool given_up(const rank_unit& unit, const fetch_job& job) { return unit.fetch_generation != job.generation; }

// A page for every item before the first byte moves: a job that does not fit costs nothing.
status take_pages(rank_unit& unit, const fetch_job& job, std::vector<slot_write>& writes) {
  for (const auto& item : job.items) {
    if (item.model >= unit.models->size())
      return fail(errc::not_found, fmt::format("stage: no model {} on this seat", item.model));
    const auto page = unit.device->pages(item.model).take();
    if (!page) return fail(page.error());
    writes.push_back({{item.model, item.layer, item.slot}, item.expert, *page});
  }
  return {};
}

// Wrong bytes are told apart from sources that are gone: someone may have to look at a network or at memory.
void note(rank_unit& unit, const stage_item& item, const page_source& source, const error& why, bool known = false) {
  if (why.code == errc::corrupt) ++unit.corrupt_pulls;
  if (!known)
    log::warn("layer {} expert {} from seat {}: {}", item.layer, item.expert, index_of(source.seat), why.text);
}

// From one of the sources that were not tried yet; from the checkpoint if there is none, or if every source fails.
result<std::uint64_t> fetch_one(rank_unit& unit, const stage_item& item, gpu::page_index page, std::size_t untried,
                                std::vector<std::byte>& room) {
  const gpu::page_key key{item.layer, item.expert};
  for (auto source = item.sources.begin() + static_cast<std::ptrdiff_t>(untried); source != item.sources.end();
       ++source) {
    auto pulled = unit.device->transport().pull(source->address, item.model, key, page, unit.deadline);
    if (pulled) return pulled;
    if (pulled.error().code == errc::aborted) return pulled;
    note(unit, item, *source, pulled.error());
  }
  auto& pool = unit.device->pages(item.model);
  const auto put = [&](std::size_t offset, std::span<const std::byte> piece) {
    return pool.write_at(page, offset, piece);
  };
  const auto read = (*unit.models)[item.model]->pieces(item.layer, item.expert, room, put);
  if (!read) return fail(read.error());
  if (auto sealed = pool.seal(page, key, std::nullopt); !sealed) return fail(sealed.error());
  return std::uint64_t{0};
}

// What the nearest source of a group's items brought.
gpu::pull_results pull_group(rank_unit& unit, std::span<const stage_item> items, std::span<const slot_write> writes) {
  const auto& source = items.front().sources.front();
  std::vector<gpu::pull_item> wanted;
  for (std::size_t i = 0; i < items.size(); ++i)
    wanted.push_back({items[i].model, {items[i].layer, items[i].expert}, writes[i].page});
  auto pulled = unit.device->transport().pull_many(source.address, wanted, unit.deadline);
  std::string told;  // a source that has gone fails every item with the same words
  for (std::size_t i = 0; i < pulled.size(); ++i) {
    if (pulled[i] || pulled[i].error().code == errc::aborted) continue;
    note(unit, items[i], source, pulled[i].error(), pulled[i].error().text == told);
    told = pulled[i].error().text;
  }
  return pulled;
}

// Items that name the same source first, together; those that failed, one by one.
status fetch_group(rank_unit& unit, const fetch_job& job, std::span<const stage_item> items,
                   std::span<const slot_write> writes, std::uint64_t& bytes) {
  if (given_up(unit, job)) return fail(errc::aborted, "staging was given up");
  const auto pulled = pull_group(unit, items, writes);
  std::vector<std::byte> room;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (pulled[i]) {
      bytes += *pulled[i];
      continue;
    }
    if (pulled[i].error().code == errc::aborted) return fail(pulled[i].error());
    if (given_up(unit, job)) return fail(errc::aborted, "staging was given up");
    const auto fetched = fetch_one(unit, items[i], writes[i].page, 1, room);
    if (!fetched) return fail(fetched.error());
    bytes += *fetched;
  }
  return {};
}

// From the checkpoint, by several threads: reading and converting is what takes time when a deployment starts.
status read_group(rank_unit& unit, const fetch_job& job, std::span<const stage_item> items,
                  std::span<const slot_write> writes) {
  constexpr std::size_t most_readers = 16;
  const std::size_t cores = std::max(1u, std::thread::hardware_concurrency());
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  status outcome;
  const auto read = [&] {
    std::vector<std::byte> room;
    for (auto i = next++; i < items.size(); i = next++) {
      const auto fetched = given_up(unit, job) ? fail(errc::aborted, "staging was given up")
                                               : fetch_one(unit, items[i], writes[i].page, 0, room);
      if (fetched) continue;
      next = items.size();
      const std::lock_guard lock(mutex);
      outcome = fail(fetched.error());
    }
  };
  {
    std::vector<std::jthread> readers;
    for (std::size_t r = 1; r < std::min({items.size(), cores, most_readers}); ++r) readers.emplace_back(read);
    read();
  }
  return outcome;
}

std::size_t end_of_group(const std::vector<stage_item>& items, std::size_t first) {
  const auto address = [&](std::size_t i) {
    return items[i].sources.empty() ? std::string() : items[i].sources[0].address;
  };
  auto end = first + 1;
  while (end < items.size() && address(end) == address(first)) ++end;
  return end;
}

}  // namespace

fetch_result fetch_bundles(rank_unit& unit, const fetch_job& job) {
  fetch_result out;
  out.sequence = job.sequence;
  if (given_up(unit, job)) out.outcome = fail(errc::aborted, "staging was given up");
  if (out.outcome) out.outcome = take_pages(unit, job, out.writes);
  for (std::size_t first = 0; out.outcome && first < job.items.size();) {
    const auto count = end_of_group(job.items, first) - first;
    const auto items = std::span(job.items).subspan(first, count);
    const auto writes = std::span<const slot_write>(out.writes).subspan(first, count);
    out.outcome = items.front().sources.empty() ? read_group(unit, job, items, writes)
                                                : fetch_group(unit, job, items, writes, out.bytes);
    first += count;
  }
  if (!out.outcome) {
    for (const auto& w : out.writes) unit.device->pages(w.where.model).give_back(w.page);
    out.writes.clear();
  }
  return out;
}

fetch_result fetch_dense(rank_unit& unit, const fetch_job& job) {
  fetch_result out;
  out.sequence = job.sequence;
  for (model_index m = 0; m < unit.models->size() && out.outcome; ++m) {
    result<std::vector<std::byte>> weights = fail(errc::not_found, "no source");
    for (const auto& source : job.dense_sources) {
      weights = unit.device->transport().pull_dense(source.address, m, unit.deadline);
      if (weights) out.bytes += weights->size();
      if (weights || weights.error().code == errc::aborted) break;
      if (weights.error().code == errc::corrupt) ++unit.corrupt_pulls;
      log::warn("dense weights from seat {}: {}", index_of(source.seat), weights.error().text);
    }
    if (!weights && weights.error().code != errc::aborted) weights = (*unit.models)[m]->dense();
    if (weights)
      out.dense.push_back(std::move(*weights));
    else
      out.outcome = fail(weights.error());
  }
  return out;
}

}  // namespace ballast
