// The coordinator's settings file.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "coordinator/service.hpp"

namespace ballast {
namespace {

struct config_file : ::testing::Test {
  result<coordinator_config> read(const std::string& text) {
    const auto path = ::testing::TempDir() + "coordinator_config_test_" + std::to_string(getpid()) + ".toml";
    std::ofstream(path) << text;
    auto out = read_coordinator_config(path);
    std::remove(path.c_str());
    return out;
  }
};

TEST_F(config_file, IsReadWithTheFieldsNamesAndTheirAliases) {
  const auto c = read(
      "[coordinator]\ninitial_ranks = 4\nalgorithm_execution_interval = 50\nexpert_heat_collection_interval = "
      "4\nuse_async = false\npolicy = \"deepseek\"\n");
  ASSERT_TRUE(c) << c.error().text;
  EXPECT_EQ(c->initial_ranks, 4u);
  EXPECT_EQ(c->step_interval, 50u);
  EXPECT_EQ(c->load_interval_steps, 4u);
  EXPECT_FALSE(c->use_async);
  EXPECT_EQ(c->policy, "deepseek");
  EXPECT_EQ(c->window_size, coordinator_config{}.window_size);
  const auto two_speeds = read(
      "[coordinator]\nshares_interval_ms = 50\nshares_window = 16\nshares_tokens = 0\nshares_gain = 0.01\n"
      "early_imbalance = 1.2\nmeasured_speeds = true\nrecord_stats = \"a.gz\"\nrecord_interval_steps = 64\n"
      "record_stats_mib = 3\nrecord_stats_files = 2\nread_stats = \"b.gz\"\nstore = \"sqlite://s.db\"\n");
  ASSERT_TRUE(two_speeds) << two_speeds.error().text;
  EXPECT_EQ(two_speeds->shares_interval_ms, 50u);
  EXPECT_EQ(two_speeds->shares_window, 16u);
  EXPECT_EQ(two_speeds->shares_tokens, 0);
  EXPECT_EQ(two_speeds->shares_gain, 0.01);
  EXPECT_EQ(two_speeds->early_imbalance, 1.2);
  EXPECT_TRUE(two_speeds->measured_speeds);
  EXPECT_EQ(two_speeds->record_stats, "a.gz");
  EXPECT_EQ(two_speeds->record_interval_steps, 64u);
  EXPECT_EQ(two_speeds->record_stats_mib, 3u);
  EXPECT_EQ(two_speeds->record_stats_files, 2u);
  EXPECT_EQ(two_speeds->read_stats, "b.gz");
  EXPECT_EQ(two_speeds->store, "sqlite://s.db");
}

TEST_F(config_file, UnknownKeysAndImpossibleValuesAreNamed) {
  const auto unknown = read("[coordinator]\ninital_ranks = 4\n");
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().text.find("inital_ranks"), std::string::npos) << unknown.error().text;
  EXPECT_FALSE(read("[coordinator]\ninitial_ranks = 0\n"));
  EXPECT_FALSE(read("[coordinator]\nimbalance_trigger = 0.5\n"));
  const auto window = read("[coordinator]\nwindow_size = 2\n");
  ASSERT_FALSE(window);
  EXPECT_NE(window.error().text.find("load_interval_steps"), std::string::npos);
}

TEST_F(config_file, CertificatesThatWouldNotBeUsedAreRefused) {
  const std::string etcd = "[coordinator]\nstore = \"etcd://a:1\"\n",
                    sqlite = "[coordinator]\nstore = \"sqlite://s\"\n";
  for (const auto& [text, named] : {std::pair(sqlite + "store_ca = \"a\"\n", "for a store in etcd"),
                                    {etcd + "store_certificate = \"a\"\nstore_key = \"b\"\n", "need store_ca"},
                                    {etcd + "store_ca = \"a\"\nstore_certificate = \"b\"\n", "store_key is missing"},
                                    {etcd + "store_ca = \"a\"\nstore_key = \"b\"\n", "store_certificate is missing"}}) {
    const auto refused = read(text);
    ASSERT_FALSE(refused) << text;
    EXPECT_NE(refused.error().text.find(named), std::string::npos) << refused.error().text;
  }
  const auto whole = read(etcd + "store_ca = \"a\"\nstore_certificate = \"b\"\nstore_key = \"c\"\n");
  ASSERT_TRUE(whole) << whole.error().text;
  EXPECT_EQ(whole->store_tls, (etcd_tls{"a", "b", "c"}));
}

}  // namespace
}  // namespace ballast
