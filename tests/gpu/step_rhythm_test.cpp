// Pieces of weights go while they disturb steps least, and never slower than their pace for it.
#include "gpu/cuda/step_rhythm.hpp"

#include <gtest/gtest.h>

#include <random>

#include "gpu/host/pace.hpp"

namespace ballast::gpu::cuda::test {
namespace {

using namespace std::chrono_literals;
using host::pace;
using time_point = step_rhythm::time_point;

constexpr time_point start{10s};

std::uint32_t word(std::uint32_t layer, step_phase phase) { return layer << 2 | phase; }

TEST(step_rhythm, without_steps_a_piece_goes_when_it_is_due) {
  step_rhythm rhythm;
  rhythm.look(0);
  EXPECT_FALSE(rhythm.may_copy(start + 1us, start));
  EXPECT_EQ(rhythm.look_again_at(start + 1us), start + 1us);
  EXPECT_TRUE(rhythm.may_copy(start, start));
  EXPECT_TRUE(rhythm.may_copy(start, start + 90us));
  EXPECT_FALSE(rhythm.in_lull());
}

TEST(step_rhythm, beside_steps_pieces_go_with_the_experts_and_sums_in_lulls) {
  step_rhythm rhythm;
  const auto late = start + 100us;
  rhythm.look(word(1, phase_lull));
  EXPECT_FALSE(rhythm.may_copy(start, late));
  EXPECT_TRUE(rhythm.in_lull());
  EXPECT_LT(rhythm.look_again_at(late), late);  // phases are shorter than timers are late
  rhythm.look(word(2, phase_experts));
  EXPECT_TRUE(rhythm.may_copy(start, late));
  EXPECT_TRUE(rhythm.may_copy(late, late));
  EXPECT_FALSE(rhythm.may_copy(late + 1us, late));
  EXPECT_FALSE(rhythm.in_lull());
  rhythm.look(word(2, phase_closing));
  EXPECT_FALSE(rhythm.may_copy(start, late));
  EXPECT_FALSE(rhythm.in_lull());
}

TEST(step_rhythm, a_piece_whose_phase_does_not_come_goes_and_the_next_do_not_wait) {
  step_rhythm rhythm;
  rhythm.look(word(48, phase_lull));  // the last layer of the last step
  const auto due = start + 100us;
  EXPECT_FALSE(rhythm.may_copy(due, due + step_rhythm::patience - 1us));
  EXPECT_TRUE(rhythm.may_copy(due, due + step_rhythm::patience));
  rhythm.look(word(48, phase_lull));
  EXPECT_TRUE(rhythm.may_copy(due + 800us, due + 800us));
  EXPECT_FALSE(rhythm.in_lull());
  rhythm.look(word(49, phase_lull));  // steps again
  EXPECT_FALSE(rhythm.may_copy(due + 900us, due + 900us));
  EXPECT_TRUE(rhythm.in_lull());
}

// Steps that come, go, stop anywhere, and have phases of any length.
TEST(step_rhythm, the_pace_is_kept_whatever_steps_do) {
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const auto up_to = [&](long most) { return static_cast<long>(random() % static_cast<unsigned>(most)); };
    const std::uint64_t rate = 1'000'000'000ull * (1 + random() % 200);
    const std::size_t piece = (1u << 20) + random() % (16u << 20);
    const auto of_rate = [&](std::chrono::microseconds t) {
      return static_cast<double>(rate) * 1e-6 * static_cast<double>(t.count());
    };
    step_rhythm rhythm;
    pace speed(rate);
    std::uint32_t phases = phase_experts;
    double sent = 0;
    constexpr auto tick = 5us;
    constexpr auto whole = 200'000us;
    auto next_phase = start;
    for (auto now = start; now < start + whole; now += tick) {
      if (now >= next_phase) {
        ++phases;
        next_phase = now + std::chrono::microseconds(up_to(10) == 0 ? up_to(20'000) : 10 + up_to(200));
      }
      rhythm.look(word(phases / 3, static_cast<step_phase>(1 + phases % 3)));
      while (rhythm.may_copy(speed.next(), now)) {
        speed.spend(piece, now);
        sent += static_cast<double>(piece);
      }
    }
    const auto slack = static_cast<double>(piece) + of_rate(pace::catch_up + tick);
    EXPECT_GE(sent, of_rate(whole) - slack) << "seed " << seed;
    EXPECT_LE(sent, of_rate(whole) + slack) << "seed " << seed;
  }
}

// Layers of a decode step at 100 GB/s.
TEST(step_rhythm, nothing_goes_while_tokens_travel) {
  step_rhythm rhythm;
  pace speed(100'000'000'000);
  constexpr auto layer = 230us, closing = 140us, lull = 180us;
  int all = 0;
  for (auto now = start; now < start + 100ms; now += 1us) {
    const auto into = (now - start) % layer;
    const auto phase = into < closing ? phase_experts : into < lull ? phase_closing : phase_lull;
    rhythm.look(word(static_cast<std::uint32_t>((now - start) / layer) + 1, phase));
    while (rhythm.may_copy(speed.next(), now)) {
      speed.spend(9'437'184, now);
      ++all;
      EXPECT_LT(into, closing);
    }
  }
  EXPECT_GT(all, 1000);
}

}  // namespace
}  // namespace ballast::gpu::cuda::test
