#include "coordinator/effect_gate.hpp"

#include <iterator>

#include "coordinator/cluster_rows.hpp"

namespace ballast::cluster {

void effect_gate::add(effects out, store_change change) {
  next_.append(std::move(change));
  const bool waits = under_way_ || !next_.empty();
  for (auto& e : out) {
    auto& to = waits && rests_on_state(e) ? waiting_ : released_;
    to.push_back(std::move(e));
  }
}

std::shared_ptr<const store_change> effect_gate::begin_save() {
  if (under_way_ || next_.empty()) return nullptr;
  under_way_ = true;
  saving_ = std::exchange(waiting_, {});
  return std::make_shared<const store_change>(std::exchange(next_, {}));
}

void effect_gate::saved() {
  under_way_ = false;
  std::move(saving_.begin(), saving_.end(), std::back_inserter(released_));
  saving_.clear();
  if (!next_.empty()) return;
  std::move(waiting_.begin(), waiting_.end(), std::back_inserter(released_));
  waiting_.clear();
}

}  // namespace ballast::cluster
