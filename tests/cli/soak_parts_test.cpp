// What a soak judges: samples of a process over its life, on a clock of the test.
#include <gtest/gtest.h>
#include <unistd.h>

#include "cli/soak/vitals.hpp"

namespace ballast {
namespace {

constexpr std::uint64_t mib = 1 << 20;

// Ten minutes of one process, a sample a second.
template <class Sample>
vitals_watch watched(Sample sample, double seconds = 600) {
  vitals_watch watch;
  for (double s = 0; s <= seconds; ++s) watch.note(s, "a", 7, sample(s));
  return watch;
}

TEST(vitals, of_this_process_are_read) {
  const auto mine = read_vitals(::getpid());
  ASSERT_TRUE(mine);
  EXPECT_GT(mine->rss_bytes, mib);
  EXPECT_GE(mine->descriptors, 3u);
  EXPECT_GE(mine->threads, 1u);
  EXPECT_FALSE(read_vitals(-1));
}

TEST(vitals, that_swing_around_the_same_values_do_not_grow) {
  const auto watch = watched([](double s) {
    const auto swing = static_cast<std::uint32_t>(s) % 10;
    return vitals{100 * mib + swing * mib, 20 + swing, 8 + swing};
  });
  EXPECT_TRUE(watch.verdict()) << watch.verdict().error().text;
  EXPECT_TRUE(watch.growths().front().judged);
}

TEST(vitals, that_grow_only_while_warming_up_are_forgiven) {
  const auto watch = watched([](double s) {
    return vitals{100 * mib + static_cast<std::uint64_t>(std::min(s, 300.0)) * mib, 20, 8};
  });
  EXPECT_TRUE(watch.verdict()) << watch.verdict().error().text;
}

TEST(vitals, that_grow_afterwards_are_told) {
  const auto memory = watched([](double s) {
    return vitals{100 * mib + static_cast<std::uint64_t>(s) * mib / 40, 20, 8};
  });
  ASSERT_FALSE(memory.verdict());
  EXPECT_NE(memory.verdict().error().text.find("a grew by"), std::string::npos) << memory.verdict().error().text;
  const auto descriptors = watched([](double s) { return vitals{mib, 20 + static_cast<std::uint32_t>(s / 60), 8}; });
  ASSERT_FALSE(descriptors.verdict());
  EXPECT_NE(descriptors.verdict().error().text.find("descriptors"), std::string::npos);
  const auto threads = watched([](double s) { return vitals{mib, 20, 8 + static_cast<std::uint32_t>(s / 100)}; });
  ASSERT_FALSE(threads.verdict());
  EXPECT_NE(threads.verdict().error().text.find("threads"), std::string::npos);
}

// As a soak weighs: some seconds at a time, minutes apart.
TEST(vitals, that_are_looked_at_now_and_then_are_compared_from_the_first_look_after_the_warm_up) {
  vitals_watch watch;
  watch.see(0, "a", 7);
  for (const double at : {150.0, 450.0, 600.0, 900.0})
    for (double s = at; s < at + 8; ++s)
      watch.note(s, "a", 7, {at < 300 ? mib : at < 900 ? 100 * mib : 101 * mib, 20, 8});
  const auto g = watch.growths().front();
  ASSERT_TRUE(g.judged);
  EXPECT_EQ(g.first.rss_bytes, 100 * mib);
  EXPECT_EQ(g.last.rss_bytes, 101 * mib);
  EXPECT_NEAR(g.minutes, 15, 0.2);
}

TEST(vitals, that_stand_out_at_one_look_do_not_grow_and_those_that_creep_below_their_swing_do) {
  const auto looked_at = [](auto rss) {
    vitals_watch watch;
    watch.see(0, "a", 7);
    for (int look = 0; look < 13; ++look)
      for (int s = 0; s < 8; ++s) watch.note(150 * look + s, "a", 7, {rss(look), 20, 8});
    return watch;
  };
  const auto last_is_high = looked_at([](int look) { return (look == 12 ? 104 : 100) * mib; });
  EXPECT_TRUE(last_is_high.verdict()) << last_is_high.verdict().error().text;
  const auto creeps = looked_at([](int look) {
    const int swing[] = {0, 3, -3, 2, -2};
    return static_cast<std::uint64_t>(100'000 + 300 * look + 1'000 * swing[look % 5]) * 1024;
  });
  EXPECT_FALSE(creeps.verdict());
  EXPECT_NEAR(creeps.growths().front().rss(), 0.03, 0.01);
  EXPECT_EQ(creeps.growths().front().weighed.size(), 13u);
}

TEST(vitals, of_a_young_process_are_not_judged) {
  const auto watch = watched([](double s) { return vitals{static_cast<std::uint64_t>(s) * mib, 20, 8}; }, 400);
  EXPECT_TRUE(watch.verdict());
  EXPECT_FALSE(watch.growths().front().judged);
}

TEST(vitals, begin_anew_with_another_process_of_the_same_name) {
  auto watch = watched([](double) { return vitals{100 * mib, 20, 8}; });
  for (double s = 601; s <= 700; ++s) watch.note(s, "a", 8, {500 * mib, 90, 30});
  EXPECT_TRUE(watch.verdict());
  EXPECT_LT(watch.growths().front().minutes, 2);
}

}  // namespace
}  // namespace ballast
