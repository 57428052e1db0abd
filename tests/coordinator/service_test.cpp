// The service with its actors and links, met by a fake agent and an operator over inproc.
#include "coordinator/service.hpp"

#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

#include "coordinator/store.hpp"
#include "tests/messages/raw_tcp.hpp"

namespace ballast {
namespace {

using namespace std::chrono_literals;

coordinator_config small_config(const std::string& name) {
  coordinator_config c;
  c.bind = "inproc://" + name;
  c.events = "inproc://" + name + ".events";
  c.initial_ranks = 2;
  c.step_interval = 0;
  return c;
}

// Received messages, waited for.
struct inbox {
  std::mutex mutex;
  std::condition_variable arrived;
  std::deque<message_body> messages;

  void put(message_body body) {
    std::lock_guard lock(mutex);
    messages.push_back(std::move(body));
    arrived.notify_all();
  }
  template <class T>
  std::optional<T> wait_for(
      const std::function<bool(const T&)>& wanted = [](const T&) { return true; },
      std::chrono::milliseconds longest = 20s) {
    std::unique_lock lock(mutex);
    std::optional<T> out;
    arrived.wait_for(lock, longest, [&] {
      while (!messages.empty()) {
        const auto body = std::move(messages.front());
        messages.pop_front();
        const auto* found = std::get_if<T>(&body);
        if (!found || !wanted(*found)) continue;
        out = *found;
        return true;
      }
      return false;
    });
    return out;
  }
};

// Two ranks that do everything they are told at once.
class fake_agent {
 public:
  fake_agent(link_context& context, const std::string& address) {
    link_options o;
    o.kind = link_kind::dealer;
    o.address = address;
    o.name = "agent";
    auto opened = link::open(context, o, [this](const std::string&, envelope m) { on(m); });
    EXPECT_TRUE(opened) << opened.error().text;
    link_ = std::move(*opened);
    ready_.store(true);
    hello h{"node", "agent", 1, "front", {{"target", "f", 2, 4, 1, 10}}, {}};
    for (std::uint32_t r = 0; r < 2; ++r) h.ranks.push_back({r, "pages", {{{4, 2}}, 8, 0}, 1.0});
    EXPECT_TRUE(link_->send({}, {1, "agent", h}));
  }
  ~fake_agent() { link_->stop(); }
  inbox received;

 private:
  void on(const envelope& m) {
    received.put(m.body);
    const auto* c = std::get_if<seat_command>(&m.body);
    if (!c || !ready_.load()) return;
    seat_outcome o;
    o.seat = c->seat;
    o.incarnation = c->incarnation;
    o.sequence = c->sequence;
    o.operation = c->operation;
    o.switched = true;
    o.contribution = "half";
    (void)link_->send({}, {2, "agent", o});
  }
  std::atomic<bool> ready_{false};
  std::unique_ptr<link> link_;
};

struct coordinator_meets : ::testing::Test {
  link_context context;
  inbox answers, watched;
  std::unique_ptr<coordinator_service> service;
  std::unique_ptr<link> operator_link, watcher;

  void start(const std::string& name, std::shared_ptr<store> kept = std::make_shared<memory_store>()) {
    start(small_config(name), std::move(kept));
  }
  void start(const coordinator_config& config, std::shared_ptr<store> kept) {
    auto started = coordinator_service::start(context, config, std::move(kept));
    ASSERT_TRUE(started) << started.error().text;
    service = std::move(*started);
    link_options o;
    o.kind = link_kind::dealer;
    o.address = service->address();
    o.name = "operator";
    operator_link = *link::open(context, o, [this](const std::string&, envelope m) { answers.put(std::move(m.body)); });
    o.kind = link_kind::subscriber;
    o.address = service->events_address();
    watcher = *link::open(context, o, [this](const std::string&, envelope m) { watched.put(std::move(m.body)); });
  }
  // What the coordinator answers to `get_status`: its state, or why it tells nothing.
  template <class T>
  T told() {
    for (;;) {
      EXPECT_TRUE(operator_link->send({}, {43, "operator", get_status{}}));
      if (auto got = answers.wait_for<T>([](const T&) { return true; }, 100ms)) return *got;
    }
  }
  void TearDown() override {
    if (watcher) watcher->stop();
    if (operator_link) operator_link->stop();
    if (service) service->stop();
  }
};

TEST_F(coordinator_meets, AnAgentAndPutsItsRanksIntoService) {
  start("meets");
  fake_agent agent(context, service->address());
  const auto w = agent.received.wait_for<welcome>();
  ASSERT_TRUE(w);
  EXPECT_EQ(w->seats.size(), 2u);
  const auto c = agent.received.wait_for<seat_command>(
      [](const seat_command& m) { return std::holds_alternative<command::resume>(m.body); });
  ASSERT_TRUE(c);
  EXPECT_EQ(std::get<command::resume>(c->body).tables.size(), 1u);
  const auto done =
      watched.wait_for<event>([](const event& e) { return !e.operation.empty() && e.operation[0].outcome == "done"; });
  ASSERT_TRUE(done);
  EXPECT_EQ(done->operation[0].target.size(), 2u);
}

TEST_F(coordinator_meets, AnOperatorEvenWithoutAgents) {
  start("operator");
  ASSERT_TRUE(operator_link->send({}, {41, "operator", get_status{}}));
  const auto s = answers.wait_for<cluster_status>();
  ASSERT_TRUE(s);
  EXPECT_TRUE(s->seats.empty());
  ASSERT_TRUE(operator_link->send({}, {42, "operator", scale_request{"x", 3, {}, false, 0}}));
  const auto r = answers.wait_for<refused>();
  ASSERT_TRUE(r);
  EXPECT_NE(r->failure.text.find("start more agents"), std::string::npos);
}

TEST_F(coordinator_meets, ItsFormerStateInTheStore) {
  const auto kept = std::make_shared<memory_store>();
  start("first life", kept);
  {
    fake_agent agent(context, service->address());
    ASSERT_TRUE(watched.wait_for<event>(
        [](const event& e) { return !e.operation.empty() && e.operation[0].outcome == "done"; }));
    TearDown();
  }
  start("second life", kept);
  ASSERT_TRUE(operator_link->send({}, {41, "operator", get_status{}}));
  const auto s = answers.wait_for<cluster_status>();
  ASSERT_TRUE(s);
  ASSERT_EQ(s->seats.size(), 2u);
  EXPECT_EQ(s->seats[1].state, "active");
  EXPECT_EQ(s->seats[1].front_end, "front");
  EXPECT_EQ(s->models.at(0).version, 1u);
  EXPECT_EQ(s->operations.at(0).outcome, "done");
  EXPECT_EQ(kept->journal()->back().operation.outcome, "done");
}

// What the coordinator refused, by its status.
TEST_F(coordinator_meets, PeersThatItRefusesAndTellsOfThem) {
  ASSERT_TRUE(context.secure({{}, {}, "", false, {.handshake_ms = 200}}));
  auto config = small_config("refuses");
  config.bind = "tcp://127.0.0.1:*";
  start(config, std::make_shared<memory_store>());
  const raw_tcp stranger(service->address());
  stranger.send("\xff");  // as ZeroMQ begins, and no more
  stranger.receive_to_end();
  auto seen = told<cluster_status>().refused;
  while (seen.at(0).unfinished == 0) seen = told<cluster_status>().refused;
  EXPECT_EQ(seen[0], (refusal_counts{.process = "coordinator", .unfinished = 1}));
}

// A disk that takes nothing for a while.
struct full_disk final : store {
  status apply(const store_change& change) override {
    std::lock_guard lock(mutex);
    ++calls;
    called.notify_all();
    return full ? fail(errc::io, "store x: database or disk is full") : below.apply(change);
  }
  result<rows> load() override { return below.load(); }
  result<std::vector<journal_record>> journal() override { return below.journal(); }
  void wait_for_calls(int n) {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(called.wait_for(lock, 20s, [&] { return calls >= n; }));
  }
  void free_some() {
    std::lock_guard lock(mutex);
    full = false;
  }
  std::mutex mutex;
  std::condition_variable called;
  int calls = 0;
  bool full = true;
  memory_store below;
};

TEST_F(coordinator_meets, AFullDiskAndTellsNothingThatIsNotSaved) {
  const auto disk = std::make_shared<full_disk>();
  start("full disk", disk);
  fake_agent agent(context, service->address());
  disk->wait_for_calls(2);  // and once more: by now the coordinator knows
  ASSERT_TRUE(operator_link->send({}, {42, "operator", scale_request{"x", 3, {}, false, 0}}));
  const auto no = answers.wait_for<refused>();
  ASSERT_TRUE(no);
  EXPECT_EQ(no->failure.code, errc::unavailable);
  EXPECT_NE(no->failure.text.find("disk is full"), std::string::npos) << no->failure.text;
  {
    std::lock_guard lock(agent.received.mutex);
    EXPECT_TRUE(agent.received.messages.empty());
  }
  disk->free_some();
  EXPECT_TRUE(agent.received.wait_for<welcome>());
  EXPECT_TRUE(agent.received.wait_for<seat_command>());
}

// A disk that answers only when it is told to.
struct stuck_disk final : store {
  status apply(const store_change& change) override {
    std::unique_lock lock(mutex);
    freed.wait(lock, [&] { return !stuck; });
    return below.apply(change);
  }
  result<rows> load() override { return below.load(); }
  result<std::vector<journal_record>> journal() override { return below.journal(); }
  void free() {
    std::lock_guard lock(mutex);
    stuck = false;
    freed.notify_all();
  }
  std::mutex mutex;
  std::condition_variable freed;
  bool stuck = true;
  memory_store below;
};

TEST_F(coordinator_meets, ADiskThatHangsAndSaysSoToOperators) {
  const auto disk = std::make_shared<stuck_disk>();
  start("stuck disk", disk);
  fake_agent agent(context, service->address());
  std::optional<refused> no;
  for (int i = 0; i < 200 && !no; ++i) {  // until it has waited for long
    ASSERT_TRUE(operator_link->send({}, {42, "operator", scale_request{"x", 3, {}, false, 0}}));
    no = answers.wait_for<refused>([](const refused& r) { return r.failure.code == errc::unavailable; }, 100ms);
  }
  EXPECT_TRUE(no);
  disk->free();
  EXPECT_TRUE(agent.received.wait_for<seat_command>());
}

// An agent of one rank whose connection can be closed and opened again.
struct caller {
  link_context& context;
  std::string address, name;
  inbox received;
  std::unique_ptr<link> wire;

  caller(link_context& c, std::string where, std::string as)
      : context(c), address(std::move(where)), name(std::move(as)) {
    dial();
    hello h{"node", name, 1, "front", {{"target", "f", 2, 4, 1, 10}}, {{0, "pages", {{{4, 2}}, 8, 0}, 1.0}}};
    EXPECT_TRUE(wire->send({}, {1, name, h}));
  }
  ~caller() { hang_up(); }
  void dial() {
    link_options o;
    o.address = address;
    o.identity = o.name = name;
    o.announce = true;
    wire = *link::open(context, o, [this](const std::string&, envelope m) { received.put(std::move(m.body)); });
  }
  void hang_up() {
    if (wire) wire->stop();
    wire.reset();
  }
};

TEST_F(coordinator_meets, AnAgentThatCallsAgainWhileTheDiskIsFull) {
  auto c = small_config("calls");
  c.bind = "tcp://127.0.0.1:*";
  c.initial_ranks = 9;  // more than come: nothing starts
  c.exit_grace_ms = 500;
  c.heartbeat_timeout_ms = 600'000;
  const auto disk = std::make_shared<full_disk>();
  disk->full = false;
  start(c, disk);
  caller back(context, service->address(), "back"), gone(context, service->address(), "gone");
  ASSERT_TRUE(back.received.wait_for<welcome>());
  ASSERT_TRUE(gone.received.wait_for<welcome>());
  back.hang_up();
  for (int i = 0; i < 3; ++i) (void)told<cluster_status>();  // the coordinator has seen it
  {
    std::lock_guard lock(disk->mutex);
    disk->full = true;
  }
  caller late(context, service->address(), "late");
  while (told<refused>().failure.text.find("disk is full") == std::string::npos) continue;
  back.dial();
  ASSERT_TRUE(back.wire->send({}, {2, "back", get_status{}}));
  ASSERT_TRUE(back.received.wait_for<refused>()) << "and so it has seen the new connection, too";
  disk->free_some();
  ASSERT_TRUE(late.received.wait_for<welcome>());
  gone.hang_up();  // later than the other: by the time this is given up the other would have been
  const auto state_of = [](const cluster_status& s, const std::string& agent) {
    for (const auto& seat : s.seats)
      if (seat.agent == agent) return seat.state;
    return std::string("unknown");
  };
  auto now = told<cluster_status>();
  while (state_of(now, "gone") != "lost") now = told<cluster_status>();
  EXPECT_EQ(state_of(now, "back"), "idle");
}

TEST_F(coordinator_meets, ItsEndWithAnAgentStillTalking) {
  start("end");
  fake_agent agent(context, service->address());
  ASSERT_TRUE(agent.received.wait_for<welcome>());
  service->stop();
  service->stop();  // again: nothing more to do
  service.reset();
}

TEST(CoordinatorService, RefusesSettingsThatMakeNoSense) {
  link_context context;
  auto c = small_config("bad");
  c.policy = "magic";
  const auto unknown = coordinator_service::start(context, c);
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().text.find("policies are"), std::string::npos);
  c = small_config("bad");
  c.heartbeat_timeout_ms = c.heartbeat_ms;
  EXPECT_FALSE(coordinator_service::start(context, c));
}

TEST(CoordinatorService, RefusesFilesOfLoadsThatCannotBeReadOrMade) {
  link_context context;
  auto c = small_config("files");
  c.read_stats = "no-such-recording";
  const auto read = coordinator_service::start(context, c);
  ASSERT_FALSE(read);
  EXPECT_NE(read.error().text.find("read_stats: no-such-recording"), std::string::npos) << read.error().text;
  c.read_stats.clear();
  c.record_stats = "no/such/folder/loads.jsonl.gz";
  const auto made = coordinator_service::start(context, c);
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().text.find("name a file in a folder that exists"), std::string::npos) << made.error().text;
}

TEST(CoordinatorService, RefusesAStoreThatItDoesNotKnow) {
  link_context context;
  auto c = small_config("store");
  c.store = "papyrus://scroll";
  const auto unknown = coordinator_service::start(context, c);
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().text.find("stores are memory, sqlite://FILE and etcd://HOST:PORT"), std::string::npos);
  c.store = "etcd://127.0.0.1:1";
  const auto replicated = coordinator_service::start(context, c);
  ASSERT_FALSE(replicated);
  EXPECT_NE(replicated.error().text.find("run ballast-coordinator"), std::string::npos) << replicated.error().text;
}

TEST(CoordinatorService, RefusesAnAddressInUse) {
  link_context context;
  auto first = coordinator_service::start(context, small_config("twice"));
  ASSERT_TRUE(first);
  const auto second = coordinator_service::start(context, small_config("twice"));
  EXPECT_FALSE(second);
}

}  // namespace
}  // namespace ballast
