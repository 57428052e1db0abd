// The real program as its users run it: `ballast serve` in one process, asked by the other verbs of the same program.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/client/serving_client.hpp"
#include "cli/local/process.hpp"
#include "tests/cli/run_ballast.hpp"
#include "tests/support/paths.hpp"

namespace ballast {
namespace {

using namespace std::chrono_literals;
using document = nlohmann::json;

constexpr auto generous = 60s;  // reached only when something is broken

class serve_test : public ::testing::Test {
 protected:
  // A small model on four ranks of one process, reachable through sockets in a folder of its own.
  void SetUp() override {
    std::filesystem::create_directories(folder);
    std::ofstream(folder + "/ballast.toml")
        << "[coordinator]\nbind = \"ipc://" << folder << "/control\"\nevents = \"ipc://" << folder
        << "/events\"\ninitial_ranks = 3\nnum_redundant_experts = 4\n"
        << "step_interval = 0\nwindow_size = 64\nload_interval_steps = 4\n"
        << "[agent]\nranks = 4\nslots_per_layer = 16\nspare_pages = 4\n"
        << "[[model]]\nname = \"m\"\nseed = 1\nlayers = 2\nexperts = 16\ntop_k = 2\n"
        << "hidden = 16\nintermediate = 16\n";
    auto made = child_process::start(built_program("ballast"), {"serve", "--config", folder + "/ballast.toml"},
                                     folder + "/log");
    ASSERT_TRUE(made.has_value()) << made.error().text;
    server = std::make_unique<child_process>(std::move(*made));
    ASSERT_TRUE(wait_active(3)) << std::ifstream(folder + "/log").rdbuf();
  }
  void TearDown() override {
    server.reset();
    std::filesystem::remove_all(folder);
  }

  // The client learns of active seats by events and by asking: no need to look again and again here.
  bool wait_active(std::size_t seats) const {
    link_context context;
    serving_options options;
    options.coordinator = "ipc://" + folder + "/control";
    options.events = "ipc://" + folder + "/events";
    auto client = serving_client::connect(context, options, [](const request_record&) {});
    return client.has_value() && (*client)->wait_active(seats, generous).has_value();
  }

  document ask(std::vector<std::string> arguments, int code = 0) const {
    for (const auto& one :
         {std::string("--json"), std::string("--timeout"), std::string("30"), std::string("--coordinator"),
          "ipc://" + folder + "/control", std::string("--events"), "ipc://" + folder + "/events"}) {
      arguments.push_back(one);
    }
    const auto o = test::run_ballast(arguments);
    EXPECT_EQ(o.code, code) << o.out << o.err;
    return document::parse(o.out, nullptr, false);
  }

  std::size_t active() const {
    std::size_t count = 0;
    const auto all = ask({"status"});
    for (const auto& seat : all["seats"]) count += seat["state"] == "active" ? 1 : 0;
    return count;
  }

  std::string folder = "/tmp/ballast-serve-" + std::to_string(::getpid());
  std::unique_ptr<child_process> server;
};

TEST_F(serve_test, serves_scales_and_balances_until_it_is_told_to_end) {
  const auto load = ask({"bench", "--concurrency", "4", "--num-requests", "40", "--tokens", "3", "--steps", "6"});
  EXPECT_EQ(load["requests_answered"], 40);
  EXPECT_EQ(load["requests_failed"], 0);
  EXPECT_EQ(ask({"rebalance", "--force"})["outcome"], "done");
  EXPECT_EQ(ask({"scale", "--to", "4"})["outcome"], "done");
  EXPECT_EQ(active(), 4u);
  EXPECT_EQ(ask({"scale", "--seats", "0,3"})["outcome"], "done");
  EXPECT_EQ(active(), 2u);
  EXPECT_EQ(ask({"scale", "--to", "5"}, 1)["error"]["code"], "does_not_fit");
  EXPECT_EQ(ask({"abort", "999"}, 1)["error"]["code"], "not_found");
  EXPECT_EQ(ask({"bench", "--request-rate", "200", "--num-requests", "20"})["requests_answered"], 20);
  server->signal(SIGTERM);
  EXPECT_TRUE(server->wait(generous)) << "SIGTERM ends the program";
}

TEST_F(serve_test, answers_while_it_scales) {
  auto bench = child_process::start(built_program("ballast"),
                                    {"bench", "--coordinator", "ipc://" + folder + "/control", "--events",
                                     "ipc://" + folder + "/events", "--num-requests", "300", "--json"},
                                    folder + "/bench");
  ASSERT_TRUE(bench.has_value());
  for (const char* ranks : {"4", "2", "3"}) EXPECT_EQ(ask({"scale", "--to", ranks})["outcome"], "done");
  ASSERT_TRUE(bench->wait(generous));
  const auto report = document::parse(std::ifstream(folder + "/bench"), nullptr, false);
  EXPECT_EQ(report["requests_answered"], 300);
  EXPECT_EQ(report["requests_failed"], 0);
}

}  // namespace
}  // namespace ballast
