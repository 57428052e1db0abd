#include <fmt/core.h>

#include "agent/rank_unit.hpp"
#include "messages/log.hpp"

namespace ballast {
namespace {

// From the nearest source that has it; from the checkpoint if there is none, or if every source fails.
result<std::uint64_t> fetch_one(rank_unit& unit, const stage_item& item, gpu::page_index page) {
  const gpu::page_key key{item.layer, item.expert};
  for (const auto& source : item.sources) {
    auto pulled = unit.device->transport().pull(source.address, item.model, key, page, unit.deadline);
    if (pulled) return pulled;
    if (pulled.error().code == errc::aborted) return pulled;
    log::warn("layer {} expert {} from seat {}: {}", item.layer, item.expert, index_of(source.seat), pulled.error().text);
  }
  auto& pool = unit.device->pages(item.model);
  std::vector<std::byte> bundle(pool.page_bytes());
  if (auto read = (*unit.models)[item.model]->bundle(item.layer, item.expert, bundle); !read) return fail(read.error());
  if (auto written = pool.write(page, bundle); !written) return fail(written.error());
  if (auto sealed = pool.seal(page, key, std::nullopt); !sealed) return fail(sealed.error());
  return std::uint64_t{0};
}

}  // namespace

fetch_result fetch_bundles(rank_unit& unit, const fetch_job& job) {
  fetch_result out;
  out.sequence = job.sequence;
  for (const auto& item : job.items) {
    if (unit.fetch_generation != job.generation) out.outcome = fail(errc::aborted, "staging was given up");
    if (out.outcome && item.model >= unit.models->size())
      out.outcome = fail(errc::not_found, fmt::format("stage: no model {} on this seat", item.model));
    if (!out.outcome) break;
    const auto page = unit.device->pages(item.model).take();
    if (!page) {
      out.outcome = fail(page.error());
      break;
    }
    out.writes.push_back({{item.model, item.layer, item.slot}, item.expert, *page});
    const auto fetched = fetch_one(unit, item, *page);
    if (!fetched) {
      out.outcome = fail(fetched.error());
      break;
    }
    out.bytes += *fetched;
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
