// What the coordinator must not forget: one record per transition of an operation.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "messages/messages.hpp"
#include "messages/result.hpp"

namespace ballast {

struct journal_record {
  std::uint64_t at_ms = 0;
  operation_status operation;
  std::vector<seat_id> members;     // active seats
  epoch_t epoch = 0;                // communicator in use
  epoch_t last_epoch = 0;           // highest ever given out
  std::vector<version_t> versions;  // highest ever given out, by model
  bool operator==(const journal_record&) const = default;
};

// Threads: one caller at a time (the coordinator actor). append() returns once the record is as safe as the kind of
// journal makes it.
class journal {
 public:
  virtual ~journal() = default;
  virtual status append(const journal_record& record) = 0;
  virtual result<std::vector<journal_record>> load() const = 0;  // oldest first
};

// Keeps the newest `limit` records for the life of the process.
class memory_journal final : public journal {
 public:
  explicit memory_journal(std::size_t limit = 1024) : limit_(limit) {}
  status append(const journal_record& record) override;
  result<std::vector<journal_record>> load() const override;

 private:
  std::size_t limit_;
  std::deque<journal_record> records_;
};

}  // namespace ballast
