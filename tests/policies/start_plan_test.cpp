#include "policies/start_plan.hpp"

#include <gtest/gtest.h>

#include "policies/formats/read_recorded.hpp"
#include "tests/policies/shapes.hpp"
#include "tests/support/paths.hpp"

namespace ballast::policies {
namespace {

load_matrix one(double tokens) { return {{tokens, 1}}; }

double sum_of_first(const std::vector<load_matrix>& matrices) {
  double sum = 0;
  for (const auto& m : matrices) sum += m[0][0];
  return sum;
}

recorded_loads folded(std::uint64_t interval, std::uint64_t records) {
  load_folder folder(interval);
  for (std::uint64_t r = 1; r <= records; ++r) folder.add(one(static_cast<double>(r)));
  return std::move(folder).take();
}

TEST(load_folder, keeps_every_token_of_a_whole_recording_in_few_parts) {
  for (std::uint64_t records = 1; records < 300; ++records) {
    const auto got = folded(0, records);
    const auto all = static_cast<double>(records * (records + 1) / 2);
    EXPECT_EQ(got.loads[0][0], all);
    EXPECT_EQ(got.loads[0][1], static_cast<double>(records));
    EXPECT_EQ(sum_of_first(got.history.parts), all);
    EXPECT_LE(got.history.parts.size(), load_folder::parts_max);
    EXPECT_TRUE(got.history.intervals.empty());
    EXPECT_EQ(got.records, records);
  }
}

TEST(load_folder, splits_the_end_of_a_recording_into_intervals) {
  const auto got = folded(4, 19);
  ASSERT_EQ(got.history.parts.size(), 4U);
  EXPECT_EQ(got.loads[0][0], 16 + 17 + 18 + 19);
  ASSERT_EQ(got.history.intervals.size(), 3U);  // the first three records make no whole one
  EXPECT_EQ(got.history.intervals[2][0][0], 12 + 13 + 14 + 15);
  EXPECT_EQ(got.history.intervals[0][0][0], 4 + 5 + 6 + 7);
  EXPECT_EQ(folded(4, 3).loads[0][0], 1 + 2 + 3);
}

TEST(load_folder, is_bounded_for_any_interval) {
  for (const std::uint64_t interval : {1, 2, 7, 8, 9, 15, 16, 17, 31, 100, 1000}) {
    const auto got = folded(interval, 12000);
    EXPECT_LE(got.history.parts.size(), 2 * load_folder::parts_max) << interval;
    EXPECT_EQ(got.history.intervals.size(), load_folder::intervals_max) << interval;
    EXPECT_GE(got.loads[0][1], static_cast<double>(interval));
    EXPECT_LE(got.loads[0][1], static_cast<double>(interval + interval / load_folder::parts_max));
    EXPECT_EQ(sum_of_first(got.history.parts), got.loads[0][0]);
  }
}

TEST(load_folder, of_no_records_is_empty) {
  EXPECT_TRUE(folded(0, 0).loads.empty());
  EXPECT_TRUE(folded(3, 0).loads.empty());
}

TEST(start_plan, balances_the_recording_on_any_topology) {
  const auto file = read_recorded_loads(test_data("qwen30-drift-s1-8l.jsonl.gz"));
  ASSERT_TRUE(file) << file.error().text;
  EXPECT_EQ(file->recorded.records, 176U);
  for (const std::uint32_t ranks : {2U, 3U, 8U}) {
    placement_problem problem;
    problem.layers = file->meta.layers;
    problem.experts = file->meta.experts;
    const auto slots = (problem.experts + ranks - 1) / ranks + 1;
    problem.seats = testing::equal_seats(ranks, slots);
    problem.redundant = ranks * slots - problem.experts;
    const auto placed = plan_start(file->recorded, problem, "deepseek");
    ASSERT_TRUE(placed) << placed.error().text;
    EXPECT_TRUE(validate(*placed, problem.layers, problem.experts, problem.seats));
    EXPECT_LT(imbalance(*placed, file->recorded.loads, problem.seats).mean, 1.05) << ranks;
  }
}

TEST(start_plan, names_both_shapes_of_a_foreign_recording) {
  placement_problem problem;
  problem.layers = 3;
  problem.experts = 2;
  problem.seats = testing::equal_seats(2, 1);
  const auto placed = plan_start(folded(0, 5), problem, "deepseek");
  ASSERT_FALSE(placed);
  EXPECT_EQ(placed.error().text,
            "recorded loads are of 1 layers x 2 experts, the model has 3 layers x 2 experts; name a recording of this "
            "model");
  EXPECT_FALSE(plan_start({}, problem, "deepseek"));
}

}  // namespace
}  // namespace ballast::policies
