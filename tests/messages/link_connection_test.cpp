// What a router is told of its peers' connections: when one begins, and at once when it is closed.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <future>

#include "tests/messages/link_fixture.hpp"

namespace ballast {
namespace {

using news = std::vector<std::pair<std::string, bool>>;

class connection_log {
 public:
  void put(const std::string& peer, bool open) {
    const std::lock_guard lock(mutex_);
    seen_.emplace_back(peer, open);
    changed_.notify_all();
  }
  news wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] { return seen_.size() >= count; });
    return seen_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  news seen_;
};

// Ends the connections that this process has made to `address`, as a network that breaks would.
bool cut_connection_to(const std::string& address) {
  const auto end = address.substr(address.rfind(address.starts_with("tcp:") ? ':' : '/') + 1);
  bool cut = false;
  for (int fd = 3; fd < 1024; ++fd) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) continue;
    const auto* ip = reinterpret_cast<const sockaddr_in*>(&peer);
    const auto* path = reinterpret_cast<const sockaddr_un*>(&peer);
    const bool met = peer.ss_family == AF_INET   ? std::to_string(ntohs(ip->sin_port)) == end
                     : peer.ss_family == AF_UNIX ? std::string(path->sun_path).ends_with("/" + end)
                                                 : false;
    if (met) cut = shutdown(fd, SHUT_RDWR) == 0 || cut;
  }
  return cut;
}

// Declared so that links end before what they call.
struct link_connections : testing::TestWithParam<std::string> {
  link_options watching() {
    auto options = router_at(fresh_address(GetParam()));
    options.on_connection = [this](const std::string& peer, bool open) { log.put(peer, open); };
    return options;
  }
  std::unique_ptr<link> announced(
      const std::string& identity, const link::handler& on_message = [](const auto&, auto) {}) {
    auto options = dealer_to(router->address(), identity);
    options.announce = true;
    return opened(context, options, on_message);
  }

  link_context context;
  connection_log log;
  inbox got, answers;
  std::unique_ptr<link> router = opened(context, watching(), got.handler());
};

TEST_P(link_connections, are_told_when_they_begin_and_when_they_are_closed) {
  auto dealer = announced("a");
  EXPECT_EQ(log.wait_for(1), (news{{"a", true}}));
  ASSERT_TRUE(dealer->send("", numbered(1)));
  EXPECT_EQ(got.wait_for(1).size(), 1u) << "the announcement is no message";
  dealer->stop();
  EXPECT_EQ(log.wait_for(2), (news{{"a", true}, {"a", false}}));
  EXPECT_EQ(got.size(), 1u);
  EXPECT_EQ(router->counters().malformed, 0u);
}

TEST_P(link_connections, that_follow_each_other_are_told_in_order) {
  news expected;
  for (std::size_t round = 0; round < 30; ++round) {
    const auto name = round % 3 == 0 ? "a" : "b";
    auto dealer = announced(name);
    expected.emplace_back(name, true);
    ASSERT_EQ(log.wait_for(expected.size()), expected);
    dealer->stop(std::chrono::milliseconds(0));
    expected.emplace_back(name, false);
    ASSERT_EQ(log.wait_for(expected.size()), expected);
  }
}

// Descriptors are given out again at once: an end must never be taken for that of the connection after it.
TEST_P(link_connections, begun_anew_are_never_taken_for_closed) {
  std::unique_ptr<link> dealer;
  for (std::uint64_t round = 1; round <= 100; ++round) {
    if (dealer) dealer->stop(std::chrono::milliseconds(0));
    dealer = announced("a");
    ASSERT_TRUE(dealer->send("", numbered(round)));
    ASSERT_EQ(got.wait_for(round).size(), round);
    ASSERT_TRUE(log.wait_for(1).back().second) << "round " << round;
  }
}

TEST_P(link_connections, that_break_under_living_peers_are_replaced_and_announced_anew) {
  auto dealer = announced("a", answers.handler());
  ASSERT_EQ(log.wait_for(1), (news{{"a", true}}));
  ASSERT_TRUE(cut_connection_to(router->address()));
  EXPECT_EQ(log.wait_for(3), (news{{"a", true}, {"a", false}, {"a", true}}));
  ASSERT_TRUE(dealer->send("", numbered(1)));
  ASSERT_EQ(got.wait_for(1).size(), 1u);
  ASSERT_TRUE(router->send("a", numbered(2)));
  EXPECT_EQ(answers.wait_for(1).size(), 1u);
}

TEST_P(link_connections, taken_over_by_a_newcomer_are_not_missed) {
  auto first = announced("a");
  log.wait_for(1);
  auto second = announced("a", answers.handler());
  log.wait_for(2);
  first->stop();
  ASSERT_TRUE(second->send("", numbered(1)));
  ASSERT_EQ(got.wait_for(1).size(), 1u);
  ASSERT_TRUE(router->send("a", numbered(2)));
  EXPECT_EQ(answers.wait_for(1).size(), 1u);
  EXPECT_EQ(log.wait_for(2), (news{{"a", true}, {"a", true}}));
}

TEST_P(link_connections, of_peers_that_do_not_announce_themselves_are_not_told) {
  auto silent = opened(context, dealer_to(router->address(), "silent"), [](const auto&, auto) {});
  ASSERT_TRUE(silent->send("", numbered(1)));
  ASSERT_EQ(got.wait_for(1).size(), 1u);
  silent->stop();
  auto dealer = announced("a");
  EXPECT_EQ(log.wait_for(1), (news{{"a", true}}));
}

// libzmq 4.3.4 alone aborts a process that has a heartbeat to send over a connection which was closed while nothing more
// was taken from it (see zmq_hangups_impl.hpp).
TEST_P(link_connections, that_close_while_their_router_takes_nothing_do_no_harm) {
  router->stop();
  std::promise<void> wakes;
  const auto until = wakes.get_future().share();
  router = opened(context, watching(), [until](const auto&, auto) { until.wait(); });
  auto dealer = announced("a");
  log.wait_for(1);
  for (int i = 0; i < 2000; ++i) (void)dealer->send("", numbered(1));
  got.wait_for(1, std::chrono::milliseconds(100));  // nothing comes; what can be sent is
  dealer->stop();
  got.wait_for(1, std::chrono::milliseconds(2500));  // longer than between two heartbeats
  wakes.set_value();
  auto another = announced("b", answers.handler());
  for (int i = 0; i < 600 && answers.size() == 0; ++i) {
    (void)router->send("b", numbered(2));
    answers.wait_for(1, std::chrono::milliseconds(100));
  }
  EXPECT_GT(answers.size(), 0u);
}

TEST_P(link_connections, leave_the_address_free_once_their_router_has_stopped) {
  auto dealer = announced("a");
  log.wait_for(1);
  auto options = watching();
  options.address = router->address();
  router->stop();
  router = opened(context, options, got.handler());
  ASSERT_TRUE(router);
  EXPECT_EQ(log.wait_for(2).back(), std::pair(std::string("a"), true)) << "announced to the one that came after";
}

INSTANTIATE_TEST_SUITE_P(transports, link_connections, testing::Values("ipc", "tcp"),
                         [](const auto& p) { return p.param; });

// A dealer that was given the addresses of two routers.
struct link_following : testing::TestWithParam<std::string> {
  // What is on its way at a change of routers is lost: sent again until it arrives.
  bool reaches(link& dealer, inbox& at) {
    at.clear();
    for (int i = 0; i < 600; ++i) {
      (void)dealer.send("", numbered(1));
      if (!at.wait_for(1, std::chrono::milliseconds(100)).empty()) return true;
    }
    return false;
  }
  link::handler saying_standby(std::unique_ptr<link>& router) {
    return [&router](const std::string& peer, const envelope& m) {
      if (router) (void)router->send(peer, {m.id, "router", standby{"elsewhere"}});
    };
  }
  std::unique_ptr<link> dealer_to_both() {
    auto options = dealer_to(at_a + "," + at_b, "d");
    options.announce = true;
    return opened(context, options, answers.handler());
  }
  link_options router_that_watches(const std::string& address) {
    auto options = router_at(address);
    options.on_connection = [](const std::string&, bool) {};
    return options;
  }
  void SetUp() override {
    a = opened(context, router_that_watches(fresh_address(GetParam())), got_a.handler());
    b = opened(context, router_that_watches(fresh_address(GetParam())), got_b.handler());
    at_a = a->address();
    at_b = b->address();
  }

  link_context context;
  inbox got_a, got_b, answers;
  std::unique_ptr<link> a, b;
  std::string at_a, at_b;
};

TEST_P(link_following, goes_on_to_the_next_address_where_nobody_is) {
  a->stop();
  const auto dealer = dealer_to_both();
  EXPECT_TRUE(reaches(*dealer, got_b));
}

TEST_P(link_following, goes_on_when_its_router_goes_and_back_again) {
  const auto dealer = dealer_to_both();
  ASSERT_TRUE(reaches(*dealer, got_a));
  a->stop();
  EXPECT_TRUE(reaches(*dealer, got_b));
  ASSERT_TRUE(b->send("d", numbered(9)));
  EXPECT_EQ(answers.wait_for(1).back().second.id, 9u);
  a = opened(context, router_that_watches(at_a), got_a.handler());
  b->stop();
  EXPECT_TRUE(reaches(*dealer, got_a));
}

TEST_P(link_following, goes_on_when_its_router_stands_by) {
  a->stop();
  std::unique_ptr<link> idle;
  idle = opened(context, router_that_watches(at_a), saying_standby(idle));
  const auto dealer = dealer_to_both();
  EXPECT_TRUE(reaches(*dealer, got_b));
  EXPECT_EQ(got_a.size(), 0u);
  idle->stop();
}

// Its process hangs under traffic: the connection stays, and nothing is taken from it.
TEST_P(link_following, goes_on_when_its_router_takes_nothing) {
  std::promise<void> wakes;
  const auto until = wakes.get_future().share();
  a->stop();
  auto hung = opened(context, router_that_watches(at_a), [until](const auto&, auto) { until.wait(); });
  const auto dealer = dealer_to_both();
  for (int full = 0; full < 600 && got_b.size() == 0;)
    if (!dealer->send("", numbered(1, 10'000))) ++full, (void)got_b.wait_for(1, std::chrono::milliseconds(100));
  wakes.set_value();
  EXPECT_GT(got_b.size(), 0u);
}

INSTANTIATE_TEST_SUITE_P(transports, link_following, testing::Values("ipc", "tcp"),
                         [](const auto& p) { return p.param; });

}  // namespace
}  // namespace ballast
