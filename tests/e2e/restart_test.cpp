// The coordinator is a process of its own, killed with SIGKILL and started again, while agents serve: in every phase of
// every kind of operation. Every answer is compared with one static rank.
#include <signal.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iostream>

#include "cli/local/process.hpp"
#include "tests/e2e/deployment.hpp"
#include "tests/support/paths.hpp"

namespace ballast {
namespace {

using namespace std::chrono_literals;

struct restart : test::deployment {
  void SetUp() override {
    // In memory where that is to be had: what a killed process wrote is there, and no busy disk keeps anybody waiting.
    const std::filesystem::path memory = "/dev/shm";
    folder_ = (std::filesystem::exists(memory) ? memory : std::filesystem::path(testing::TempDir())) /
              fmt::format("restart-{}-{}", name_, ::getpid());
    std::filesystem::create_directories(folder_);
    gateway_ = "ipc://" + (folder_ / "gateway").string();
    events_ = "ipc://" + (folder_ / "events").string();
  }
  void TearDown() override {
    deployment::TearDown();
    if (HasFailure()) std::cerr << std::ifstream(folder_ / "log").rdbuf();  // what the coordinators said
    std::filesystem::remove_all(folder_);
  }

  void start_coordinator(coordinator_config c) override {
    std::ofstream(folder_ / "coordinator.toml")
        << "[coordinator]\nbind = \"" << c.bind << "\"\nevents = \"" << c.events << "\"\nstore = \"sqlite://"
        << (folder_ / "state.db").string() << "\"\ninitial_ranks = " << c.initial_ranks
        << "\nnum_redundant_experts = 4\nstep_interval = 0\nwindow_size = 200\nload_interval_steps = 4\nheartbeat_ms = "
           "25\n"
           "heartbeat_timeout_ms = "
        << c.heartbeat_timeout_ms << "\ncommand_retry_ms = 200\nshares_interval_ms = 20\n";
    start_process();
  }
  void start_process() {
    auto started =
        child_process::start(built_program("ballast-coordinator"),
                             {"--config", (folder_ / "coordinator.toml").string()}, (folder_ / "log").string());
    ASSERT_TRUE(started) << started.error().text;
    process_.emplace(std::move(*started));
  }
  void kill_process() {
    process_->kill();
    ASSERT_TRUE(process_->wait(30s));
  }

  // Kills the coordinator as soon as it has told of so many phases of the operation; nothing it says is lost before.
  void on_event(const event& e) override {
    if (e.operation.empty()) return;
    std::lock_guard lock(watching_);
    if (phases_until_kill_ == 0 || e.operation.front().id <= before_) return;  // or it ends one that came before
    over_ = e.operation.front().outcome != "running";
    if (--phases_until_kill_ == 0 && !over_) {
      ::kill(process_->pid(), SIGKILL);
      killed_ = true;
    }
    if (over_) phases_until_kill_ = 0;
    seen_.notify_all();
  }

  // True: it was killed in that phase, agents went on meanwhile (unless they are halted for a replace), and it is back.
  // False: there are not so many phases.
  bool killed_at(int phase, const std::function<void()>& act, bool serving = true) {
    const auto known = control_->operations();
    if (!known) {
      ADD_FAILURE() << known.error().text;
      return false;
    }
    {
      std::lock_guard lock(watching_);
      for (const auto& o : *known) before_ = std::max(before_, o.id);
      phases_until_kill_ = phase;
      killed_ = over_ = false;
    }
    act();
    {
      std::unique_lock lock(watching_);
      EXPECT_TRUE(seen_.wait_for(lock, 60s, [&] { return killed_ || over_; })) << "nothing ends";
    }
    if (!killed_) return false;
    EXPECT_TRUE(process_->wait(30s));
    if (serving) await_answers(12);  // nobody decides, everybody serves
    start_process();
    return true;
  }
  // The same for what an operator asks for; the request is repeated under its id until it is answered.
  bool killed_at(int phase, const std::function<result<operation_id>()>& ask, operation_status& ended) {
    std::future<result<operation_id>> asked;
    const bool killed = killed_at(phase, [&] { asked = std::async(std::launch::async, ask); });
    ended = finish(asked.get());
    return killed;
  }
  std::function<result<operation_id>()> ask_scale(std::uint32_t ranks) {
    return [this, ranks, id = fmt::format("scale-{}", ++asked_)] {
      scale_request r;
      r.request = id;
      r.ranks = ranks;
      return control_->scale(r);
    };
  }
  std::function<result<operation_id>()> ask_rebalance() {
    return [this, id = fmt::format("rebalance-{}", ++asked_)] {
      rebalance_request r;
      r.request = id;
      r.force = true;
      return control_->rebalance(r);
    };
  }
  // One operation may begin as another ends, such as the growth back after a loss.
  void expect_rest(std::size_t ranks) {
    await_answers(6);
    for (bool any = true; any;) {
      const auto known = control_->operations();
      ASSERT_TRUE(known) << known.error().text;
      any = false;
      for (const auto& o : *known)
        if (o.outcome == "running") {
          finish(o.id);
          any = true;
        }
    }
    EXPECT_EQ(active_seats().size(), ranks);
  }

  std::filesystem::path folder_;
  std::optional<child_process> process_;
  int asked_ = 0;
  std::mutex watching_;  // guards what follows
  std::condition_variable seen_;
  operation_id before_ = 0;  // of the operations that were there before
  int phases_until_kill_ = 0;
  bool killed_ = false, over_ = false;
};

TEST_F(restart, at_rest_goes_on_with_the_same_seats_and_tables) {
  start(3, 3, config());
  start_traffic(6);
  await_answers(20);
  const auto before = control_->get_status();
  ASSERT_TRUE(before);
  for (int i = 0; i < 3; ++i) {
    kill_process();
    await_answers(20);
    start_process();
  }
  expect_rest(3);
  const auto after = control_->get_status();
  ASSERT_TRUE(after);
  for (std::size_t s = 0; s < before->seats.size(); ++s)
    EXPECT_EQ(after->seats[s].incarnation, before->seats[s].incarnation) << "nobody had to join again";
  EXPECT_EQ(after->epoch, before->epoch);
  EXPECT_EQ(after->operations.size(), before->operations.size());
  EXPECT_EQ(scale_to(2).outcome, "done");
  stop_traffic();
  expect_all_exact(60);
}

TEST_F(restart, in_every_phase_of_a_scale_up_and_down) {
  start(2, 3, config());
  start_traffic(6);
  await_joined(3);
  int kills = 0;
  operation_status ended;
  for (int phase = 1; killed_at(phase, ask_scale(3), ended); ++phase, ++kills) {
    EXPECT_EQ(ended.outcome, "done") << "up " << phase << ": " << ended.reason;
    expect_rest(3);
    killed_at(phase, ask_scale(2), ended);
    EXPECT_EQ(ended.outcome, "done") << "down " << phase << ": " << ended.reason;
    expect_rest(2);
  }
  EXPECT_GT(kills, 6);
  stop_traffic();
  expect_all_exact(50);
}

TEST_F(restart, in_every_phase_of_a_rebalance) {
  start(3, 3, config());
  start_traffic(6);
  await_answers(12);
  int kills = 0;
  operation_status ended;
  for (int phase = 1; phase < 6; ++phase) {
    await_answers(20);
    kills += killed_at(phase, ask_rebalance(), ended);
    EXPECT_TRUE(ended.outcome == "done" || ended.reason.find("started anew") != std::string::npos)
        << phase << ": " << ended.outcome << ", " << ended.reason;
    expect_rest(3);
  }
  EXPECT_GT(kills, 1);
  stop_traffic();
  expect_all_exact(50);
}

TEST_F(restart, in_every_phase_of_a_replace) {
  auto c = config();
  c.heartbeat_timeout_ms = 500;
  start(3, 4, c);
  start_traffic(6);
  await_joined(4);
  int kills = 0;
  for (int phase = 1; phase < 12; phase += 2) {
    const auto active = active_seats();
    ASSERT_EQ(active.size(), 3u);
    const auto victim = agent_of(active.front());
    kills += killed_at(
        phase, [&] { agents_[victim].reset(); }, false);
    ASSERT_TRUE(await_active(3)) << "after phase " << phase;
    start_agents(1);
    expect_rest(3);
  }
  EXPECT_GT(kills, 2);
  stop_traffic();
  expect_all_exact(50);
}

}  // namespace
}  // namespace ballast
