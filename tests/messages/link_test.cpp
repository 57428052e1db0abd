// Links among themselves: delivery, order, addresses, ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>
#include <thread>

#include "tests/messages/link_fixture.hpp"

namespace ballast {
namespace {

using testing::HasSubstr;

struct link_over : testing::TestWithParam<const char*> {
  link_context context;
};
INSTANTIATE_TEST_SUITE_P(transports, link_over, testing::Values("inproc", "ipc", "tcp"),
                         [](const auto& over) { return std::string(over.param); });

TEST_P(link_over, a_dealer_and_a_router_exchange_messages_in_order) {
  constexpr std::uint64_t count = 1000;
  inbox answers;
  std::unique_ptr<link> router;
  std::promise<void> made;
  auto ready = made.get_future().share();
  router = opened(context, router_at(fresh_address(GetParam())), [&, ready](const std::string& peer, envelope message) {
    ready.wait();
    EXPECT_EQ(peer, "agent-1");
    EXPECT_TRUE(router->send(peer, {message.id, "router", accepted{message.id}}));
  });
  made.set_value();
  auto dealer = opened(context, dealer_to(router->address(), "agent-1"), answers.handler());
  for (std::uint64_t i = 0; i < count; ++i) ASSERT_TRUE(dealer->send("", numbered(i)));
  const auto got = answers.wait_for(count);
  ASSERT_EQ(got.size(), count);
  for (std::uint64_t i = 0; i < count; ++i) EXPECT_EQ(got[i].second, (envelope{i, "router", accepted{i}}));
  EXPECT_EQ(got[0].first, "");
  EXPECT_EQ(dealer->counters().received, count);
  EXPECT_EQ(router->counters().received, count);
  EXPECT_EQ(router->counters().malformed, 0u);
}

TEST_P(link_over, large_frames_arrive_whole) {
  inbox got;
  auto router = opened(context, router_at(fresh_address(GetParam())), got.handler());
  auto dealer = opened(context, dealer_to(router->address(), "d"), [](const auto&, auto) {});
  const envelope big{1, "d", inference_output{"r", 1, true, std::vector<float>(4u << 20, 0.5f)}};
  ASSERT_TRUE(dealer->send("", big));
  ASSERT_EQ(got.wait_for(1).size(), 1u);
  EXPECT_EQ(got.wait_for(1)[0].second, big);
}

TEST_P(link_over, many_threads_send_at_once_and_each_keeps_its_order) {
  constexpr std::uint64_t threads = 8, each = 400;
  inbox got;
  auto router = opened(context, router_at(fresh_address(GetParam())), got.handler());
  auto dealer = opened(context, dealer_to(router->address(), "d"), [](const auto&, auto) {});
  std::vector<std::thread> senders;
  for (std::uint64_t t = 0; t < threads; ++t)
    senders.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < each; ++i) EXPECT_TRUE(dealer->send("", {i, std::to_string(t), get_status{}}));
    });
  for (auto& s : senders) s.join();
  const auto letters = got.wait_for(threads * each);
  ASSERT_EQ(letters.size(), threads * each);
  std::map<std::string, std::uint64_t> next;
  for (const auto& [peer, message] : letters) EXPECT_EQ(message.id, next[message.sender]++);
  EXPECT_EQ(next.size(), threads);
}

TEST_P(link_over, what_was_sent_just_before_the_stop_arrives) {
  inbox got;
  auto router = opened(context, router_at(fresh_address(GetParam())), got.handler());
  auto dealer = opened(context, dealer_to(router->address(), "d"), [](const auto&, auto) {});
  ASSERT_TRUE(dealer->send("", numbered(0)));
  ASSERT_EQ(got.wait_for(1).size(), 1u);
  for (std::uint64_t i = 1; i <= 200; ++i) ASSERT_TRUE(dealer->send("", numbered(i)));
  dealer->stop(patience);
  EXPECT_EQ(got.wait_for(201).size(), 201u);
  EXPECT_EQ(dealer->send("", numbered(1)).error().code, errc::unavailable);
}

TEST_P(link_over, a_subscriber_sees_what_a_publisher_sends) {
  inbox got;
  link_options pub = router_at(fresh_address(GetParam()));
  pub.kind = link_kind::publisher;
  auto publisher = opened(context, pub, {});
  link_options sub = dealer_to(publisher->address(), "");
  sub.kind = link_kind::subscriber;
  auto subscriber = opened(context, sub, got.handler());
  const envelope news{0, "coordinator", event{1, "seat", "seat 1 is active", {}, {}}};
  // What is published before the subscription is known goes nowhere: publish until something comes.
  for (int i = 0; i < 6000 && got.wait_for(1, std::chrono::milliseconds(10)).empty(); ++i)
    ASSERT_TRUE(publisher->send("", news));
  ASSERT_FALSE(got.wait_for(1).empty());
  EXPECT_EQ(got.wait_for(1)[0].second, news);
  EXPECT_EQ(subscriber->send("", news).error().code, errc::invalid_argument);
  EXPECT_EQ(publisher->send("somebody", news).error().code, errc::invalid_argument);
}

TEST_P(link_over, many_links_start_and_stop_without_a_hang) {
  for (int round = 0; round < 30; ++round) {
    inbox got;
    auto router = opened(context, router_at(fresh_address(GetParam())), got.handler());
    auto dealer = opened(context, dealer_to(router->address(), "d"), [](const auto&, auto) {});
    ASSERT_TRUE(dealer->send("", numbered(1)));
    if (round % 3 == 0) {
      ASSERT_EQ(got.wait_for(1).size(), 1u);
    }
    if (round % 2) router->stop();
    dealer->stop(std::chrono::milliseconds(0));
    dealer->stop();
  }
}

TEST_P(link_over, an_address_is_free_again_once_its_link_has_stopped) {
  std::string address = fresh_address(GetParam());
  for (int round = 0; round < 30; ++round) {
    inbox got;
    auto router = opened(context, router_at(address), got.handler());
    ASSERT_TRUE(router) << "round " << round;
    address = router->address();
    auto dealer = opened(context, dealer_to(address, "d"), [](const auto&, auto) {});
    ASSERT_TRUE(dealer->send("", numbered(1)));
    ASSERT_EQ(got.wait_for(1).size(), 1u) << "round " << round;
  }
}

TEST(link, an_inproc_dealer_may_connect_before_the_router_binds) {
  link_context context;
  inbox got;
  const std::string address = fresh_address("inproc");
  auto dealer = opened(context, dealer_to(address, "early"), [](const auto&, auto) {});
  ASSERT_TRUE(dealer->send("", numbered(5)));
  auto router = opened(context, router_at(address), got.handler());
  ASSERT_EQ(got.wait_for(1).size(), 1u);
  EXPECT_EQ(got.wait_for(1)[0].first, "early");
}

TEST(link, a_dealer_finds_a_router_that_comes_back) {
  link_context context;
  inbox first, second;
  auto router = opened(context, router_at(fresh_address("tcp")), first.handler());
  const std::string address = router->address();
  auto dealer = opened(context, dealer_to(address, "d"), [](const auto&, auto) {});
  ASSERT_TRUE(dealer->send("", numbered(1)));
  ASSERT_EQ(first.wait_for(1).size(), 1u);
  router.reset();
  router = opened(context, router_at(address), second.handler());
  // What was on its way to the first router may be lost; what is sent once the second is reached is not.
  for (std::uint64_t i = 2; i < 6000 && second.wait_for(1, std::chrono::milliseconds(10)).empty(); ++i)
    ASSERT_TRUE(dealer->send("", numbered(i)));
  EXPECT_FALSE(second.wait_for(1).empty());
}

TEST(link, a_restarted_peer_takes_its_routing_id_over) {
  link_context context, another;
  inbox at_router, at_old, at_new;
  auto router = opened(context, router_at(fresh_address("tcp")), at_router.handler());
  auto old_peer = opened(another, dealer_to(router->address(), "agent-1"), at_old.handler());
  ASSERT_TRUE(old_peer->send("", numbered(1)));
  ASSERT_EQ(at_router.wait_for(1).size(), 1u);
  auto new_peer = opened(context, dealer_to(router->address(), "agent-1"), at_new.handler());
  ASSERT_TRUE(new_peer->send("", numbered(2)));
  ASSERT_EQ(at_router.wait_for(2).size(), 2u);
  ASSERT_TRUE(router->send("agent-1", numbered(3)));
  ASSERT_EQ(at_new.wait_for(1).size(), 1u);
  EXPECT_EQ(at_new.wait_for(1)[0].second.id, 3u);
  EXPECT_EQ(at_old.size(), 0u);
}

TEST(link, addresses_that_cannot_be_opened_are_named) {
  link_context context;
  const auto refuse = [&](const link_options& o, errc code, const std::string& text) {
    const auto made = link::open(context, o, [](const auto&, auto) {});
    ASSERT_FALSE(made) << text;
    EXPECT_EQ(made.error().code, code) << made.error().text;
    EXPECT_THAT(made.error().text, HasSubstr(text));
  };
  refuse(router_at("nonsense"), errc::invalid_argument, "cannot bind nonsense");
  refuse(router_at("smoke://x"), errc::invalid_argument, "cannot bind smoke://x");
  refuse(dealer_to("tcp://127.0.0.1", "d"), errc::invalid_argument, "cannot connect to tcp://127.0.0.1");
  refuse(router_at("ipc:///no/such/folder/socket"), errc::unavailable, "cannot bind ipc:///no/such/folder/socket");
  refuse(dealer_to("inproc://x", std::string(300, 'i')), errc::invalid_argument, "identity of 300 bytes");
  auto router = opened(context, router_at(fresh_address("tcp")), {});
  refuse(router_at(router->address()), errc::unavailable, "Address already in use");
}

TEST(link, a_handler_that_throws_loses_its_message_only) {
  link_context context;
  inbox got;
  auto router = opened(context, router_at(fresh_address("inproc")), [&](const std::string& peer, envelope message) {
    if (message.id == 1) throw std::runtime_error("planted");
    got.put({peer, std::move(message)});
  });
  auto dealer = opened(context, dealer_to(router->address(), "d"), [](const auto&, auto) {});
  ASSERT_TRUE(dealer->send("", numbered(1)));
  ASSERT_TRUE(dealer->send("", numbered(2)));
  ASSERT_EQ(got.wait_for(1).size(), 1u);
  EXPECT_EQ(got.wait_for(1)[0].second.id, 2u);
}

TEST(link, a_handler_may_stop_its_own_link) {
  link_context context;
  std::promise<void> stopped;
  std::unique_ptr<link> router;
  std::promise<void> made;
  auto ready = made.get_future().share();
  router = opened(context, router_at(fresh_address("inproc")), [&, ready](const std::string&, envelope) {
    ready.wait();
    router->stop();
    stopped.set_value();
  });
  made.set_value();
  auto dealer = opened(context, dealer_to(router->address(), "d"), [](const auto&, auto) {});
  ASSERT_TRUE(dealer->send("", numbered(1)));
  ASSERT_EQ(stopped.get_future().wait_for(patience), std::future_status::ready);
}

}  // namespace
}  // namespace ballast
