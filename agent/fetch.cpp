#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <utility>

#include "agent/rank_unit.hpp"
#include "messages/log.hpp"

namespace ballast {
namespace {

bool given_up(const rank_unit& unit, const fetch_job& job) { return unit.fetch_generation != job.generation; }

constexpr auto no_page = ~gpu::page_index{0};  // giving it back has no effect

// A page for every item before the first byte moves: a job that does not fit costs nothing. `kept`: [item] 1 where a
// spare page still has what is wanted; these come first, before one of them is taken for something else.
status take_pages(rank_unit& unit, const fetch_job& job, std::vector<slot_write>& writes,
                  std::vector<std::uint8_t>& kept) {
  for (const auto& item : job.items) {
    if (item.model >= unit.models->size())
      return fail(errc::not_found, fmt::format("stage: no model {} on this seat", item.model));
    const auto page = unit.device->pages(item.model).take_kept({item.layer, item.expert});
    kept.push_back(page.has_value());
    writes.push_back({{item.model, item.layer, item.slot}, item.expert, page.value_or(no_page)});
  }
  for (std::size_t i = 0; i < writes.size(); ++i) {
    if (kept[i]) continue;
    const auto page = unit.device->pages(writes[i].where.model).take();
    if (!page) return fail(page.error());
    writes[i].page = *page;
  }
  return {};
}

// `work(i, room)` for every index, by several threads, each with a room of its own. A failure ends it.
template <class Work>
status by_threads(std::size_t count, Work work) {
  constexpr std::size_t most = 16;
  const std::size_t cores = std::max(1u, std::thread::hardware_concurrency());
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  status outcome;
  const auto run = [&] {
    std::vector<std::byte> room;
    for (auto i = next++; i < count; i = next++) {
      const status done = work(i, room);
      if (done) continue;
      next = count;
      const std::lock_guard lock(mutex);
      outcome = done;
    }
  };
  {
    std::vector<std::jthread> others;
    for (std::size_t t = 1; t < std::min({count, cores, most}); ++t) others.emplace_back(run);
    run();
  }
  return outcome;
}

// A page for what a spare page kept, and lost: it is brought like the others.
status take_anew(rank_unit& unit, slot_write& write, const error& why) {
  ++unit.corrupt_pulls;
  log::warn("layer {} expert {} in a spare page: {}", write.where.layer, write.expert, why.text);
  auto& pool = unit.device->pages(write.where.model);
  pool.discard(std::exchange(write.page, no_page));
  const auto page = pool.take();
  if (!page) return fail(page.error());
  write.page = *page;
  return {};
}

// `which`: items of one model. What a page kept may have suffered since; then it is kept no more.
status verify_some(rank_unit& unit, std::span<const std::size_t> which, std::vector<slot_write>& writes,
                   std::vector<std::uint8_t>& kept) {
  std::vector<gpu::page_index> pages;
  for (const auto i : which) pages.push_back(writes[i].page);
  const auto verified = unit.device->pages(writes[which.front()].where.model).verify_each(pages);
  for (std::size_t n = 0; n < which.size(); ++n) {
    if (verified[n]) continue;
    if (verified[n].error().code != errc::corrupt) return verified[n];
    kept[which[n]] = 0;
    if (auto ok = take_anew(unit, writes[which[n]], verified[n].error()); !ok) return ok;
  }
  return {};
}

status verify_kept(rank_unit& unit, const fetch_job& job, std::vector<slot_write>& writes,
                   std::vector<std::uint8_t>& kept) {
  constexpr std::size_t most = 16;  // enough to keep a GPU busy, few enough for a host's processors to share
  std::vector<std::vector<std::size_t>> some;
  const auto model = [&](std::size_t i) { return writes[i].where.model; };
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (!kept[i]) continue;
    if (some.empty() || some.back().size() == most || model(some.back().back()) != model(i)) some.emplace_back();
    some.back().push_back(i);
  }
  return by_threads(some.size(), [&](std::size_t n, std::vector<std::byte>&) -> status {
    if (given_up(unit, job)) return fail(errc::aborted, "staging was given up");
    return verify_some(unit, some[n], writes, kept);
  });
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

// From the checkpoint: reading and converting is what takes time when a deployment starts.
status read_group(rank_unit& unit, const fetch_job& job, std::span<const stage_item> items,
                  std::span<const slot_write> writes) {
  return by_threads(items.size(), [&](std::size_t i, std::vector<std::byte>& room) -> status {
    if (given_up(unit, job)) return fail(errc::aborted, "staging was given up");
    const auto fetched = fetch_one(unit, items[i], writes[i].page, 0, room);
    return fetched ? status{} : fail(fetched.error());
  });
}

std::size_t end_of_group(const std::vector<stage_item>& items, std::size_t first) {
  const auto address = [&](std::size_t i) {
    return items[i].sources.empty() ? std::string() : items[i].sources[0].address;
  };
  auto end = first + 1;
  while (end < items.size() && address(end) == address(first)) ++end;
  return end;
}

// Neighbours with the same first source together.
status fetch_all(rank_unit& unit, const fetch_job& job, const std::vector<stage_item>& wanted,
                 const std::vector<slot_write>& into, std::uint64_t& bytes) {
  for (std::size_t first = 0; first < wanted.size();) {
    const auto count = end_of_group(wanted, first) - first;
    const auto items = std::span(wanted).subspan(first, count);
    const auto writes = std::span(into).subspan(first, count);
    auto done = items.front().sources.empty() ? read_group(unit, job, items, writes)
                                              : fetch_group(unit, job, items, writes, bytes);
    if (!done) return done;
    first += count;
  }
  return {};
}

// Into out.writes, whose pages are to be given back if it fails.
status fetch_into(rank_unit& unit, const fetch_job& job, fetch_result& out) {
  if (given_up(unit, job)) return fail(errc::aborted, "staging was given up");
  std::vector<std::uint8_t> kept;
  if (auto ok = take_pages(unit, job, out.writes, kept); !ok) return ok;
  if (auto ok = verify_kept(unit, job, out.writes, kept); !ok) return ok;
  std::vector<stage_item> wanted;
  std::vector<slot_write> writes;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (kept[i]) continue;
    wanted.push_back(job.items[i]);
    writes.push_back(out.writes[i]);
  }
  if (wanted.size() < kept.size())
    log::debug("rank {}: {} of {} experts were still in spare pages", unit.local_rank, kept.size() - wanted.size(),
               kept.size());
  return fetch_all(unit, job, wanted, writes, out.bytes);
}

}  // namespace

fetch_result fetch_bundles(rank_unit& unit, const fetch_job& job) {
  fetch_result out;
  out.sequence = job.sequence;
  out.outcome = fetch_into(unit, job, out);
  if (out.outcome) return out;
  for (const auto& w : out.writes) unit.device->pages(w.where.model).give_back(w.page);
  out.writes.clear();
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
