// What a rank serves of one model to other ranks, whatever memory it lies in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "gpu/pages.hpp"

namespace ballast::gpu::host {

struct dense_blob {
  std::vector<std::byte> bytes;
  std::uint64_t checksum = 0;
};

// Dense weights of all layers: set by the issuing thread, read by it and by the page server.
class dense_keeper {
 public:
  std::shared_ptr<const dense_blob> get() const {
    const std::lock_guard lock(mutex_);
    return blob_;
  }
  void set(std::shared_ptr<const dense_blob> blob) {
    const std::lock_guard lock(mutex_);
    blob_ = std::move(blob);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const dense_blob> blob_;
};

// Threads: any.
class served_model {
 public:
  virtual ~served_model() = default;
  virtual std::size_t page_bytes() const noexcept = 0;
  virtual std::optional<std::uint64_t> checksum_of_key(page_key key) const = 0;
  // Copies a piece of the page that holds `key`, if its checksum is the one named. Errors: not_found, invalid_argument.
  virtual status read_key(page_key key, std::uint64_t sum, std::size_t offset, std::span<std::byte> out) const = 0;
  virtual std::shared_ptr<const dense_blob> dense() const = 0;  // null: none yet
};
using served_models = std::vector<const served_model*>;

template <class Owned>
served_models served(const std::vector<std::unique_ptr<Owned>>& models) {
  served_models all;
  for (const auto& m : models) all.push_back(m.get());
  return all;
}

}  // namespace ballast::gpu::host
