// The coordinator's process dies at every write of its state, before it or after, in the middle of every kind of
// operation. What it decides afterwards fits to what it has told the seats, and every operation ends.
#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "coordinator/row_layers_impl.hpp"
#include "tests/coordinator/bench.hpp"

namespace ballast::cluster::test {
namespace {

using seats = std::vector<std::uint32_t>;

// Time passes and everybody answers, until the dead are missed and nothing runs or waits. False: it never ends.
bool come_to_rest(bench& b) {
  for (int i = 0; i < 400; ++i) {
    b.answer_all();
    b.pass(50);
    const bool missed = std::ranges::all_of(b.dead, [&](auto a) { return b.state.seats[a].state == seat_state::lost; });
    if (missed && !b.state.running && b.state.queue.empty() && !b.state.members.empty()) return true;
  }
  return false;
}

// As an operator does it: the same request until it is answered.
operation_id insist(bench& b, scale_request r) {
  for (int i = 0; i < 3; ++i)
    if (const auto a = b.ask(r); a && std::holds_alternative<accepted>(*a)) return std::get<accepted>(*a).operation;
  ADD_FAILURE() << "never accepted";
  return 0;
}
operation_id insist(bench& b, rebalance_request r) {
  r.request = "balance";
  for (int i = 0; i < 3; ++i)
    if (const auto a = b.ask(r); a && std::holds_alternative<accepted>(*a)) return std::get<accepted>(*a).operation;
  ADD_FAILURE() << "never accepted";
  return 0;
}

struct script {
  const char* name;
  std::function<void(bench&)> act;
  seats members;  // after it, whatever happened; empty: any
};

void PrintTo(const script& s, std::ostream* out) { *out << s.name; }

const script scripts[] = {
    {"start", [](bench&) {}, {0, 1, 2}},
    {"rebalance",
     [](bench& b) {
       b.heat();
       insist(b, forced_rebalance());
     },
     {0, 1, 2}},
    {"grow", [](bench& b) { insist(b, scale_to(4, "up")); }, {}},
    {"shrink",
     [](bench& b) {
       insist(b, scale_to(4, "up"));
       come_to_rest(b);
       insist(b, scale_to(3, "down"));
     },
     {}},
    {"exchange",
     [](bench& b) {
       auto r = scale_seats({1, 2, 3});
       r.request = "exchange";
       insist(b, r);
     },
     {}},
    {"loss", [](bench& b) { b.lose(1); }, {0, 2}},
    {"loss_while_growing",
     [](bench& b) {
       insist(b, scale_to(4, "up"));
       b.run_to(phase::connecting);
       b.lose(1);
     },
     {}},
    {"abort",
     [](bench& b) {
       const auto id = insist(b, scale_to(4, "up"));
       b.run_to(phase::switching);
       b.switched = false;
       b.ask(abort_request{id});
       b.answer_all();
       b.pass(600);
       b.answer_all();
       b.switched = true;
     },
     {}},
    {"taken_back",
     [](bench& b) {
       insist(b, scale_to(4, "up"));
       if (b.run_to(phase::probation))
         b.say(0, seat_trouble{seat_id{0}, b.state.seats[0].incarnation, b.state.epoch, {errc::io, "broken"}});
     },
     {}},
    {"agent_comes_back",
     [](bench& b) {
       b.lose(2);
       b.answer_all();
       b.join(2);
     },
     {}},
};

// What was told to seats by any life: one sequence number means one command, one version one table, one epoch one
// operation.
void expect_one_meaning(const bench& b) {
  std::map<std::tuple<seat_id, incarnation_t, std::uint64_t>, command_body> commands;
  std::map<version_t, placement> tables;
  std::map<epoch_t, operation_id> epochs;
  const auto one_table = [&](const placement& table) {
    EXPECT_EQ(tables.try_emplace(table.version, table).first->second, table) << "version " << table.version;
  };
  for (const auto& [peer, body] : b.sent) {
    const auto* c = std::get_if<seat_command>(&body);
    if (!c) continue;
    const auto known = commands.try_emplace({c->seat, c->incarnation, c->sequence}, c->body).first;
    EXPECT_TRUE(known->second == c->body) << "command " << c->sequence << " of seat " << index_of(c->seat);
    if (const auto* publish = std::get_if<command::publish>(&c->body)) one_table(publish->table);
    if (const auto* resume = std::get_if<command::resume>(&c->body)) std::ranges::for_each(resume->tables, one_table);
    if (const auto* arm = std::get_if<command::arm>(&c->body)) std::ranges::for_each(arm->tables, one_table);
    if (const auto* open = std::get_if<command::open_comm>(&c->body)) {
      EXPECT_EQ(epochs.try_emplace(open->epoch, c->operation).first->second, c->operation) << "epoch " << open->epoch;
    }
  }
}

std::uint64_t run(const script& what, std::uint64_t dies_at, bool before) {
  bench b;
  b.lives = bench::life::saved;
  b.dies_at = dies_at;
  b.dies_before = before;
  for (std::uint32_t a = 0; a < 4; ++a)  // an agent says hello until it is welcome
    while (b.state.seats.size() <= a) b.join(a);
  EXPECT_TRUE(come_to_rest(b)) << "the start never ends";
  what.act(b);
  if (!come_to_rest(b)) {
    ADD_FAILURE() << "never ends: " << (b.state.running ? b.state.running->report.phase : "out of service");
    return b.writes;
  }
  EXPECT_TRUE(b.legal());
  EXPECT_EQ(b.unnamed_slots(), 0u);
  EXPECT_TRUE(b.state.held.empty());
  if (!what.members.empty()) {
    EXPECT_EQ(b.members(), what.members);
  }
  for (const auto& o : b.state.history) EXPECT_NE(o.outcome, "running");
  expect_one_meaning(b);
  return b.writes;
}

class Restart : public ::testing::TestWithParam<script> {};

TEST_P(Restart, AtAnyWriteEndsEveryOperation) {
  const auto writes = run(GetParam(), 0, false);
  ASSERT_GT(writes, 4u);
  for (std::uint64_t at = 1; at <= writes; ++at)
    for (const bool before : {true, false}) {
      SCOPED_TRACE(fmt::format("{} write {} of {}", before ? "before" : "after", at, writes));
      run(GetParam(), at, before);
      if (HasFailure()) return;
    }
}
INSTANTIATE_TEST_SUITE_P(Scripts, Restart, ::testing::ValuesIn(scripts),
                         [](const auto& p) { return std::string(p.param.name); });

TEST(Rows, AreWrittenOnlyWhereSomethingDurableChanges) {
  bench b;
  b.lives = bench::life::saved;
  b.join_all(3);
  b.answer_all();
  const auto before = b.writes;
  b.pass(2000);
  for (int i = 0; i < 10; ++i) b.ask(get_status{});
  EXPECT_EQ(b.writes, before);
}

TEST(Rows, HoldALayerOnceHoweverManyTablesAndSeatsHaveIt) {
  auto b = serving(3);
  b.heat();
  b.accepted_id(forced_rebalance());
  ASSERT_TRUE(b.run_to(phase::wave_publishing));
  const auto change = state_saver().changes(b.state);
  std::size_t layers = 0;
  for (const auto& [name, text] : change.rows) layers += name.starts_with("layer/");
  std::set<std::string> different;
  const auto note = [&](const placement& table) {
    for (const auto& layer : table.layers) different.insert(name_of(layer));
  };
  auto& plan = b.state.running->made->models.front();
  for (const placement* table :
       {&plan.table, &plan.target, &*b.state.models[0].current, &*b.state.models[0].publishing})
    note(*table);
  for (const auto& w : plan.waves) note(w.after);
  EXPECT_EQ(layers, different.size());
}

TEST(Rows, OfAnotherReleaseAreRefusedInOneLine) {
  const auto newer = restore({{"schema", R"({"version":99})"}}, bench::default_config());
  ASSERT_FALSE(newer);
  EXPECT_EQ(newer.error().code, errc::version_mismatch);
  const auto foreign = restore({{"cluster", "{}"}}, bench::default_config());
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code, errc::malformed);
}

TEST(Rows, ThatAreDamagedAreRefusedWithTheirName) {
  auto b = serving(3);
  b.heat();
  b.accepted_id(forced_rebalance());
  ASSERT_TRUE(b.run_to(phase::wave_staging));
  rows whole;
  for (const auto& [name, text] : state_saver().changes(b.state).rows) whole[name] = *text;
  ASSERT_TRUE(restore(whole, b.state.config));
  std::size_t refused = 0;
  for (const auto& [name, text] : whole) {
    auto damaged = whole;
    damaged[name] = text.substr(0, text.size() - 1);
    const auto r = restore(damaged, b.state.config);
    ASSERT_FALSE(r) << name;
    EXPECT_EQ(r.error().code, errc::malformed) << name;
    EXPECT_NE(r.error().text.find("row `"), std::string::npos);
    ++refused;
    auto lacking = whole;
    lacking.erase(name);
    if (name.starts_with("layer/") || name == "seat/0") {
      EXPECT_FALSE(restore(lacking, b.state.config)) << name;
    }
  }
  EXPECT_GT(refused, 10u);
}

TEST(Rows, WithAFigureThatIsNoNumberAreReadAllTheSame) {
  auto b = serving(3);
  b.state.page_seconds = std::numeric_limits<double>::quiet_NaN();
  b.state.models[0].imbalance_before = std::numeric_limits<double>::infinity();
  rows saved;
  for (const auto& [name, text] : state_saver().changes(b.state).rows) saved[name] = *text;
  const auto again = restore(saved, b.state.config);
  ASSERT_TRUE(again) << again.error().text;
  EXPECT_EQ(again->page_seconds, 0);
  EXPECT_EQ(again->models[0].imbalance_before, 0);
}

TEST(Restored, SeatsHaveThePatienceOfAFreshBeat) {
  bench b;
  b.lives = bench::life::saved;
  b.join_all(3);
  b.answer_all();
  b.pass(100);
  b.dies_at = b.writes + 1;
  b.ask(forced_rebalance());
  ASSERT_EQ(b.writes, b.dies_at);
  const auto now = b.state.now_ms;
  step(b.state, input::tick{now + b.state.config.heartbeat_timeout_ms + 500});
  EXPECT_EQ(b.members(), (seats{0, 1, 2}));
  step(b.state, input::tick{now + b.state.config.heartbeat_timeout_ms + 2000});
  EXPECT_TRUE(b.members().empty());
}

// The newest step was saved long ago: a switch is taken back to a step that nobody has made.
TEST(Restored, TakesASwitchBackOnlyAfterItHasHeardWhereTheMembersAre) {
  bench b;
  b.lives = bench::life::saved;
  b.join_all(4);
  b.answer_all();
  b.ask(scale_to(4));
  ASSERT_TRUE(b.run_to(phase::probation));
  b.dies_at = b.writes + 1;
  b.dies_before = true;
  b.now += 10'000;  // that many steps were made, unseen
  const seat_trouble trouble{seat_id{0}, 1, b.state.epoch, {errc::io, "broken"}};
  b.say(0, trouble);
  ASSERT_EQ(b.writes, b.dies_at);
  b.say(0, trouble);
  EXPECT_TRUE(b.at(phase::probation));
  b.pass(50);
  b.say(0, trouble);
  ASSERT_TRUE(b.at(phase::reverting));
  const auto& told = b.waiting[seat_id{0}].front().body;
  ASSERT_TRUE(std::holds_alternative<command::revert>(told));
  EXPECT_GT(std::get<command::revert>(told).first_step, 10'000u);
}

}  // namespace
}  // namespace ballast::cluster::test
