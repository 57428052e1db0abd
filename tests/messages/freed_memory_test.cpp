#include "messages/freed_memory.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

namespace ballast {
namespace {

std::int64_t resident_bytes() {
  std::int64_t total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

// As a burst of work leaves it: freed by another thread, below something that is still in use.
struct burst {
  std::vector<std::unique_ptr<char[]>> blocks;
  burst() {
    std::thread([this] {
      for (int i = 0; i < 64 * 1024; ++i) {
        blocks.push_back(std::make_unique<char[]>(1024));
        blocks.back()[0] = 1;
      }
    }).join();
    auto last = std::move(blocks.back());
    blocks.clear();
    blocks.push_back(std::move(last));
  }
};

TEST(freed_memory, goes_back_to_the_system_now_and_then) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
  GTEST_SKIP() << "memory is not kept by glibc here";
#endif
  freed_memory freed;
  const auto start = freed_memory::clock::now();
  freed.tick(start);
  const burst kept;
  const auto held = resident_bytes();
  freed.tick(start + freed_memory::interval / 2);
  EXPECT_GT(resident_bytes(), held - (16 << 20)) << "given back too often";
  freed.tick(start + freed_memory::interval);
  EXPECT_LT(resident_bytes(), held - (32 << 20)) << "of 64 MiB that were freed";
}

}  // namespace
}  // namespace ballast
