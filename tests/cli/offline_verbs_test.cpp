// `ballast plan`, `simulate` and `convert` as they are called.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "policies/formats/placement_file.hpp"
#include "tests/cli/run_ballast.hpp"
#include "tests/support/paths.hpp"

namespace ballast {
namespace {

using test::is_one_line;
using test::outcome;
using ::testing::HasSubstr;
using document = nlohmann::json;
using words = std::vector<std::string>;

std::string data(const std::string& name) { return test_data(name); }

std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream all;
  all << in.rdbuf();
  return all.str();
}

class offline_verbs : public ::testing::Test {
 protected:
  offline_verbs() { std::filesystem::create_directories(folder_); }
  ~offline_verbs() override { std::filesystem::remove_all(folder_); }
  std::string file(const std::string& name) const { return folder_ + "/" + name; }

 private:
  std::string folder_ = ::testing::TempDir() + "offline_verbs_" + std::to_string(::getpid());
};

// Standard input from a file, for as long as it lives.
class standard_input {
 public:
  explicit standard_input(const std::string& path) : saved_(::dup(STDIN_FILENO)) {
    const int handle = ::open(path.c_str(), O_RDONLY);
    ::dup2(handle, STDIN_FILENO);
    ::close(handle);
  }
  ~standard_input() {
    ::dup2(saved_, STDIN_FILENO);
    ::close(saved_);
  }

 private:
  int saved_;
};

class usage : public ::testing::TestWithParam<words> {};

TEST_P(usage, is_refused_with_one_line_and_exit_code_2) {
  const auto o = test::run_ballast(GetParam());
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(is_one_line(o.err)) << o.err;
}

INSTANTIATE_TEST_SUITE_P(
    offline, usage,
    ::testing::Values(words{"plan"}, words{"plan", "--stats", "x"}, words{"plan", "--stats", "x", "--ranks", "0"},
                      words{"plan", "--stats", "x", "--ranks", "2", "--redundant", "1", "--slots-per-rank", "3"},
                      words{"plan", "--stats", "x", "--ranks", "2", "--hidden", "3"},
                      words{"simulate", "--stats", "x", "--ranks", "2", "--shares", "odd"}, words{"convert"}));

TEST_F(offline_verbs, every_fault_is_one_line) {
  const auto stats = data("formats/vllm_loads.jsonl");
  const std::vector<std::pair<words, const char*>> faults = {
      {{"plan", "--stats", "no/such", "--ranks", "2"}, "no/such: No such file"},
      {{"plan", "--stats", stats, "--ranks", "2", "--format", "keras"}, "no format named 'keras'"},
      {{"plan", "--stats", stats, "--ranks", "2", "--policy", "magic"}, "no policy named 'magic'"},
      {{"plan", "--stats", stats, "--ranks", "2", "--interval", "some"}, "--interval some"},
      {{"plan", "--stats", stats, "--ranks", "2", "--slots-per-rank", "1"}, "hold no 4 experts"},
      {{"plan", "--stats", stats, "--ranks", "2", "--from-map", stats, "--from-ranks", "3"}, "is for 2 ranks"},
      {{"plan", "--stats", data("small-drift-s1.jsonl.gz"), "--ranks", "2", "--from-map",
        data("formats/vllm_ascend_map.json")},
       "4 layers x 16 experts"},
      {{"plan", "--stats", stats, "--ranks", "2", "--out", "/no/such/folder/x"}, "nothing was written"},
      {{"simulate", "--stats", stats, "--ranks", "2"}, "fewer than three intervals"},
      {{"convert", stats, "--loads", "--format", "trtllm"}, "loads are written as vllm or ballast"},
      {{"convert", data("formats/sglang_map.json"), "--format", "vllm-ascend"}, "give --ranks"},
  };
  for (const auto& [arguments, part] : faults) {
    const auto o = test::run_ballast(arguments);
    EXPECT_EQ(o.code, 1) << part;
    EXPECT_TRUE(is_one_line(o.err)) << o.err;
    EXPECT_THAT(o.err, HasSubstr(part));
    EXPECT_EQ(o.out, "") << part;
  }
}

TEST_F(offline_verbs, plan_writes_every_form) {
  for (const auto& form : policies::file_format_names()) {
    const auto out = file("placement");
    const auto o =
        test::run_ballast({"plan", "--stats", data("qwen30-drift-s1-8l.jsonl.gz"), "--ranks", "8", "--nodes", "2",
                           "--redundant", "16", "--format", form, "--first-dense-layers", "3", "--out", out});
    ASSERT_EQ(o.code, 0) << form << o.err;
    EXPECT_EQ(o.err, "");
    EXPECT_THAT(o.out, HasSubstr("before: an even layout"));
    const auto got = policies::read_expert_map(out, {.ranks = 8, .first_dense_layers = 3});
    ASSERT_TRUE(got) << form << ": " << got.error().text;
    EXPECT_STREQ(to_string(got->format), form.c_str());
    EXPECT_EQ(got->map.layers.size(), 8U);
    EXPECT_EQ(got->map.slots(), 144U);
  }
}

TEST_F(offline_verbs, plan_reads_standard_input_and_writes_standard_output) {
  const standard_input input(data("qwen30-drift-s1-8l.jsonl.gz"));
  const auto o = test::run_ballast({"plan", "--stats", "-", "--ranks", "8", "--redundant", "16", "--format", "sglang"});
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_THAT(o.err, HasSubstr("moves: "));
  const auto d = document::parse(o.out);
  EXPECT_EQ(d["physical_to_logical_map"].size(), 8U);
}

TEST_F(offline_verbs, plan_from_a_placement_moves_little_and_balances) {
  const auto stats = data("qwen30-drift-s1-8l.jsonl.gz");
  const auto first = file("first.json"), second = file("second.json");
  ASSERT_EQ(test::run_ballast({"plan", "--stats", stats, "--ranks", "8", "--redundant", "16", "--policy", "static",
                               "--format", "sglang", "--out", first})
                .code,
            0);
  const auto o = test::run_ballast({"plan", "--stats", stats, "--ranks", "8", "--from-map", first, "--format", "sglang",
                                    "--out", second, "--json", "--bundle-bytes", "1000"});
  ASSERT_EQ(o.code, 0) << o.err;
  ASSERT_TRUE(is_one_line(o.out));
  const auto d = document::parse(o.out);
  EXPECT_EQ(d["policy"], "economy");
  EXPECT_EQ(d["before"], "the given placement");
  EXPECT_EQ(d["redundant"], 16);
  EXPECT_LT(d["imbalance_after"]["mean"], d["imbalance_before"]["mean"]);
  EXPECT_LT(d["moves"], 8 * 144 / 2);
  EXPECT_EQ(d["bytes"], d["moves"].get<std::uint64_t>() * 1000);
  const auto moved = test::run_ballast(
      {"plan", "--stats", stats, "--ranks", "8", "--from-map", second, "--policy", "static", "--json"});
  EXPECT_EQ(document::parse(moved.out)["moves"], 0);
}

TEST_F(offline_verbs, plan_for_other_ranks_than_the_placement_has) {
  const auto stats = data("small-drift-s1.jsonl.gz"), four = file("four.json");
  ASSERT_EQ(
      test::run_ballast({"plan", "--stats", stats, "--ranks", "4", "--format", "vllm-ascend", "--out", four}).code, 0);
  for (const char* ranks : {"2", "6"}) {
    const auto o = test::run_ballast(
        {"plan", "--stats", stats, "--ranks", ranks, "--from-map", four, "--from-ranks", "4", "--json"});
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_GT(document::parse(o.out)["moves"], 0);
  }
}

TEST_F(offline_verbs, plan_shows_what_the_recording_observed) {
  const auto o = test::run_ballast({"plan", "--stats", data("formats/vllm_loads.jsonl"), "--ranks", "2", "--json"});
  ASSERT_EQ(o.code, 0) << o.err;
  const auto d = document::parse(o.out);
  EXPECT_EQ(d["before"], "the recorded placement");
  EXPECT_EQ(d["redundant"], 2);
  EXPECT_NEAR(d["imbalance_observed"]["max"].get<double>(), 2 * 15.0 / 21, 1e-9);
}

TEST_F(offline_verbs, plan_with_solved_shares_balances_better_and_writes_them) {
  const auto stats = data("qwen30-drift-s1-8l.jsonl.gz");
  const auto even = test::run_ballast(
      {"plan", "--stats", stats, "--ranks", "8", "--redundant", "8", "--policy", "deepseek", "--json"});
  const auto solved = test::run_ballast({"plan", "--stats", stats, "--ranks", "8", "--redundant", "8", "--policy",
                                         "deepseek", "--json", "--shares", "solved", "--out", file("solved")});
  ASSERT_EQ(solved.code, 0) << solved.out;
  EXPECT_LT(document::parse(solved.out)["imbalance_after"]["mean"],
            document::parse(even.out)["imbalance_after"]["mean"]);
  const auto got = policies::read_expert_map(file("solved"));
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(got->map.shares.size(), 8U);
  const auto refused =
      test::run_ballast({"plan", "--stats", stats, "--ranks", "8", "--shares", "solved", "--format", "sglang"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("only ballast's form has shares"));
}

TEST_F(offline_verbs, plan_from_the_last_records_only) {
  const auto stats = data("small-shift-s3.jsonl.gz");
  const auto all = test::run_ballast({"plan", "--stats", stats, "--ranks", "4", "--out", file("a")});
  const auto last =
      test::run_ballast({"plan", "--stats", stats, "--ranks", "4", "--interval", "8", "--out", file("b")});
  ASSERT_EQ(all.code + last.code, 0);
  EXPECT_NE(content(file("a")), content(file("b")));
}

TEST_F(offline_verbs, convert_goes_from_any_form_to_any_other) {
  const std::vector<std::pair<const char*, const char*>> inputs = {{"vllm_mapping.json", "0"},
                                                                   {"vllm_ascend_map.json", "0"},
                                                                   {"trtllm_map.yaml", "3"},
                                                                   {"sglang_map.json", "1"},
                                                                   {"ballast_loads.jsonl", "0"}};
  for (const auto& [input, dense] : inputs) {
    for (const auto& form : policies::file_format_names()) {
      const auto o = test::run_ballast({"convert", data("formats/" + std::string(input)), "--format", form, "--ranks",
                                        "2", "--out", file("out"), "--first-dense-layers", dense});
      ASSERT_EQ(o.code, 0) << input << " to " << form << ": " << o.err;
      const auto got = policies::read_expert_map(
          file("out"), {.ranks = 2, .first_dense_layers = static_cast<std::uint32_t>(std::stoul(dense))});
      ASSERT_TRUE(got) << got.error().text;
      EXPECT_EQ(got->map.layers, (std::vector<std::vector<std::int32_t>>{{0, 1, 2, 3, 0, 1}, {3, 2, 1, 0, 3, 2}}));
    }
  }
}

TEST_F(offline_verbs, convert_turns_loads_into_both_forms) {
  const auto ours = file("ours.jsonl.gz"), theirs = file("theirs.jsonl");
  ASSERT_EQ(test::run_ballast(
                {"convert", "--loads", data("formats/sglang_loads.json"), "--first-dense-layers", "1", "--out", ours})
                .code,
            0);
  const auto o = test::run_ballast({"convert", "--loads", ours, "--format", "vllm", "--out", theirs});
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_THAT(content(theirs), HasSubstr("\"expert_load\":[[60,80,30,40],[3,4,6,8]]"));
}

TEST_F(offline_verbs, simulate_compares_settings_in_a_table_and_as_json) {
  const auto json = file("simulation.json");
  const auto o = test::run_ballast({"simulate",
                                    "--stats",
                                    data("small-drift-s1.jsonl.gz"),
                                    "--ranks",
                                    "4",
                                    "--nodes",
                                    "2",
                                    "--policy",
                                    "economy,deepseek",
                                    "--interval",
                                    "4,8",
                                    "--redundant",
                                    "0,4",
                                    "--trigger",
                                    "off,on",
                                    "--bundle-bytes",
                                    "1000000",
                                    "--json",
                                    json,
                                    "--with-load"});
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_THAT(o.out, HasSubstr("most gained: "));
  const auto d = document::parse(content(json));
  EXPECT_EQ(d["layers"], 4);
  EXPECT_EQ(d["experts"], 16);
  EXPECT_EQ(d["records"], 176);
  ASSERT_EQ(d["runs"].size(), 16U);
  for (const auto& r : d["runs"]) {
    for (const char* key : {"policy", "interval", "redundant", "shares", "ranks", "nodes", "trigger"})
      EXPECT_TRUE(r.contains(key)) << key;
    for (const char* key : {"rebalances", "skipped", "par_planned", "par_next", "par_next_p95", "par_next_max",
                            "par_record", "par_static", "moves", "moved", "gb", "gb_across_nodes", "step_ms",
                            "step_ms_static", "gain", "cost", "plan_ms"})
      EXPECT_TRUE(r["summary"].contains(key)) << key;
    ASSERT_EQ(r["rebalances"].size(), 176 / r["interval"].get<std::size_t>() - 1);
    for (const char* key :
         {"record", "par_planned", "par_before", "par_stay", "par_next", "par_next_p95", "par_next_max", "par_record",
          "par_static", "moves", "gb", "gb_across_nodes", "max_receiver", "layers_moved", "copy_s", "step_ms", "pays"})
      EXPECT_TRUE(r["rebalances"][1].contains(key)) << key;
    ASSERT_EQ(r["load"].size(), r["rebalances"].size());
    EXPECT_EQ(r["load"][0].size(), 4U);
    EXPECT_EQ(r["load"][0][0].size(), 4U);
  }
}

TEST_F(offline_verbs, simulate_replays_only_the_first_records) {
  const auto o = test::run_ballast(
      {"simulate", "--stats", data("small-drift-s1.jsonl.gz"), "--ranks", "4", "--records", "40", "--json", "-"});
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(document::parse(o.out)["runs"][0]["rebalances"].size(), 4U);
}

TEST_F(offline_verbs, help_names_the_flags) {
  EXPECT_THAT(test::run_ballast({"plan", "--help"}).out, HasSubstr("--first-dense-layers"));
  EXPECT_THAT(test::run_ballast({"simulate", "--help"}).out, HasSubstr("--steps-per-record"));
  EXPECT_THAT(test::run_ballast({"convert", "--help"}).out, HasSubstr("--loads"));
}

}  // namespace
}  // namespace ballast
