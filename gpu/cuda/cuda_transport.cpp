#include <fmt/core.h>

#include "gpu/cuda/cuda_transport_impl.hpp"
#include "messages/log.hpp"

namespace ballast::gpu::cuda {

cuda_transport::cuda_transport(const host::wire_context& context, cuda_model_stores& stores,
                               const cuda_transport_options& options)
    : context_(context),
      stores_(stores),
      options_(options),
      speed_(options.bytes_per_s),
      puller_(context, stop_, speed_),
      answerer_(stores) {}

cuda_transport::~cuda_transport() {
  log_failure(cudaSetDevice(options_.ordinal), "choosing a GPU");  // mappings are closed where they were opened
  links_.clear();
}

result<std::unique_ptr<cuda_transport>> cuda_transport::open(const host::wire_context& context,
                                                             const host::address_pattern& pattern,
                                                             cuda_model_stores& stores,
                                                             const cuda_transport_options& options) {
  if (auto ok = stand_on(options.ordinal); !ok) return fail(ok.error());
  std::unique_ptr<cuda_transport> made(new cuda_transport(context, stores, options));
  auto copier = page_copier::make();
  if (!copier) return fail(copier.error());
  made->copier_ = std::move(*copier);
  auto server = host::request_server::start(context, pattern, made->answerer_);
  if (!server) return fail(server.error());
  made->server_ = std::move(*server);
  return made;
}

result<std::uint64_t> cuda_transport::pull(const std::string& source, model_index model, page_key key, page_index page,
                                           std::chrono::milliseconds deadline) {
  const pull_item one{model, key, page};
  return pull_many(source, {&one, 1}, deadline).front();
}

pull_results cuda_transport::pull_many(const std::string& source, std::span<const pull_item> items,
                                       std::chrono::milliseconds deadline) {
  const host::cancellation::scope under_way(stop_);
  std::vector<std::optional<result<std::uint64_t>>> out(items.size());
  auto ended = stand_on(options_.ordinal);
  for (std::size_t first = 0; ended && first < items.size();) {
    auto end = first + 1;
    while (end < items.size() && items[end].model == items[first].model) ++end;
    ended =
        pull_of_model(source, items.subspan(first, end - first), outcomes(out).subspan(first, end - first), deadline);
    first = end;
  }
  pull_results all;
  all.reserve(items.size());
  for (auto& one : out)
    if (one)
      all.push_back(std::move(*one));
    else
      all.push_back(fail(ended ? error{errc::io, "this item was left out"} : ended.error()));
  return all;
}

status cuda_transport::pull_of_model(const std::string& source, std::span<const pull_item> items, outcomes out,
                                     std::chrono::milliseconds deadline) {
  const auto model = items.front().model;
  const auto answer_all = [&](const error& why) -> status {
    for (auto& one : out) one = fail(why);
    return {};
  };
  if (model >= stores_.size())
    return answer_all({errc::not_found, fmt::format("model {} of {}", model, stores_.size())});
  const auto link = link_to(source);
  if (!link) return fail(link.error());
  auto& pool = stores_[model]->pool();
  const auto view = (*link)->map(model, pool.page_bytes(), host::clock::now() + deadline);
  status ended;
  if (!view) {
    ended = fail(view.error());
  } else if (view->base == nullptr) {
    pull_pieces(source, items, out, deadline);
  } else {
    const mapped_pull::tools with{.copier = *copier_,
                                  .speed = speed_,
                                  .rhythm = rhythm_,
                                  .rhythm_word = options_.rhythm,
                                  .stop = stop_,
                                  .counts = counts_,
                                  .verify = options_.verify,
                                  .paced_bytes = options_.piece_bytes};
    ended = mapped_pull(with, **link, *view, pool, deadline).run(items, out);
  }
  if (!ended) forget_if_gone(source, ended.error().code);
  // Whatever is wrong with this model there, another may be in order.
  if (!view && !source_is_of_no_use(view.error().code)) return answer_all(view.error());
  return ended;
}

void cuda_transport::pull_pieces(const std::string& source, std::span<const pull_item> items, outcomes out,
                                 std::chrono::milliseconds deadline) {
  auto all = one_by_one(items, [&](const pull_item& item) { return pull_as_messages(source, item, deadline); });
  for (std::size_t i = 0; i < all.size(); ++i) out[i] = std::move(all[i]);
}

result<std::uint64_t> cuda_transport::pull_as_messages(const std::string& source, const pull_item& item,
                                                       std::chrono::milliseconds deadline) {
  auto& pool = stores_[item.model]->pool();
  const auto sum = puller_.bring_page(
      source, item.model, item.key, pool.page_bytes(),
      [&](std::size_t offset, std::span<const std::byte> piece) {
        counts_.message_bytes += piece.size();
        return pool.write_at(item.page, offset, piece);
      },
      deadline);
  if (!sum) return fail(sum.error());
  auto sealed = pool.seal(item.page, item.key, *sum);
  if (sealed) return pool.page_bytes();
  if (sealed.error().code == errc::corrupt) ++counts_.corrupt_pages;
  return fail(sealed.error().code, fmt::format("{} (pulled from {})", sealed.error().text, source));
}

result<std::vector<std::byte>> cuda_transport::pull_dense(const std::string& source, model_index model,
                                                          std::chrono::milliseconds deadline) {
  if (model >= stores_.size()) return fail(errc::not_found, fmt::format("model {} of {}", model, stores_.size()));
  const host::cancellation::scope under_way(stop_);
  auto dense = puller_.bring_dense(source, model, stores_[model]->dense_bytes(), deadline);
  if (!dense) return dense;
  counts_.message_bytes += dense->size();
  // Whoever gives a joiner its dense weights gives it experts next.
  if (auto ok = stand_on(options_.ordinal); !ok) return fail(ok.error());
  if (const auto mapped = map_all(source, deadline); !mapped)
    log::warn("{} could not be mapped ahead of pulls: {}", source, mapped.error().text);
  return dense;
}

result<bool> cuda_transport::warm(const std::string& source, std::chrono::milliseconds deadline) {
  const host::cancellation::scope under_way(stop_);
  if (auto ok = stand_on(options_.ordinal); !ok) return fail(ok.error());
  return map_all(source, deadline);
}

result<bool> cuda_transport::map_all(const std::string& source, std::chrono::milliseconds deadline) {
  const auto link = link_to(source);
  if (!link) return fail(link.error());
  bool all = true;
  for (model_index m = 0; m < stores_.size(); ++m) {
    const auto view = (*link)->map(m, stores_[m]->page_bytes(), host::clock::now() + deadline);
    if (!view) {
      const auto why = view.error();
      forget_if_gone(source, why.code);
      return fail(why);
    }
    all = all && view->base != nullptr;
  }
  return all;
}

// The link to `source`; those to sources that have gone are closed on the way.
result<source_link*> cuda_transport::link_to(const std::string& source) {
  const auto now = host::clock::now();
  std::erase_if(links_, [&](const auto& known) { return known.first != source && !known.second->alive(now); });
  if (const auto known = links_.find(source); known != links_.end()) return known->second.get();
  auto made = source_link::open(context_, source, options_.ordinal, options_.allow_mappings, stop_);
  if (!made) return fail(made.error());
  return links_.emplace(source, std::move(*made)).first->second.get();
}

void cuda_transport::forget_if_gone(const std::string& source, errc code) {
  if (code == errc::timed_out || code == errc::unavailable) links_.erase(source);
}

}  // namespace ballast::gpu::cuda
