// Whole steps on several ranks: the same bits as one static rank, and clear errors when something is wrong.
#include <gmock/gmock.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <unistd.h>

#include "tests/gpu/support.hpp"

namespace ballast::gpu::test {
namespace {

using ::testing::HasSubstr;

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::string bind_of(const std::string& transport) {
  if (transport == "tcp") return "tcp://127.0.0.1:*";
  if (transport == "ipc") return "ipc:///tmp/bt";
  return "inproc://test";
}

struct layout {
  std::uint32_t ranks;
  std::string transport;
};

class placement_invariance : public ::testing::TestWithParam<layout> {};

TEST_P(placement_invariance, any_placement_gives_the_bits_of_one_static_rank) {
  const auto [ranks, transport] = GetParam();
  auto shape = small_shape();
  shape.layers = 3;
  const auto model = make_model(shape, 1);
  cluster c(model, {.bind = bind_of(transport), .ranks = ranks, .slots_per_layer = 8, .spare_pages = 2});
  ASSERT_TRUE(c.connect(1));
  std::mt19937_64 random(ranks);
  for (step_t step = 1; step <= 6; ++step) {
    ASSERT_TRUE(c.load(random_placement(shape, c.seats(), 8, step % 2 == 0 ? 6 : 0, step)));
    std::vector<std::vector<std::vector<float>>> hidden(ranks), expected(ranks);
    for (std::uint32_t r = 0; r < ranks; ++r) {
      const auto tokens = step == 3 && r != 0 ? 0u : static_cast<std::uint32_t>(random() % 9);
      hidden[r].push_back(make_hidden(shape, tokens, random()));
      expected[r].push_back(reference(model, hidden[r][0]));
    }
    for (const auto& s : c.step(step, hidden)) ASSERT_TRUE(s) << s.error().text;
    for (std::uint32_t r = 0; r < ranks; ++r) EXPECT_TRUE(same_bits(hidden[r][0], expected[r][0])) << "rank " << r << " step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(ranks, placement_invariance,
                         ::testing::Values(layout{1, "inproc"}, layout{2, "inproc"}, layout{3, "inproc"}, layout{5, "inproc"},
                                           layout{2, "ipc"}, layout{5, "ipc"}, layout{3, "tcp"}, layout{5, "tcp"}),
                         [](const auto& i) { return i.param.transport + std::to_string(i.param.ranks); });

}  // namespace
}  // namespace ballast::gpu::test
