#include <fmt/core.h>

#include "gpu/cuda/slot_table_impl.hpp"

namespace ballast::gpu::cuda {

result<std::unique_ptr<cuda_slot_table>> cuda_slot_table::make(std::uint32_t layers, std::uint32_t per_layer,
                                                               const cuda_page_pool& pool) {
  const auto bytes = std::size_t{layers} * per_layer * sizeof(slot_view);
  auto device = memory::make(memory_kind::device, bytes, "slot table");
  if (!device) return fail(device.error());
  if (auto ok = check(cudaMemset(device->data(), 0xff, bytes), "clearing the slot table"); !ok)  // every entry: no_slot
    return fail(ok.error());
  return std::unique_ptr<cuda_slot_table>(new cuda_slot_table(layers, per_layer, pool, std::move(*device)));
}

void cuda_slot_table::change(std::size_t at, entry to) {
  entries_.at(at) = to;
  changed_.push_back(at);
}

void cuda_slot_table::set(std::uint32_t layer, std::uint32_t slot, page_index page, std::uint32_t expert) {
  change(place(layer, slot), {page, expert, true});
}

void cuda_slot_table::clear(std::uint32_t layer, std::uint32_t slot) { change(place(layer, slot), {}); }

status cuda_slot_table::flush(cudaStream_t on) {
  for (std::size_t first = 0; first < changed_.size(); first += slot_batch::most) {
    slot_batch batch;
    for (auto i = first; i < changed_.size() && batch.count < slot_batch::most; ++i) {
      const auto& e = entries_[changed_[i]];
      const page_key key{static_cast<std::uint32_t>(changed_[i] / per_layer_), e.expert};
      if (e.used && pool_.resident(e.page, key) == nullptr)
        return fail(errc::corrupt,
                    fmt::format("layer {} slot {} names page {} for expert {}, which the page does not hold", key.layer,
                                changed_[i] % per_layer_, e.page, e.expert));
      batch.at[batch.count] = static_cast<std::uint32_t>(changed_[i]);
      batch.value[batch.count++] = {e.used ? pool_.at(e.page) : nullptr, e.used ? e.expert : no_slot, 0};
    }
    if (auto ok = check(publish(device_.as<slot_view>(), batch, on), "publishing slots"); !ok) return ok;
  }
  changed_.clear();
  return {};
}

}  // namespace ballast::gpu::cuda
