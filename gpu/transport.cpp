#include "gpu/transport.hpp"

namespace ballast::gpu {

pull_results weight_transport::one_by_one(std::span<const pull_item> items,
                                          const std::function<result<std::uint64_t>(const pull_item&)>& pull_one) {
  pull_results all;
  all.reserve(items.size());
  for (const auto& item : items) {
    all.push_back(pull_one(item));
    if (all.back() || !source_is_of_no_use(all.back().error().code)) continue;
    const auto why = all.back().error();
    while (all.size() < items.size()) all.push_back(fail(why));
    break;
  }
  return all;
}

pull_results weight_transport::pull_many(const std::string& source, std::span<const pull_item> items,
                                         std::chrono::milliseconds deadline) {
  return one_by_one(items, [&](const pull_item& i) { return pull(source, i.model, i.key, i.page, deadline); });
}

}  // namespace ballast::gpu
