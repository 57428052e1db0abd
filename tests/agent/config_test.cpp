// The [agent] table of a deployment's file.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "agent/agent.hpp"

namespace ballast {
namespace {

result<agent_config> read(const std::string& keys) {
  const auto path = std::filesystem::path(::testing::TempDir()) / fmt::format("agent_config_test_{}.toml", ::getpid());
  std::ofstream(path) << "[agent]\nname = \"a\"\n" << keys << "\n[[model]]\nname = \"m\"\nseed = 1\nlayers = 1\nexperts = 2\n"
                      << "top_k = 1\nhidden = 32\nintermediate = 16\n";
  return read_agent_config(path.string());
}

TEST(agent_settings, a_rank_pulls_100_gigabytes_a_second_unless_told_otherwise) {
  const auto plain = read("");
  ASSERT_TRUE(plain) << plain.error().text;
  EXPECT_EQ(plain->transfer_gbps, 100);
  EXPECT_EQ(read("transfer_gbps = 0.5")->transfer_gbps, 0.5);
  EXPECT_EQ(read("transfer_gbps = 0.0")->transfer_gbps, 0);
  EXPECT_EQ(read("transfer_gbps = 50")->transfer_gbps, 50);
  const auto wrong = read("transfer_gbps = -1.0");
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().text, ::testing::HasSubstr("transfer_gbps"));
}

TEST(agent_settings, an_exchange_is_one_of_three) {
  EXPECT_EQ(read("")->exchange, gpu::exchange_kind::automatic);
  EXPECT_EQ(read("exchange = \"peer\"")->exchange, gpu::exchange_kind::peer);
  EXPECT_EQ(read("exchange = \"nccl\"\nnccl_ctas = 4")->exchange, gpu::exchange_kind::nccl);
  EXPECT_EQ(read("nccl_ctas = 4")->nccl_ctas, 4u);
  const auto wrong = read("exchange = \"nvlink\"");
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().text, ::testing::HasSubstr("exchange is `nvlink`; it must be `auto`, `peer` or `nccl`"));
}

}  // namespace
}  // namespace ballast
