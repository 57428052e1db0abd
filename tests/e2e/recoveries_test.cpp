// What goes wrong though no process is lost, on real processes: a communicator that fails in probation, a step that
// never ends, bytes that change on their way.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <zmq.hpp>

#include "tests/e2e/frozen_thread.hpp"
#include "tests/e2e/page_relay.hpp"
#include "tests/e2e/process_cluster.hpp"

namespace ballast::test {
namespace {

using namespace std::chrono_literals;

// A rank that hangs for longer than a collective may take, and not so long that it is missed: the new communicator
// fails in probation, nobody is lost, and the one before it comes back.
TEST(switch_in_probation, is_taken_back_when_the_new_communicator_fails) {
  cluster_options o;
  o.agents = 3;
  o.initial_ranks = 2;
  o.coordinator = "heartbeat_timeout_ms = 20000\n";
  o.agent = "collective_timeout_ms = 1500\n";
  process_cluster cluster(o);
  ASSERT_TRUE(cluster.wait_until([](const auto& s) { return s.seats.size() == 3; }));
  ASSERT_TRUE(cluster.settle({"a0", "a1"}));
  const auto before = cluster.status();
  cluster.traffic().start(4);
  cluster.traffic().await_answers(4);

  cluster.proxy().hold("probation");
  const auto id = cluster.scale_to({"a0", "a1", "a2"});
  ASSERT_TRUE(id);
  ASSERT_TRUE(cluster.proxy().wait_held("probation", 30s));
  ASSERT_TRUE(cluster.processes().pause("a1"));
  ASSERT_TRUE(cluster.wait_phase(*id - 1, "undoing: reverting"));
  ASSERT_TRUE(cluster.processes().resume("a1"));
  cluster.proxy().release();
  ASSERT_TRUE(cluster.wait_idle());

  const auto done = cluster.operation(*id);
  ASSERT_TRUE(done);
  EXPECT_EQ(done->outcome, "aborted");
  EXPECT_NE(done->reason.find("reverted in probation"), std::string::npos) << done->reason;
  const auto after = cluster.status();
  EXPECT_EQ(after.epoch, before.epoch) << "the communicator before the switch";
  EXPECT_EQ(cluster.active(), (std::vector<std::string>{"a0", "a1"}));
  for (const auto& s : after.seats) EXPECT_EQ(s.incarnation, 1u) << s.agent;
  cluster.traffic().await_answers(8);
  const auto again = cluster.scale_to({"a0", "a1", "a2"});
  ASSERT_TRUE(again);
  ASSERT_TRUE(cluster.control().wait(*again, 30s));
  EXPECT_EQ(cluster.operation(*again)->outcome, "done") << cluster.operation(*again)->reason;
  cluster.traffic().await_answers(8);
  cluster.traffic().stop();
  cluster.traffic().expect_all_exact();
}

// A rank whose step never ends, in a process that lives and sends heartbeats. It is frozen while it waits in a step for
// a rank that is paused for that long.
TEST(step_that_hangs, is_missed_though_heartbeats_go_on) {
  cluster_options o;
  o.agents = 3;
  o.coordinator = "heartbeat_timeout_ms = 20000\nstep_timeout_ms = 9000\n";
  o.agent = "collective_timeout_ms = 6000\n";
  process_cluster cluster(o);
  ASSERT_TRUE(cluster.settle({"a0", "a1", "a2"}));
  cluster.traffic().start(6);
  cluster.traffic().await_answers(6);
  const auto before = cluster.seat_of("a1");

  ASSERT_TRUE(cluster.processes().pause("a0"));
  int same = 0;
  step_t last = 0;
  ASSERT_TRUE(cluster.wait_until([&](const auto& s) {
    const auto at = std::ranges::find(s.seats, "a1", &seat_status::agent)->step;
    same = std::exchange(last, at) == at ? same + 1 : 0;
    return same == 4;  // several heartbeats: it waits for a0
  }));
  auto frozen = frozen_thread::of(cluster.processes().running().at("a1"), "steps");
  ASSERT_TRUE(cluster.processes().resume("a0"));
  if (!frozen && frozen.error().code == errc::unavailable) GTEST_SKIP() << frozen.error().text;
  ASSERT_TRUE(frozen) << frozen.error().text;
  EXPECT_TRUE(cluster.wait_told(fmt::format("seat {} is lost: its step has not ended", index_of(before.seat))));
  ASSERT_TRUE(cluster.wait_idle());
  EXPECT_EQ(cluster.active(), (std::vector<std::string>{"a0", "a2"}));
  cluster.traffic().await_answers(8);
  EXPECT_EQ(cluster.seat_of("a1").state, "lost") << "it came back with a step of its former life under way";

  frozen->go_on();
  EXPECT_TRUE(cluster.wait_until([&](const auto&) {
    const auto now = cluster.seat_of("a1");
    return now.state != "lost" && now.incarnation > before.incarnation;
  }));
  cluster.traffic().await_answers(8);
  cluster.traffic().stop();
  cluster.traffic().expect_all_exact();
}

// Every page server is reached through a relay that turns bits round.
struct damaged : testing::Test {
  std::string relayed(const std::string& agent, const std::string& server) {
    const std::lock_guard lock(mutex);
    auto& relay = relays[agent];
    if (!relay) relay = std::make_unique<page_relay>(&context, "ipc://" + folder->path() + "/" + agent, server, flips);
    return relay->address();
  }
  void SetUp() override {
    auto made = work_folder::open({}, "relay");
    ASSERT_TRUE(made);
    folder.emplace(std::move(*made));
    cluster_options o;
    o.agents = 4;
    o.initial_ranks = 2;
    o.rewrite = [this](message_body& body) {
      if (auto* h = std::get_if<hello>(&body))
        for (auto& rank : h->ranks) rank.page_address = relayed(h->agent, rank.page_address);
    };
    cluster.emplace(o);
    ASSERT_TRUE(cluster->wait_until([](const auto& s) { return s.seats.size() == 4; }));
    ASSERT_TRUE(cluster->settle({"a0", "a1"}));
    cluster->traffic().start(4);
    cluster->traffic().await_answers(4);
  }
  static std::uint64_t caught(const cluster_status& s) {
    return std::accumulate(s.seats.begin(), s.seats.end(), std::uint64_t{0},
                           [](std::uint64_t n, const seat_status& seat) { return n + seat.corrupt; });
  }
  operation_status scaled(const std::vector<std::string>& agents) {
    const auto id = cluster->scale_to(agents);
    const auto done = cluster->control().wait(id.value_or(0), 60s);
    EXPECT_TRUE(done) << (done ? "" : done.error().text);
    return done.value_or(operation_status{});
  }

  std::mutex mutex;  // guards relays
  zmq::context_t context;
  std::atomic<int> flips{0};
  std::optional<work_folder> folder;
  std::map<std::string, std::unique_ptr<page_relay>> relays;
  std::optional<process_cluster> cluster;  // first to end
};

TEST_F(damaged, weights_are_caught_brought_anew_and_counted) {
  constexpr int damaged_pulls = 5;
  flips = damaged_pulls;
  const auto grown = scaled({"a0", "a1", "a2", "a3"});
  EXPECT_EQ(grown.outcome, "done") << grown.reason;
  EXPECT_LE(flips, 0) << "fewer pulls than expected: nothing was tested";
  EXPECT_TRUE(cluster->wait_until([&](const auto& s) { return caught(s) == damaged_pulls; }))
      << caught(cluster->status());
  cluster->traffic().await_answers(8);
  cluster->traffic().stop();
  cluster->traffic().expect_all_exact();
}

// Nobody can be pulled from: the checkpoint is what is left.
TEST_F(damaged, weights_from_every_replica_come_from_the_checkpoint) {
  flips = 1 << 30;
  const auto grown = scaled({"a0", "a1", "a2"});
  EXPECT_EQ(grown.outcome, "done") << grown.reason;
  EXPECT_EQ(grown.bytes_moved, 0u) << "nothing that came over a link could be used";
  EXPECT_TRUE(cluster->wait_until([&](const auto& s) { return caught(s) > 0; }));
  cluster->traffic().await_answers(8);
  cluster->traffic().stop();
  cluster->traffic().expect_all_exact();
}

}  // namespace
}  // namespace ballast::test
