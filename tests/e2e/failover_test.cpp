// Several coordinators over one etcd, as processes: the leading one is killed or stopped while agents serve, in the
// middle of operations, and so is the leading member of etcd. Every answer is compared with one static rank.
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <future>
#include <iostream>
#include <optional>

#include "cli/local/process.hpp"
#include "tests/e2e/deployment.hpp"
#include "tests/support/etcd_cluster.hpp"
#include "tests/support/paths.hpp"

namespace ballast {
namespace {

using namespace std::chrono_literals;

struct failover : test::deployment {
  void SetUp() override {
    if (const auto why = test::etcd_cluster::missing()) GTEST_SKIP() << *why;
    folder_ = std::filesystem::path(testing::TempDir()) / fmt::format("failover-{}-{}", name_, ::getpid());
    std::filesystem::create_directories(folder_);
    gateway_ = gateway_of(0) + "," + gateway_of(1);
    events_ = "ipc://" + (folder_ / "events-0").string() + ",ipc://" + (folder_ / "events-1").string();
  }
  void TearDown() override {
    if (HasFailure())
      for (const auto* log : {"log-0", "log-1"}) std::cerr << log << ":\n" << std::ifstream(folder_ / log).rdbuf();
    traffic_.reset();
    control_.reset();
    agents_.clear();
    std::filesystem::remove_all(folder_);
  }

  std::string gateway_of(int number) const { return fmt::format("ipc://{}/gateway-{}", folder_.string(), number); }

  // Two of them: whichever is first leads, the other one waits.
  void start_coordinator(coordinator_config c) override {
    for (const int n : {0, 1})
      std::ofstream(folder_ / fmt::format("coordinator-{}.toml", n))
          << "[coordinator]\nbind = \"" << gateway_of(n) << "\"\nevents = \"ipc://" << folder_.string() << "/events-"
          << n << "\"\nstore = \"" << etcd_->store("failover") << "\"\ninitial_ranks = " << c.initial_ranks
          << "\nnum_redundant_experts = 4\nstep_interval = 0\nwindow_size = 200\nload_interval_steps = 4\n"
             "heartbeat_ms = 25\nheartbeat_timeout_ms = 2000\ncommand_retry_ms = 200\nshares_interval_ms = 0\n";
    for (const int n : {0, 1}) start_process(n);
  }
  void start_process(int number) {
    auto started = child_process::start(built_program("ballast-coordinator"),
                                        {"--config", (folder_ / fmt::format("coordinator-{}.toml", number)).string()},
                                        (folder_ / fmt::format("log-{}", number)).string());
    ASSERT_TRUE(started) << started.error().text;
    processes_[number].emplace(std::move(*started));
  }
  bool has_said(int number, const std::string& words) {
    std::ifstream log(folder_ / fmt::format("log-{}", number));
    return std::string(std::istreambuf_iterator(log), {}).find(words) != std::string::npos;
  }
  // Which of them leads: the one that answers for itself.
  int leader() {
    for (int i = 0; i < 600; ++i)
      for (const int n : {0, 1}) {
        if (!processes_[n]->running()) continue;
        control_options alone{gateway_of(n), {}, "asking"};
        alone.deadline = 100ms;
        const auto asked = control_client::connect(context_, alone);
        if (asked && (*asked)->get_status()) return n;
      }
    ADD_FAILURE() << "nobody leads";
    return 0;
  }
  // Nobody answers for as long as the lease of a leader that is gone lasts; requests are sent again meanwhile.
  void start(std::uint32_t ranks, std::size_t agents) {
    test::deployment::start(ranks, agents, config());
    control_options patient{gateway_, events_, "operator"};
    patient.deadline = 30s;
    auto control = control_client::connect(context_, patient);
    ASSERT_TRUE(control) << control.error().text;
    control_ = std::move(*control);
  }
  result<operation_id> ask_scale(std::uint32_t ranks, const std::string& request) {
    scale_request r;
    r.request = request;
    r.ranks = ranks;
    auto asked = control_->scale(r);
    // Who is not sure to lead says so; the same request again does no harm.
    const auto somebody_runs = [this] { return std::ranges::any_of(processes_, [](auto& p) { return p->running(); }); };
    const auto until = std::chrono::steady_clock::now() + 60s;  // elections on a busy machine take seconds
    while (!asked && asked.error().code == errc::unavailable && somebody_runs() &&
           std::chrono::steady_clock::now() < until) {
      await_answers(1);
      asked = control_->scale(r);
    }
    return asked;
  }
  // Once under its id, whoever was asked and however often; and it was carried out once.
  void expect_once(std::uint32_t ranks, const std::string& request, operation_id id) {
    const auto again = ask_scale(ranks, request);
    ASSERT_TRUE(again) << again.error().text;
    EXPECT_EQ(*again, id);
    const auto known = control_->operations();
    ASSERT_TRUE(known) << known.error().text;
    EXPECT_EQ(std::ranges::count(*known, id, &operation_status::id), 1);
  }

  std::optional<test::etcd_cluster> etcd_;
  std::filesystem::path folder_;
  std::optional<child_process> processes_[2];
};

TEST_F(failover, a_killed_leader_is_followed_by_the_other_one_in_the_middle_of_an_operation) {
  etcd_.emplace();
  start(2, 3);
  start_traffic(6);
  await_answers(20);
  const auto before = control_->get_status();
  ASSERT_TRUE(before);
  for (const std::uint32_t ranks : {3u, 2u}) {
    const int leading = leader();
    const auto request = fmt::format("to-{}", ranks);
    const auto id = ask_scale(ranks, request);
    ASSERT_TRUE(id) << id.error().text;
    processes_[leading]->kill();
    ASSERT_TRUE(processes_[leading]->wait(30s));
    await_answers(12);  // nobody decides, everybody serves
    EXPECT_EQ(finish(*id).outcome, "done");
    EXPECT_EQ(active_seats().size(), ranks);
    expect_once(ranks, request, *id);
    EXPECT_NE(leader(), leading);
    start_process(leading);
  }
  const auto after = control_->get_status();
  ASSERT_TRUE(after);
  for (std::size_t s = 0; s < before->seats.size(); ++s)
    EXPECT_EQ(after->seats[s].incarnation, before->seats[s].incarnation) << "nobody had to join again";
  await_answers(12);
  stop_traffic();
  expect_all_exact(40);
}

// It does not know that it was deposed when it wakes: what it says then is refused, and it waits for its turn.
TEST_F(failover, a_leader_that_hung_is_deposed_and_stands_by_when_it_wakes) {
  etcd_.emplace();
  start(2, 2);
  start_traffic(6);
  await_answers(20);
  const int hung = leader(), other = 1 - hung;
  processes_[hung]->signal(SIGSTOP);
  EXPECT_EQ(finish(ask_scale(1, "down")).outcome, "done");
  processes_[hung]->signal(SIGCONT);
  EXPECT_EQ(finish(ask_scale(2, "up")).outcome, "done");
  processes_[other]->signal(SIGTERM);  // gives the lead up: nobody waits for a lease
  ASSERT_TRUE(processes_[other]->wait(30s));
  EXPECT_EQ(finish(ask_scale(1, "down again")).outcome, "done");
  EXPECT_EQ(leader(), hung);
  EXPECT_TRUE(has_said(hung, "the lead is lost"));
  await_answers(12);
  stop_traffic();
  expect_all_exact(40);
}

TEST_F(failover, the_service_goes_on_when_the_leading_member_of_etcd_is_killed) {
  etcd_.emplace(3);
  start(2, 3);
  start_traffic(6);
  await_joined(3);
  await_answers(20);
  etcd_->kill(etcd_->leader());
  await_answers(12);
  EXPECT_EQ(finish(ask_scale(3, "up")).outcome, "done");
  const int leading = leader();
  processes_[leading]->kill();
  ASSERT_TRUE(processes_[leading]->wait(30s));
  EXPECT_EQ(finish(ask_scale(2, "down")).outcome, "done");
  await_answers(12);
  stop_traffic();
  expect_all_exact(40);
}

}  // namespace
}  // namespace ballast
