// Files and random maps for the tests of policies/formats/.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "policies/formats/placement_file.hpp"
#include "tests/support/paths.hpp"

namespace ballast::policies::testing {

// Gone with the test.
class scratch_file {
 public:
  explicit scratch_file(const std::string& text = {}, const std::string& ending = ".txt")
      : path_(::testing::TempDir() + "formats_" + std::to_string(::getpid()) + "_" + std::to_string(count_++) +
              ending) {
    std::ofstream(path_, std::ios::binary) << text;
  }
  scratch_file(const scratch_file&) = delete;
  scratch_file& operator=(const scratch_file&) = delete;
  ~scratch_file() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  static inline std::size_t count_ = 0;
  std::string path_;
};

inline std::string data_file(const std::string& name) { return test_data("formats/" + name); }

inline std::string content_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream all;
  all << in.rdbuf();
  return all.str();
}

// Every expert somewhere, the other slots at random; with shares or without, with empty slots or without.
inline expert_map random_map(std::mt19937_64& random, bool with_shares, bool with_empty) {
  const auto draw = [&](std::uint32_t from, std::uint32_t to) {
    return std::uniform_int_distribution<std::uint32_t>(from, to)(random);
  };
  expert_map map;
  map.ranks = draw(1, 9);
  map.nodes = draw(1, map.ranks);
  const auto room = draw(1, 12);
  const auto slots = map.ranks * room;
  map.experts = draw(1, slots);
  map.layers.resize(draw(1, 5));
  for (auto& row : map.layers) {
    for (std::uint32_t s = 0; s < slots; ++s) {
      const bool empty = with_empty && draw(0, 3) == 0;
      row.push_back(s < map.experts ? static_cast<std::int32_t>(s)
                    : empty         ? empty_slot
                                    : static_cast<std::int32_t>(draw(0, map.experts - 1)));
    }
    std::shuffle(row.begin(), row.end(), random);
    if (!with_shares) continue;
    std::vector<double> weights(slots), sums(map.experts);
    for (std::uint32_t s = 0; s < slots; ++s) {
      if (row[s] == empty_slot) continue;
      weights[s] = draw(1, 1000);
      sums[static_cast<std::size_t>(row[s])] += weights[s];
    }
    for (std::uint32_t s = 0; s < slots; ++s) {
      if (row[s] != empty_slot) weights[s] /= sums[static_cast<std::size_t>(row[s])];
    }
    map.shares.push_back(std::move(weights));
  }
  return map;
}

}  // namespace ballast::policies::testing
