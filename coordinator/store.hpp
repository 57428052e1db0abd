// Where the coordinator's state lies between two lives of its process: named rows, and a journal of operations for
// people. What the rows mean is cluster_rows.hpp's business.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "messages/messages.hpp"
#include "messages/result.hpp"

namespace ballast {

// One line of the journal: a phase that an operation entered, or its end.
struct journal_record {
  std::uint64_t at_ms = 0;
  operation_status operation;
  std::vector<seat_id> members;     // active seats
  epoch_t epoch = 0;                // communicator in use
  epoch_t last_epoch = 0;           // highest ever given out
  std::vector<version_t> versions;  // highest ever given out, by model
  bool operator==(const journal_record&) const = default;
};

using rows = std::map<std::string, std::string>;  // by name

// What one step, or several in a row, did to the rows.
struct store_change {
  std::map<std::string, std::optional<std::string>> rows;  // none: the row is gone
  std::vector<journal_record> journal;

  bool empty() const noexcept { return rows.empty() && journal.empty(); }
  void append(store_change later);
};

// Whose a store is: it belongs to one coordinator at a time.
enum class possession {
  ours,
  in_doubt,  // it may be another's by now; nothing may be decided
  lost,      // for good: what is written is refused
};

// Threads: one caller at a time; calls may block.
class store {
 public:
  virtual ~store() = default;

  // All of the change or nothing of it; on its medium when it returns. Errors: io, unavailable (the same call may be
  // made again, also where the change did arrive); fenced (it belongs to another coordinator now).
  virtual status apply(const store_change& change) = 0;
  // What is there. Errors: io, unavailable, malformed.
  virtual result<rows> load() = 0;
  // The newest lines, oldest first.
  virtual result<std::vector<journal_record>> journal() = 0;

  // Grows with each coordinator that the store comes to belong to; 0: it cannot change hands.
  virtual std::uint64_t term() const noexcept { return 0; }
  // By this process's own clock. Any thread; never blocks.
  virtual possession held() const noexcept { return possession::ours; }

  static constexpr std::size_t journal_kept = 4096;  // lines; older ones go
};

// For the life of the process. A restart begins with nothing.
class memory_store final : public store {
 public:
  status apply(const store_change& change) override;
  result<rows> load() override { return rows_; }
  result<std::vector<journal_record>> journal() override {
    return std::vector<journal_record>(lines_.begin(), lines_.end());
  }

 private:
  rows rows_;
  std::deque<journal_record> lines_;
};

}  // namespace ballast
