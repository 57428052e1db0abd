#include "coordinator/journal.hpp"

namespace ballast {

status memory_journal::append(const journal_record& record) {
  records_.push_back(record);
  if (records_.size() > limit_) records_.pop_front();
  return {};
}

result<std::vector<journal_record>> memory_journal::load() const {
  return std::vector<journal_record>(records_.begin(), records_.end());
}

}  // namespace ballast
