// Settings and flags that cannot be right: one line that names the cause, exit code 1, and nothing started.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/cli/run_ballast.hpp"

namespace ballast {
namespace {

class config_error_test : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder); }
  void TearDown() override { std::filesystem::remove_all(folder); }

  // `ballast serve` with this file; its one line of error.
  std::string serve(const std::string& toml) {
    const auto path = (folder / "ballast.toml").string();
    std::ofstream(path) << toml;
    return refused({"serve", "--config", path});
  }

  std::string refused(const std::vector<std::string>& arguments) {
    const auto o = test::run_ballast(arguments);
    EXPECT_EQ(o.code, 1);
    EXPECT_EQ(o.out, "");
    EXPECT_TRUE(test::is_one_line(o.err)) << o.err;
    return o.err;
  }

  static std::string toml(const std::string& coordinator, const std::string& agent, const std::string& experts = "16") {
    return "[coordinator]\nbind = \"inproc://c\"\nevents = \"inproc://e\"\n" + coordinator + "\n[agent]\n" + agent +
           "\n[[model]]\nname = \"m\"\nseed = 1\nlayers = 2\nexperts = " + experts +
           "\ntop_k = 2\nhidden = 16\nintermediate = 16\n";
  }

  std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("ballast-config-" + std::to_string(::getpid()));
};

TEST_F(config_error_test, a_file_that_is_not_there) {
  EXPECT_NE(refused({"serve", "--config", "/nowhere/ballast.toml"}).find("/nowhere/ballast.toml"), std::string::npos);
}

TEST_F(config_error_test, an_unknown_key_is_named) {
  EXPECT_NE(serve(toml("initial_rank = 2", "ranks = 2")).find("initial_rank"), std::string::npos);
  EXPECT_NE(serve(toml("", "slots_per_layr = 16")).find("slots_per_layr"), std::string::npos);
}

TEST_F(config_error_test, a_value_out_of_range_is_named) {
  EXPECT_NE(serve(toml("", "ranks = 0")).find("ranks"), std::string::npos);
  EXPECT_NE(serve(toml("policy = \"best\"", "")).find("best"), std::string::npos);
}

TEST_F(config_error_test, fewer_slots_than_experts_are_refused_with_the_numbers) {
  const auto line = serve(toml("initial_ranks = 2", "ranks = 2\nslots_per_layer = 7"));
  EXPECT_NE(line.find("14"), std::string::npos) << line;
  EXPECT_NE(line.find("16"), std::string::npos) << line;
}

TEST_F(config_error_test, more_initial_ranks_than_ranks_are_refused) {
  EXPECT_NE(serve(toml("initial_ranks = 4", "ranks = 2")).find("initial_ranks"), std::string::npos);
}

TEST_F(config_error_test, an_impossible_shape_is_refused) {
  EXPECT_NE(serve(toml("", "", "1")).find("top_k"), std::string::npos);
}

TEST_F(config_error_test, a_checkpoint_that_cannot_be_written_is_refused) {
  const auto out = (folder / "model").string();
  EXPECT_NE(refused({"make-checkpoint", out, "--layout", "gpt"}).find("mixtral"), std::string::npos);
  EXPECT_NE(refused({"make-checkpoint", out, "--dtype", "int4"}).find("bf16"), std::string::npos);
  EXPECT_NE(refused({"make-checkpoint", out, "--loads", "/nowhere/loads.jsonl"}).find("/nowhere"), std::string::npos);
  EXPECT_FALSE(refused({"make-checkpoint", out, "--experts", "0"}).empty());
}

}  // namespace
}  // namespace ballast
