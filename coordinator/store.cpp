#include "coordinator/store.hpp"

#include <iterator>
#include <utility>

namespace ballast {

void store_change::append(store_change later) {
  for (auto& [name, text] : later.rows) rows.insert_or_assign(name, std::move(text));
  std::move(later.journal.begin(), later.journal.end(), std::back_inserter(journal));
}

status memory_store::apply(const store_change& change) {
  for (const auto& [name, text] : change.rows) {
    if (text)
      rows_.insert_or_assign(name, *text);
    else
      rows_.erase(name);
  }
  lines_.insert(lines_.end(), change.journal.begin(), change.journal.end());
  while (lines_.size() > journal_kept) lines_.pop_front();
  return {};
}

}  // namespace ballast
