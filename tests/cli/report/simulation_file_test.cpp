// What `ballast simulate --json` writes, read back.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/offline/simulation_report.hpp"
#include "tests/cli/report/small_views.hpp"

namespace ballast::report {
namespace {

class report_simulation : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(file_); }

  static nlohmann::json simulated(bool with_load) {
    auto input = small_input();
    input.with_load = with_load;
    input.cost.bundle_bytes = 1000;
    const std::vector<offline::setting> settings = {{"economy", 8, 4, offline::share_mode::even, false},
                                                    {"deepseek", 8, 4, offline::share_mode::even, false},
                                                    {"economy", 16, 4, offline::share_mode::even, true}};
    const auto runs = offline::replay_all(input, settings, 1, [](std::uint64_t) {});
    return nlohmann::json::parse(offline::json_of(input, "some/folder/small.jsonl.gz", runs.value()));
  }

  result<simulation> read(const std::string& text) {
    std::ofstream(file_) << text;
    return read_simulation(file_);
  }

  const std::string file_ = testing::TempDir() + "/ballast_report_simulation_" +
                            testing::UnitTest::GetInstance()->current_test_info()->name() + ".json";
};

TEST_F(report_simulation, gives_the_views_that_a_replay_gives) {
  const auto got = read(simulated(true).dump());
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(got->source.file, "small.jsonl.gz");
  EXPECT_EQ(got->source.model, "small-drift");
  EXPECT_EQ(got->bundle_bytes, 1000u);
  ASSERT_EQ(got->views.size(), 5u) << "three runs, and an even layout for each interval";
  EXPECT_TRUE(got->views[0].even_layout);
  const auto& run = got->views[1];
  const auto replayed = small_view("economy", 4);
  EXPECT_EQ(run.policy, "economy");
  EXPECT_EQ(run.redundant, 4u);
  EXPECT_NEAR(run.next, replayed.next, 1e-9);
  EXPECT_EQ(run.moves, replayed.moves);
  ASSERT_EQ(run.steps.size(), replayed.steps.size());
  for (std::size_t i = 0; i < run.steps.size(); ++i) {
    EXPECT_EQ(run.steps[i].record, replayed.steps[i].record);
    EXPECT_EQ(run.steps[i].moves, replayed.steps[i].moves);
    EXPECT_EQ(run.steps[i].receiver, replayed.steps[i].receiver);
    EXPECT_NEAR(run.steps[i].next, replayed.steps[i].next, 1e-9);
  }
  ASSERT_EQ(run.heat.cells.size(), replayed.heat.cells.size());
  for (std::size_t i = 0; i < run.heat.cells.size(); ++i) EXPECT_NEAR(run.heat.cells[i], replayed.heat.cells[i], 1e-3);
  EXPECT_EQ(run.layer_imbalance.size(), replayed.layer_imbalance.size());
}

TEST_F(report_simulation, does_without_loads) {
  const auto got = read(simulated(false).dump());
  ASSERT_TRUE(got) << got.error().text;
  for (const auto& v : got->views) EXPECT_TRUE(v.heat.empty());
  const auto data = page_data_of({got->source}, got->views);
  EXPECT_EQ(data.views[data.left].name, "economy, interval 8");
  EXPECT_EQ(data.views[data.right].name, "deepseek, interval 8");
}

TEST_F(report_simulation, says_which_field_is_wrong) {
  const auto broken = [&](const auto& how) {
    auto d = simulated(true);
    how(d);
    const auto got = read(d.dump());
    EXPECT_FALSE(got);
    return got ? "" : got.error().text;
  };
  const auto expect = [&](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect(broken([](auto& d) { d.erase("runs"); }), "no list \"runs\"");
  expect(broken([](auto& d) { d["runs"] = nlohmann::json::array(); }), "has no runs");
  expect(broken([](auto& d) { d["layers"] = "four"; }), "layers is not a number");
  expect(broken([](auto& d) { d["layers"] = 5; }), "runs[0].load is not a list");
  expect(broken([](auto& d) { d["runs"][1]["policy"] = 7; }), "runs[1].policy is not a text");
  expect(broken([](auto& d) { d["runs"][1] = 7; }), "runs[1]");
  expect(broken([](auto& d) { d["runs"][0].erase("summary"); }), "runs[0].summary is not an object");
  expect(broken([](auto& d) { d["runs"][0]["summary"]["par_next"] = -1; }), "runs[0].summary.par_next is not a number");
  expect(broken([](auto& d) { d["runs"][0]["rebalances"][3]["moves"] = 1e300; }),
         "runs[0].rebalances[3].moves is not a count");
  expect(broken([](auto& d) { d["runs"][0]["rebalances"][3] = 1; }), "runs[0].rebalances[3].record is not a number");
  expect(broken([](auto& d) { d["runs"][0]["rebalances"] = nlohmann::json::array(); }),
         "runs[0].rebalances is not a list with an entry");
  expect(broken([](auto& d) { d["runs"][0]["load"][2][1][0] = "hot"; }), "runs[0].load is not a list");
  expect(broken([](auto& d) { d["runs"][0]["load"][2][1].erase(0); }), "runs[0].load is not a list");
  expect(broken([](auto& d) { d["runs"][0]["ranks"] = 0; }), "runs[0].ranks is not a number of ranks");
  expect(read("{\"runs\": [").error().text, "is not JSON");
  expect(read("[]").error().text, "no list \"runs\"");
  expect(read_simulation(file_ + ".none").error().text, "cannot read");
}

}  // namespace
}  // namespace ballast::report
