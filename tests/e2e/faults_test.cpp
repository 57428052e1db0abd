// The matrix of faults: every phase of every operation, a process that is killed or hangs, a member, a joiner or a
// leaver. Real processes. The proxy keeps a phase from ending until the fault has been missed there. Of every cell: no
// request is lost, every answer has the bits of an undisturbed run, the operation ends, the cluster serves, and who
// comes back does so as a new incarnation. `faults_test --print` prints the matrix.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/e2e/process_cluster.hpp"

namespace ballast::test {
namespace {

using namespace std::chrono_literals;
using names = std::vector<std::string>;

bool print_matrix = false;

enum class fault { killed, hung };
enum class operation { rebalance, synchronous, scale_up, join_first, scale_down, replace };

// What a phase sends; its outcome is held back. Planning sends nothing: the phase after it is held instead.
struct phase_to_hit {
  const char* name;  // as the coordinator tells it
  const char* command;
  const char* aborted_at = nullptr;  // the way back: an operator gives the operation up while this command is under way
};

struct row {
  operation what;
  const char* title;
  names base, target;  // agents that serve before, and that are asked for
  names victims;
  std::vector<phase_to_hit> phases;
};

// A phase that has nothing to do is passed at once and cannot be hit: cleaning where nothing was staged in vain,
// releasing where nobody leaves.
// clang-format off
const std::vector<row>& matrix() {
  static const std::vector<row> rows{
      {operation::rebalance, "rebalance", {"a0", "a1", "a2"}, {}, {"a1"},
       {{"planning", "stage"}, {"staging wave", "stage"}, {"publishing wave", "publish"},
        {"reclaiming wave", "reclaim"}}},
      {operation::synchronous, "synchronous", {"a0", "a1", "a2"}, {}, {"a1"},
       {{"holding", "hold"}, {"staging wave", "stage"}, {"unholding", "unhold"}}},
      {operation::scale_up, "scale up", {"a0", "a1"}, {"a0", "a1", "a2"}, {"a1", "a2"},
       {{"planning", "prepare"}, {"preparing", "prepare"}, {"staging", "stage"}, {"opening", "open_comm"},
        {"connecting", "connect_comm"}, {"switching", "arm"}, {"probation", "probation"}, {"closing", "close_comm"},
        {"undoing: disarming", "disarm", "arm"}, {"undoing: dropping", "close_comm", "connect_comm"},
        {"undoing: releasing", "release", "connect_comm"}}},
      {operation::join_first, "join first", {"a0", "a1"}, {"a0", "a1", "a2"}, {"a1", "a2"},
       {{"staging wave", "stage"}, {"publishing wave", "publish"}, {"reclaiming wave", "reclaim"}}},
      {operation::scale_down, "scale down", {"a0", "a1", "a2"}, {"a0", "a1"}, {"a1", "a2"},
       {{"planning", "drain"}, {"draining", "drain"}, {"staging wave", "stage"}, {"publishing wave", "publish"},
        {"reclaiming wave", "reclaim"}, {"opening", "open_comm"}, {"connecting", "connect_comm"}, {"switching", "arm"},
        {"probation", "probation"}, {"closing", "close_comm"}, {"releasing", "release"},
        {"undoing: dropping", "close_comm", "connect_comm"}, {"undoing: undraining", "undrain", "connect_comm"}}},
      {operation::replace, "replace", {"a0", "a1", "a2"}, {}, {"a1"},
       {{"halting", "halt"}, {"planning", "stage"}, {"staging", "stage"}, {"opening", "open_comm"},
        {"connecting", "connect_comm"}, {"resuming", "resume"}, {"closing", "close_comm"}}},
  };
  return rows;
}
// clang-format on

const row& row_of(operation what) { return *std::ranges::find(matrix(), what, &row::what); }

struct cell {
  operation what;
  fault how;
};
std::string cell_name(const testing::TestParamInfo<cell>& p) {
  std::string out = row_of(p.param.what).title;
  std::ranges::replace(out, ' ', '_');
  return out + (p.param.how == fault::killed ? "_killed" : "_hung");
}

const char* title_of(fault how) { return how == fault::killed ? "SIGKILL" : "SIGSTOP"; }

void print(const char* operation, const char* phase, fault how, const std::string& victim, const std::string& ended,
           steady_time began) {
  if (!print_matrix) return;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
  fmt::print("| {:<11} | {:<19} | {} | {:<9} | {:<22} | {:>5} ms |\n", operation, phase, title_of(how), victim, ended,
             ms.count());
  std::fflush(stdout);
}

void verify(process_cluster& cluster) {
  cluster.traffic().stop();
  cluster.traffic().expect_all_exact();
  const auto counts = cluster.traffic().client().counters();
  if (!print_matrix || testing::Test::HasFailure()) return;
  fmt::print("{} requests, {} answered, {} failed; every answer has the bits of one static rank's\n", counts.submitted,
             counts.answered, counts.failed);
}

void strike(process_cluster& cluster, const std::string& victim, fault how) {
  const auto done = how == fault::killed ? cluster.processes().kill(victim) : cluster.processes().pause(victim);
  ASSERT_TRUE(done) << done.error().text;
}

bool missed(const cluster_status& s, const seat_status& before) {
  return std::ranges::any_of(s.seats, [&](const auto& now) {
    return now.seat == before.seat && (now.state == "lost" || now.incarnation > before.incarnation);
  });
}

// The victim comes back, by being started again or by waking up: as a new incarnation, the old one fenced.
void bring_back(process_cluster& cluster, const seat_status& before, fault how) {
  if (how == fault::killed) {
    cluster.start_agent(before.agent);
  } else {
    ASSERT_TRUE(cluster.processes().resume(before.agent));
  }
  ASSERT_TRUE(cluster.wait_until([&](const cluster_status& s) {
    return std::ranges::any_of(s.seats, [&](const auto& now) {
      return now.agent == before.agent && now.state != "lost" && now.incarnation > before.incarnation;
    });
  })) << before.agent
      << " did not come back";
  EXPECT_GE(cluster.proxy().fenced(before.seat), before.incarnation);
}

std::string role_of(const row& r, const std::string& victim) {
  const auto in = [&](const names& some) { return std::ranges::find(some, victim) != some.end(); };
  if (r.target.empty() || (in(r.base) && in(r.target))) return "a member";
  return in(r.base) ? "a leaver" : "a joiner";
}

struct faults : testing::TestWithParam<cell> {
  void SetUp() override {
    cluster_options o;
    o.coordinator = "heartbeat_timeout_ms = 600\n";
    if (GetParam().what == operation::synchronous) o.coordinator += "use_async = false\n";
    cluster.emplace(o);
    ASSERT_TRUE(cluster->wait_until([](const auto& s) { return s.seats.size() == 4; }));
    cluster->traffic().start(4);
  }
  void TearDown() override {
    if (HasFatalFailure()) return;
    verify(*cluster);
  }

  // Asks for it; the operation, if it has a number already.
  void begin(const row& r) {
    if (r.what == operation::replace) return strike(*cluster, "a0", fault::killed);
    if (r.what == operation::scale_up || r.what == operation::scale_down) {
      ASSERT_TRUE(cluster->scale_to(r.target));
    } else if (r.what == operation::join_first) {
      ASSERT_TRUE(cluster->scale_to(r.target, true));
    } else {
      rebalance_request request;
      request.force = true;
      const auto id = cluster->control().rebalance(request);
      ASSERT_TRUE(id) << id.error().text;
    }
  }

  void run(const row& r, const phase_to_hit& at, const std::string& victim, fault how) {
    SCOPED_TRACE(fmt::format("{}: {} of {} while {}", r.title, title_of(how), victim, at.name));
    const auto began = std::chrono::steady_clock::now();
    ASSERT_TRUE(cluster->settle(r.base));
    cluster->traffic().await_answers(4);
    const auto before = cluster->seat_of(victim), first = cluster->seat_of("a0");
    const auto newest = cluster->newest_operation();
    cluster->proxy().hold(at.aborted_at ? at.aborted_at : at.command);
    ASSERT_NO_FATAL_FAILURE(begin(r));
    if (at.aborted_at) {
      ASSERT_TRUE(cluster->proxy().wait_held(at.aborted_at, 30s));
      cluster->proxy().hold(at.command);
      ASSERT_TRUE(cluster->control().abort(newest + 1));
    }
    ASSERT_TRUE(cluster->wait_phase(newest, at.name)) << "the phase was passed over";
    if (std::strcmp(at.name, "planning") != 0) {
      ASSERT_TRUE(cluster->proxy().wait_held(at.command, 30s));
    }
    ASSERT_NO_FATAL_FAILURE(strike(*cluster, victim, how));
    ASSERT_TRUE(cluster->wait_until([&](const cluster_status& s) { return missed(s, before); }));
    cluster->proxy().release("agent:" + victim);
    ASSERT_TRUE(cluster->wait_idle());
    const auto done = cluster->operation(newest + 1);
    ASSERT_TRUE(done);
    EXPECT_NE(done->outcome, "running");
    cluster->traffic().await_answers(8);
    ASSERT_NO_FATAL_FAILURE(bring_back(*cluster, before, how));
    if (r.what == operation::replace) {
      ASSERT_NO_FATAL_FAILURE(bring_back(*cluster, first, fault::killed));
    }
    print(r.title, at.name, how, role_of(r, victim), done->kind + " " + done->outcome, began);
  }

  std::optional<process_cluster> cluster;
};

TEST_P(faults, in_every_phase_lose_nothing) {
  const auto& r = row_of(GetParam().what);
  for (const auto& at : r.phases)
    for (const auto& victim : r.victims) ASSERT_NO_FATAL_FAILURE(run(r, at, victim, GetParam().how));
}

constexpr auto all_operations = {operation::rebalance,  operation::synchronous, operation::scale_up,
                                 operation::join_first, operation::scale_down,  operation::replace};
std::vector<cell> all_cells() {
  std::vector<cell> out;
  for (const auto what : all_operations)
    for (const auto how : {fault::killed, fault::hung}) out.push_back({what, how});
  return out;
}
INSTANTIATE_TEST_SUITE_P(matrix, faults, testing::ValuesIn(all_cells()), cell_name);

// A first start has no members yet: every phase on a deployment of its own.
struct faults_at_start : testing::TestWithParam<fault> {
  static void run(const phase_to_hit& at, fault how) {
    SCOPED_TRACE(fmt::format("start: {} while {}", title_of(how), at.name));
    const auto began = std::chrono::steady_clock::now();
    cluster_options o;
    o.agents = 3;
    o.initial_ranks = 2;
    o.coordinator = "heartbeat_timeout_ms = 600\n";
    o.hold = at.command;
    process_cluster cluster(o);
    // Asked for, not heard of: nobody may have been subscribed to the first events. Planning is over in a moment; there
    // the fault strikes as soon as the operation exists.
    const bool planning = std::strcmp(at.name, "planning") == 0;
    ASSERT_TRUE(cluster.wait_until([&](const cluster_status& s) {
      return std::ranges::any_of(s.operations, [&](const auto& op) { return planning || op.phase == at.name; });
    }));
    if (!planning) {
      ASSERT_TRUE(cluster.proxy().wait_held(at.command, 30s));
    }
    const auto joining = cluster.agents_in("joining");
    ASSERT_FALSE(joining.empty());
    const auto before = cluster.seat_of(joining.front());
    ASSERT_NO_FATAL_FAILURE(strike(cluster, before.agent, how));
    ASSERT_TRUE(cluster.wait_until([&](const cluster_status& s) { return missed(s, before); }));
    cluster.traffic().start(4);
    cluster.proxy().release("agent:" + before.agent);
    cluster.traffic().await_answers(8);
    ASSERT_NO_FATAL_FAILURE(bring_back(cluster, before, how));
    cluster.traffic().await_answers(8);
    verify(cluster);
    print("start", at.name, how, "a joiner", "served by two others", began);
  }
};

TEST_P(faults_at_start, in_every_phase_lose_nothing) {
  const std::vector<phase_to_hit> phases{{"planning", "prepare"},        {"preparing", "prepare"},
                                         {"staging", "stage"},           {"opening", "open_comm"},
                                         {"connecting", "connect_comm"}, {"resuming", "resume"}};
  for (const auto& at : phases) ASSERT_NO_FATAL_FAILURE(run(at, GetParam()));
}
INSTANTIATE_TEST_SUITE_P(matrix, faults_at_start, testing::Values(fault::killed, fault::hung),
                         [](const auto& p) { return p.param == fault::killed ? "killed" : "hung"; });

}  // namespace
}  // namespace ballast::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) ballast::test::print_matrix |= std::strcmp(argv[i], "--print") == 0;
  return RUN_ALL_TESTS();
}
