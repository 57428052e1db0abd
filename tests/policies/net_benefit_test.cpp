#include "policies/net_benefit.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ballast::policies {
namespace {

using ::testing::HasSubstr;

benefit_question question() {
  benefit_question q;
  q.imbalance_before = 1.25;
  q.imbalance_after = 1.0;
  q.imbalance_share = 0.5;
  q.step_seconds = 0.01;
  q.horizon_steps = 3000;  // 30 s
  q.pages = 100;
  q.seconds_per_page = 0.03;  // 3 s in all: a tenth of the horizon
  q.slowdown = 0.1;
  return q;
}

TEST(net_benefit, weighs_saved_time_against_slowed_steps) {
  const auto a = net_benefit(question());
  EXPECT_TRUE(a.pays);
  EXPECT_DOUBLE_EQ(a.gain, 0.5 * 0.2 * 0.9);  // a tenth of the horizon is spent copying
  EXPECT_DOUBLE_EQ(a.cost, 0.1 * 0.1);
  EXPECT_EQ(a.text, "rebalance pays: gain 9.0 % > cost 1.0 % over 3000 steps");
}

TEST(net_benefit, skips_what_costs_more_than_it_gains_and_says_so) {
  auto q = question();
  q.imbalance_before = 1.02;
  q.slowdown = 0.5;
  const auto a = net_benefit(q);
  EXPECT_FALSE(a.pays);
  EXPECT_EQ(a.text, "rebalance skipped: gain 0.9 % < cost 5.0 % over 3000 steps");
}

TEST(net_benefit, skips_when_the_gain_is_negligible_negative_or_without_horizon) {
  auto q = question();
  q.imbalance_before = 1.001;
  EXPECT_THAT(net_benefit(q).text, HasSubstr("is below 0.2 % of a step"));
  q.imbalance_before = 0.9;
  EXPECT_FALSE(net_benefit(q).pays);
  q.least_gain = -1;
  EXPECT_FALSE(net_benefit(q).pays);
  q = question();
  q.horizon_steps = 0;
  EXPECT_FALSE(net_benefit(q).pays);
}

TEST(net_benefit, pays_less_the_longer_the_copies_take) {
  auto q = question();
  double last = 1;
  for (q.pages = 0; q.pages <= 2000; q.pages += 100) {
    const auto a = net_benefit(q);
    EXPECT_LE(a.gain - a.cost, last);
    last = a.gain - a.cost;
  }
  EXPECT_FALSE(net_benefit(q).pays);  // the horizon is over before the copies are made
}

TEST(net_benefit, does_not_flip_within_the_margin) {
  auto q = question();
  q.slowdown = 0.8;  // cost 8 %, gain 9 %: above the cost, within its margin of 20 %
  EXPECT_FALSE(net_benefit(q).pays);
  EXPECT_THAT(net_benefit(q).text, HasSubstr("gain 9.0 % > cost 8.0 % over 3000 steps, but by less than the margin"));
  q.was_paying = true;
  EXPECT_TRUE(net_benefit(q).pays);
  q.slowdown = 1.0;
  EXPECT_FALSE(net_benefit(q).pays);
}

TEST(net_benefit, decides_by_gain_alone_before_anything_was_measured) {
  auto q = question();
  q.step_seconds = 0;
  const auto a = net_benefit(q);
  EXPECT_TRUE(a.pays);
  EXPECT_EQ(a.cost, 0);
}

TEST(net_benefit, leaves_layers_out_that_do_not_pay_for_their_copies) {
  const auto q =
      question();  // a page slows steps down by 0.03 s * 10 % of 30 s: 0.01 % of the horizon, 0.012 % with its margin
  const auto pays = layers_that_pay(q, {
                                           {1.5, 1.0, 1},        // plenty
                                           {1.5, 1.0, 100'000},  // for far too many copies
                                           {1.0, 1.0, 0},        // nothing to do
                                           {1.001, 1.0, 1},      // below least_gain
                                           {1.0, 1.2, 1},        // worse
                                           {1.0, 1.2, 0},        // worse, but only by shares
                                       });
  EXPECT_EQ(pays, (std::vector<bool>{true, false, true, false, false, true}));
}

TEST(net_benefit, layers_pay_up_to_the_copies_that_their_gain_is_worth) {
  auto q = question();
  const double gain = 0.5 * 0.5 / (1.5 + 1.5);  // one of two layers falls from 1.5 to 1
  const double page = 0.03 * 0.1 / 30 * 1.2;
  const auto bound = static_cast<std::uint64_t>(gain / page);
  EXPECT_TRUE(layers_that_pay(q, {{1.5, 1.0, bound}, {1.5, 1.5, 0}})[0]);
  EXPECT_FALSE(layers_that_pay(q, {{1.5, 1.0, bound + 1}, {1.5, 1.5, 0}})[0]);
  q.slowdown = 0;  // nothing measured: whatever gains
  EXPECT_TRUE(layers_that_pay(q, {{1.5, 1.0, 1'000'000}})[0]);
}

}  // namespace
}  // namespace ballast::policies
