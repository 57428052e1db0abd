#include "policies/load_window.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace ballast::policies {
namespace {

using verdict = load_window::verdict;

load_matrix filled(double value) { return {{value, 0}, {0, 2 * value}}; }

load_window two_seats(std::uint64_t window_size = 100) {
  load_window w(2, 2, window_size);
  w.set_active({seat_id{0}, seat_id{1}});
  return w;
}

TEST(load_window, counts_a_bucket_once_all_active_seats_reported) {
  auto w = two_seats();
  EXPECT_EQ(w.add(seat_id{0}, 0, 7, filled(1)), verdict::taken);
  EXPECT_EQ(w.steps(), 0U);
  EXPECT_EQ(w.totals(), filled(0));
  EXPECT_EQ(w.add(seat_id{1}, 0, 7, filled(10)), verdict::taken);
  EXPECT_EQ(w.steps(), 8U);
  EXPECT_EQ(w.totals(), filled(11));
}

TEST(load_window, counts_earlier_buckets_with_a_complete_later_one_and_takes_late_summaries) {
  auto w = two_seats();
  w.add(seat_id{0}, 0, 7, filled(1));
  w.add(seat_id{1}, 8, 15, filled(20));
  w.add(seat_id{0}, 8, 15, filled(2));
  EXPECT_EQ(w.steps(), 16U);
  EXPECT_EQ(w.totals(), filled(23));
  EXPECT_EQ(w.add(seat_id{1}, 0, 7, filled(10)), verdict::taken);  // late
  EXPECT_EQ(w.totals(), filled(33));
  EXPECT_EQ(w.steps(), 16U);
}

TEST(load_window, ignores_repeated_outdated_and_malformed_summaries) {
  auto w = two_seats(16);
  for (step_t s = 0; s < 40; s += 8) {
    w.add(seat_id{0}, s, s + 7, filled(1));
    w.add(seat_id{1}, s, s + 7, filled(1));
  }
  const auto before = w.totals();
  EXPECT_EQ(w.add(seat_id{0}, 32, 39, filled(5)), verdict::repeated);
  EXPECT_EQ(w.add(seat_id{0}, 0, 7, filled(5)), verdict::outdated);
  EXPECT_EQ(w.add(seat_id{0}, 40, 47, {{1, 2}}), verdict::malformed);
  EXPECT_EQ(w.add(seat_id{0}, 40, 47, {{1, 2}, {1}}), verdict::malformed);
  EXPECT_EQ(w.add(seat_id{0}, 40, 47, {{1, 2}, {1, -2}}), verdict::malformed);
  EXPECT_EQ(w.add(seat_id{0}, 40, 39, filled(1)), verdict::malformed);
  EXPECT_EQ(w.totals(), before);
}

TEST(load_window, slides_over_the_last_steps) {
  auto w = two_seats(20);
  for (step_t s = 0; s < 80; s += 8) {
    w.add(seat_id{0}, s, s + 7, filled(static_cast<double>(s)));
    w.add(seat_id{1}, s, s + 7, filled(1));
  }
  EXPECT_EQ(w.steps(), 16U);  // whole buckets within 20 steps
  EXPECT_EQ(w.totals(), filled(64 + 72 + 2));
  EXPECT_EQ(w.last_step(), 79U);
  auto narrow = two_seats(4);
  narrow.add(seat_id{0}, 0, 7, filled(1));
  narrow.add(seat_id{1}, 0, 7, filled(1));
  EXPECT_EQ(narrow.steps(), 8U);  // a single bucket may be longer than the window
}

TEST(load_window, does_not_wait_for_seats_that_left_nor_for_joiners_in_older_buckets) {
  auto w = two_seats();
  w.add(seat_id{0}, 0, 7, filled(1));
  w.set_active({seat_id{0}});  // seat 1 is lost
  EXPECT_EQ(w.totals(), filled(1));
  w.add(seat_id{0}, 8, 15, filled(1));
  EXPECT_EQ(w.totals(), filled(2));
  w.set_active({seat_id{0}, seat_id{2}});
  w.add(seat_id{0}, 16, 23, filled(1));
  EXPECT_EQ(w.steps(), 16U);
  w.add(seat_id{2}, 20, 23, filled(1));  // joined on the way
  EXPECT_EQ(w.steps(), 24U);
  EXPECT_EQ(w.totals(), filled(4));
}

TEST(load_window, stays_bounded_when_a_seat_is_silent) {
  auto w = two_seats(64);
  for (step_t s = 0; s < 8 * 1000; s += 8) {
    w.add(seat_id{0}, s, s + 7, filled(1));
    ASSERT_LE(w.buckets(), load_window::open_max + 8);
  }
  EXPECT_EQ(w.steps(), 64U);
  EXPECT_EQ(w.totals(), filled(8));
}

TEST(load_window, forgets_on_reset_and_then_takes_only_what_is_newer) {
  auto w = two_seats();
  w.add(seat_id{0}, 0, 7, filled(1));
  w.add(seat_id{1}, 0, 7, filled(1));
  w.reset(12);
  EXPECT_EQ(w.totals(), filled(0));
  EXPECT_EQ(w.steps(), 0U);
  EXPECT_EQ(w.add(seat_id{0}, 8, 15, filled(1)), verdict::outdated);
  EXPECT_EQ(w.add(seat_id{0}, 16, 23, filled(1)), verdict::taken);
  EXPECT_EQ(w.add(seat_id{1}, 16, 23, filled(1)), verdict::taken);
  EXPECT_EQ(w.totals(), filled(2));
}

// Whatever the order and however often a summary comes: in the end the window holds the last buckets, each seat once.
TEST(load_window, gives_the_same_totals_for_any_order_within_reach) {
  std::mt19937_64 random(9);
  for (int round = 0; round < 300; ++round) {
    struct summary {
      seat_id seat;
      step_t first;
      double value;
    };
    std::vector<summary> summaries;
    for (step_t s = 0; s < 40; s += 4) {
      for (std::uint32_t seat = 0; seat < 3; ++seat)
        summaries.push_back({seat_id{seat}, s, static_cast<double>(random() % 100)});
    }
    std::map<step_t, double> by_step;
    for (const auto& s : summaries) by_step[s.first] += s.value;
    // Shuffled within reach: five buckets at a time, as many as the window holds; then each a second time.
    for (std::size_t i = 0; i < summaries.size(); i += 15) {
      std::shuffle(summaries.begin() + static_cast<std::ptrdiff_t>(i),
                   summaries.begin() + static_cast<std::ptrdiff_t>(std::min(i + 15, summaries.size())), random);
    }
    load_window w(2, 2, 20);
    w.set_active({seat_id{0}, seat_id{1}, seat_id{2}});
    for (const auto& s : summaries) w.add(s.seat, s.first, s.first + 3, filled(s.value));
    for (const auto& s : summaries) EXPECT_NE(w.add(s.seat, s.first, s.first + 3, filled(s.value)), verdict::taken);
    double expected = 0;
    for (const auto& [first, value] : by_step) expected += first >= 20 ? value : 0;
    EXPECT_EQ(w.totals(), filled(expected));
    EXPECT_EQ(w.steps(), 20U);
    EXPECT_EQ(w.last_step(), 39U);
  }
}

// One seat, buckets of 8 steps whose loads say which they are.
load_window counted_to(step_t last, std::uint64_t window_size) {
  load_window w(2, 2, window_size);
  w.set_active({seat_id{0}});
  for (step_t s = 0; s + 7 <= last; s += 8) w.add(seat_id{0}, s, s + 7, filled(static_cast<double>(s / 8)));
  return w;
}

double value_of(const load_matrix& m) { return m[0][0]; }

TEST(load_window, gives_its_parts_which_sum_to_the_totals) {
  for (const step_t last : {step_t{7}, step_t{39}, step_t{511}, step_t{4000}}) {
    const auto w = counted_to(last, 512);
    const auto parts = w.parts();
    EXPECT_GE(parts.size(), 1U);
    EXPECT_LE(parts.size(), load_window::parts_max);
    double sum = 0;
    for (const auto& p : parts) sum += value_of(p);
    EXPECT_EQ(sum, value_of(w.totals()));
  }
  const auto parts = counted_to(511, 512).parts();  // 64 buckets: eight to a part
  ASSERT_EQ(parts.size(), 8U);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(value_of(parts[i]), 8 * 8 * static_cast<double>(i) + 28);
  EXPECT_TRUE(load_window(2, 2, 100).parts().empty());
}

TEST(load_window, keeps_the_windows_before_it_whole_and_next_to_each_other) {
  const std::size_t windows = load_window::intervals_max + 3;
  const auto w = counted_to(windows * 512 - 1, 512);
  const auto intervals = w.intervals();
  ASSERT_EQ(intervals.size(), load_window::intervals_max);
  for (std::size_t i = 0; i < intervals.size(); ++i) {
    const double first = 64.0 * static_cast<double>(windows - 1 - intervals.size() + i);  // of its 64 buckets
    EXPECT_EQ(value_of(intervals[i]), 64 * first + 63 * 64 / 2);
  }
  EXPECT_TRUE(counted_to(511, 512).intervals().empty());
  EXPECT_TRUE(counted_to(2 * 512 - 65, 512).intervals().empty());  // not whole yet
  EXPECT_EQ(counted_to(2 * 512 - 1, 512).intervals().size(), 1U);
}

TEST(load_window, sums_its_newest_buckets_and_who_received_what) {
  auto w = two_seats();
  for (step_t s = 0; s < 80; s += 8) {
    w.add(seat_id{0}, s, s + 7, filled(1));
    w.add(seat_id{1}, s, s + 7, filled(static_cast<double>(s)));
  }
  const auto newest = w.recent(16);
  EXPECT_EQ(newest.first, 64U);
  EXPECT_EQ(newest.last, 79U);
  EXPECT_EQ(newest.tokens, filled(1 + 64 + 1 + 72));
  EXPECT_EQ(newest.received.at(seat_id{0}), (std::vector<double>{2, 4}));
  EXPECT_EQ(newest.received.at(seat_id{1}), (std::vector<double>{136, 272}));
  EXPECT_EQ(w.recent(1).first, 72U);
  const double of_two = 0.75 * (1 + 72) + 0.75 * (1 + 64);  // tokens an expert in the newest two buckets
  EXPECT_EQ(w.recent(1, of_two).first, 64U);
  EXPECT_EQ(w.recent(1, of_two + 1).first, 56U);
  EXPECT_EQ(w.recent(1000).tokens, w.totals());
  EXPECT_EQ(two_seats().recent(8).tokens, filled(0));
}

TEST(load_window, knows_the_imbalance_of_what_ranks_got) {
  const std::vector<seat_info> seats{{seat_id{0}, 0, 1.0, {}}, {seat_id{1}, 0, 1.0, {}}, {seat_id{2}, 0, 2.0, {}}};
  const auto seen = imbalance_of_ranks({{seat_id{0}, {10, 30}}, {seat_id{1}, {10, 0}}, {seat_id{2}, {20, 10}}}, seats);
  ASSERT_EQ(seen.layers.size(), 2U);
  EXPECT_DOUBLE_EQ(seen.layers[0], 1);  // in proportion to the speeds
  EXPECT_DOUBLE_EQ(seen.layers[1], 30.0 * 4 / 40);
  EXPECT_DOUBLE_EQ(seen.mean, 2);
  EXPECT_EQ(imbalance_of_ranks({}, seats).mean, 1);
}

}  // namespace
}  // namespace ballast::policies
