// Links under pressure: queues that fill, peers that do not read or are not there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <zmq.hpp>

#include "tests/messages/link_fixture.hpp"

namespace ballast {
namespace {

using testing::HasSubstr;

zmq::context_t& native(link_context& context) { return *static_cast<zmq::context_t*>(context.native()); }

TEST(link_flow, a_full_queue_refuses_and_what_is_in_it_arrives_in_order) {
  link_context context;
  inbox got;
  const std::string address = fresh_address("ipc");
  link_options options = dealer_to(address, "d");
  options.queue_limit = 10;
  auto dealer = opened(context, options, [](const auto&, auto) {});
  std::uint64_t accepted_count = 0;
  status last;
  for (; accepted_count < 100000 && (last = dealer->send("", numbered(accepted_count))); ++accepted_count) {
  }
  ASSERT_FALSE(last) << "nobody listens, yet the queue never filled";
  EXPECT_EQ(last.error().code, errc::unavailable);
  EXPECT_THAT(last.error().text, HasSubstr("full"));
  EXPECT_GE(accepted_count, 10u);
  EXPECT_LE(accepted_count, 10u + 256u + 64u);
  EXPECT_EQ(dealer->counters().refused_full, 1u);

  auto router = opened(context, router_at(address), got.handler());
  const auto letters = got.wait_for(accepted_count);
  ASSERT_EQ(letters.size(), accepted_count);
  for (std::uint64_t i = 0; i < accepted_count; ++i) EXPECT_EQ(letters[i].second.id, i);
}

TEST(link_flow, the_queue_is_bounded_in_bytes_too) {
  link_context context;
  link_options options = dealer_to(fresh_address("ipc"), "d");
  options.queue_bytes = 1000;
  auto dealer = opened(context, options, [](const auto&, auto) {});
  std::uint64_t count = 0;
  for (; count < 100000 && dealer->send("", numbered(count, 400)); ++count) {
  }
  EXPECT_LE(count, 2u + 256u + 64u);
}

TEST(link_flow, a_message_larger_than_a_frame_may_be_is_refused_at_once) {
  link_context context;
  link_options options = dealer_to(fresh_address("inproc"), "d");
  options.limits.frame_bytes = 1000;
  auto dealer = opened(context, options, [](const auto&, auto) {});
  const status sent = dealer->send("", numbered(1, 2000));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, errc::does_not_fit);
  EXPECT_THAT(sent.error().text, HasSubstr("a cancel_request of 20"));
}

TEST(link_flow, a_peer_that_does_not_read_holds_up_nobody_else) {
  link_context context;
  inbox at_router, at_healthy;
  link_options options = router_at(fresh_address("tcp"));
  options.queue_limit = 20;
  auto router = opened(context, options, at_router.handler());

  zmq::socket_t lazy(native(context), zmq::socket_type::dealer);
  lazy.set(zmq::sockopt::linger, 0);
  lazy.set(zmq::sockopt::rcvhwm, 1);
  lazy.set(zmq::sockopt::rcvbuf, 4096);
  lazy.set(zmq::sockopt::routing_id, "lazy");
  lazy.connect(router->address());
  const byte_buffer hi = encode(numbered(1));
  lazy.send(zmq::buffer(hi.data(), hi.size()), zmq::send_flags::none);
  auto healthy = opened(context, dealer_to(router->address(), "healthy"), at_healthy.handler());
  ASSERT_TRUE(healthy->send("", numbered(2)));
  ASSERT_EQ(at_router.wait_for(2).size(), 2u);

  constexpr std::size_t payload = 60000;
  std::uint64_t queued = 0;
  while (queued < 100000 && router->send("lazy", numbered(queued, payload))) ++queued;
  ASSERT_LT(queued, 100000u);
  for (std::uint64_t i = 0; i < 50; ++i) {
    ASSERT_TRUE(router->send("healthy", numbered(i, payload))) << i;
    ASSERT_EQ(at_healthy.wait_for(i + 1).size(), i + 1);
  }
  // The lazy one wakes up and finds everything that was accepted for it, in order.
  lazy.set(zmq::sockopt::rcvtimeo, 60000);
  for (std::uint64_t i = 0; i < queued; ++i) {
    zmq::message_t frame;
    ASSERT_TRUE(lazy.recv(frame)) << i << " of " << queued;
    const auto message = decode({frame.data<std::byte>(), frame.size()});
    ASSERT_TRUE(message);
    ASSERT_EQ(message->id, i);
  }
}

TEST(link_flow, a_message_to_a_peer_that_is_not_there_is_counted) {
  link_context context;
  inbox at_router, at_dealer;
  auto router = opened(context, router_at(fresh_address("inproc")), at_router.handler());
  auto dealer = opened(context, dealer_to(router->address(), "d"), at_dealer.handler());
  ASSERT_TRUE(dealer->send("", numbered(1)));
  ASSERT_EQ(at_router.wait_for(1).size(), 1u);
  ASSERT_TRUE(router->send("ghost", numbered(2)));
  ASSERT_TRUE(router->send("d", numbered(3)));  // peers take turns: this one comes after the ghost's
  ASSERT_EQ(at_dealer.wait_for(1).size(), 1u);
  EXPECT_EQ(router->counters().unroutable, 1u);
  EXPECT_EQ(router->send("", numbered(4)).error().code, errc::invalid_argument);
}

TEST(link_flow, stopping_with_messages_nobody_takes_comes_to_an_end) {
  auto done = std::async(std::launch::async, [] {
    link_context context;
    link_options options = dealer_to(fresh_address("ipc"), "d");
    options.queue_limit = 1000;
    auto dealer = opened(context, options, [](const auto&, auto) {});
    for (std::uint64_t i = 0; i < 1000; ++i) EXPECT_TRUE(dealer->send("", numbered(i, 1000)));
    dealer->stop(std::chrono::milliseconds(50));
  });
  ASSERT_EQ(done.wait_for(patience), std::future_status::ready) << "the link or its context hangs on unsent data";
}

}  // namespace
}  // namespace ballast
