// A link facing sockets that do not keep to the protocol: it counts, answers where it can, and goes on serving.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <random>
#include <zmq.hpp>

#include "messages/log.hpp"
#include "messages/zmq_hangups_impl.hpp"
#include "tests/messages/link_fixture.hpp"
#include "tests/messages/raw_tcp.hpp"

namespace ballast {
namespace {

using testing::HasSubstr;

struct raw_peer {
  zmq::socket_t socket;

  raw_peer(zmq::context_t& context, const std::string& address, const std::string& identity)
      : socket(context, zmq::socket_type::dealer) {
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::rcvtimeo, 60000);
    socket.set(zmq::sockopt::routing_id, identity);
    socket.connect(address);
  }
  void send(std::string_view bytes, bool more = false) {
    socket.send(zmq::buffer(bytes), more ? zmq::send_flags::sndmore : zmq::send_flags::none);
  }
  void send(const envelope& message) {
    const byte_buffer bytes = encode(message);
    send({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  envelope receive() {
    zmq::message_t frame;
    if (!socket.recv(frame)) {
      ADD_FAILURE() << "no answer";
      return {};
    }
    auto message = decode({frame.data<std::byte>(), frame.size()});
    EXPECT_TRUE(message) << message.error().text;
    return message ? *message : envelope{};
  }
};

struct link_hostile : testing::TestWithParam<const char*> {
  link_hostile() { log::set_level(log::level::off); }
  ~link_hostile() override { log::set_level(log::level::info); }

  link_context context;
  zmq::context_t& native = *static_cast<zmq::context_t*>(context.native());
  inbox got;
};
INSTANTIATE_TEST_SUITE_P(transports, link_hostile, testing::Values("inproc", "tcp"),
                         [](const auto& over) { return std::string(over.param); });

TEST_P(link_hostile, garbage_is_counted_answered_and_survived) {
  auto router = opened(context, router_at(fresh_address(GetParam())), got.handler());
  raw_peer peer(native, router->address(), "raw");
  std::mt19937 random(3);
  for (int i = 0; i < 200; ++i) {
    std::string noise(random() % 300, '\0');
    for (char& c : noise) c = static_cast<char>(random());
    peer.send(noise);
    const envelope answer = peer.receive();
    ASSERT_TRUE(std::holds_alternative<refused>(answer.body)) << message_name(answer.body);
    EXPECT_EQ(answer.sender, "router");
  }
  peer.send(numbered(9));
  ASSERT_EQ(got.wait_for(1).size(), 1u);
  EXPECT_EQ(got.wait_for(1)[0].second, numbered(9));
  EXPECT_EQ(router->counters().malformed, 200u);
}

TEST_P(link_hostile, a_refusal_carries_the_id_of_what_it_refuses) {
  auto router = opened(context, router_at(fresh_address(GetParam())), got.handler());
  raw_peer peer(native, router->address(), "raw");
  peer.send(
      "\x84\xa1v\x01\xa4type\xa4grow\xa2id\x2a\xa4"
      "body\x80");
  const envelope answer = peer.receive();
  EXPECT_EQ(answer.id, 42u);
  ASSERT_TRUE(std::holds_alternative<refused>(answer.body));
  EXPECT_THAT(std::get<refused>(answer.body).failure.text, HasSubstr("\"grow\""));
  peer.send(
      "\x84\xa1v\x09\xa4type\xa4grow\xa2id\x2b\xa4"
      "body\x80");
  const envelope newer = peer.receive();
  EXPECT_EQ(newer.id, 43u);
  EXPECT_EQ(std::get<refused>(newer.body).failure.code, errc::version_mismatch);
}

TEST_P(link_hostile, a_message_in_several_frames_is_refused_whole) {
  auto router = opened(context, router_at(fresh_address(GetParam())), got.handler());
  raw_peer peer(native, router->address(), "raw");
  peer.send("", true);
  peer.send("body", true);
  peer.send("tail");
  EXPECT_THAT(std::get<refused>(peer.receive().body).failure.text, HasSubstr("single frame"));
  peer.send(numbered(1));
  ASSERT_EQ(got.wait_for(1).size(), 1u);
  EXPECT_EQ(router->counters().malformed, 1u);
}

TEST_P(link_hostile, a_dealer_counts_garbage_and_answers_nothing) {
  zmq::socket_t raw(native, zmq::socket_type::router);
  raw.set(zmq::sockopt::linger, 0);
  raw.set(zmq::sockopt::rcvtimeo, 60000);
  raw.bind(fresh_address(GetParam()));
  auto dealer = opened(context, dealer_to(raw.get(zmq::sockopt::last_endpoint), "d"), got.handler());
  const auto to_dealer = [&](std::string_view bytes) {
    raw.send(zmq::str_buffer("d"), zmq::send_flags::sndmore);
    raw.send(zmq::buffer(bytes), zmq::send_flags::none);
  };
  ASSERT_TRUE(dealer->send("", numbered(1)));
  zmq::message_t identity, frame;
  ASSERT_TRUE(raw.recv(identity));
  ASSERT_TRUE(raw.recv(frame));
  to_dealer("garbage");
  const byte_buffer good = encode(numbered(2));
  to_dealer({reinterpret_cast<const char*>(good.data()), good.size()});
  ASSERT_EQ(got.wait_for(1).size(), 1u);
  EXPECT_EQ(dealer->counters().malformed, 1u);
  ASSERT_TRUE(dealer->send("", numbered(3)));
  ASSERT_TRUE(raw.recv(identity));
  ASSERT_TRUE(raw.recv(frame));
  EXPECT_EQ(decode({frame.data<std::byte>(), frame.size()})->id, 3u) << "something was sent in answer to garbage";
}

TEST(link_hostile_tcp, an_oversized_frame_costs_its_sender_the_connection_and_nobody_else) {
  link_context context;
  inbox got;
  link_options options = router_at(fresh_address("tcp"));
  options.limits.frame_bytes = 100000;
  auto router = opened(context, options, got.handler());
  raw_peer peer(*static_cast<zmq::context_t*>(context.native()), router->address(), "raw");
  peer.send(numbered(1));
  ASSERT_EQ(got.wait_for(1).size(), 1u);
  peer.send(std::string(200000, 'x'));
  auto dealer = opened(context, dealer_to(router->address(), "d"), [](const auto&, auto) {});
  ASSERT_TRUE(dealer->send("", numbered(2)));
  ASSERT_EQ(got.wait_for(2).size(), 2u);
  EXPECT_EQ(got.wait_for(2)[1].first, "d");
}

// A DEALER as far as a router can tell, byte by byte (ZMTP 3.0, mechanism NULL).
struct raw_dealer : raw_tcp {
  explicit raw_dealer(const std::string& address) : raw_tcp(address) {
    using namespace std::string_literals;
    send("\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL"s + std::string(48, '\0'));
    send("\4\x1c\5READY\xbSocket-Type\0\0\0\6DEALER"s);
    std::size_t got = 0;
    for (std::size_t more = 1; more > 0 && got < 66; got += more) more = receive().size();
    EXPECT_GE(got, 66u) << "its greeting, and the head of its READY";
  }
  static std::string frame_of(const envelope& message) {
    const byte_buffer bytes = encode(message);
    EXPECT_LT(bytes.size(), 256u);
    return std::string{'\0', static_cast<char>(bytes.size())} +
           std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  // Until nothing more is taken from it for a while.
  void send_again_and_again(std::string_view bytes) const {
    pollfd one{fd(), POLLOUT, 0};
    while (::poll(&one, 1, 200) == 1)
      if (::send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) break;
  }
  void break_off() const {
    const linger at_once{1, 0};
    ::setsockopt(fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
};

// libzmq 4.3.4 alone aborts the process of the router here (see zmq_hangups_impl.hpp).
TEST(link_hostile_tcp, a_flood_of_heartbeats_that_breaks_off_before_it_was_read_harms_nobody) {
  using namespace std::string_literals;
  link_context context;
  inbox of_other;
  std::promise<void> wakes;
  const auto until = wakes.get_future().share();
  auto router =
      opened(context, router_at(fresh_address("tcp")), [&of_other, until](const auto& peer, envelope message) {
        until.wait();
        if (message.id == 2) of_other.put({peer, std::move(message)});
      });
  {
    raw_dealer hostile(router->address());
    hostile.send_again_and_again(raw_dealer::frame_of(numbered(1)) + "\4\7\4PING\0\0"s);
    hostile.break_off();
  }
  const raw_dealer other(router->address());  // by the same thread of ZeroMQ's: it knows of the end by now
  wakes.set_value();
  constexpr std::size_t more = 1000;  // than are kept of the first, and each has its turn
  for (std::size_t i = 0; i < more; ++i) other.send(raw_dealer::frame_of(numbered(2)));
  EXPECT_EQ(of_other.wait_for(more).size(), more);
  EXPECT_TRUE(zmq_hangups_are_held_back());
}

TEST(link_hostile_inproc, an_oversized_frame_is_refused_with_the_limit) {
  log::set_level(log::level::off);
  link_context context;
  inbox got;
  link_options options = router_at(fresh_address("inproc"));
  options.limits.frame_bytes = 1000;
  auto router = opened(context, options, got.handler());
  raw_peer peer(*static_cast<zmq::context_t*>(context.native()), router->address(), "raw");
  peer.send(std::string(2000, 'x'));
  const envelope answer = peer.receive();
  EXPECT_EQ(std::get<refused>(answer.body).failure.code, errc::does_not_fit);
  log::set_level(log::level::info);
}

TEST(link_hostile_log, a_flood_of_garbage_writes_few_lines) {
  link_context context;
  inbox got;
  testing::internal::CaptureStderr();
  auto router = opened(context, router_at(fresh_address("inproc")), got.handler());
  raw_peer peer(*static_cast<zmq::context_t*>(context.native()), router->address(), "raw");
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 100; ++i) peer.send("garbage");
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(std::holds_alternative<refused>(peer.receive().body));
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - start).count();
  router->stop();
  const std::string text = testing::internal::GetCapturedStderr();
  const auto lines = std::count(text.begin(), text.end(), '\n');
  EXPECT_GE(lines, 1);
  EXPECT_LE(lines, 2 + seconds);
  EXPECT_THAT(text, HasSubstr("link router: refused a message from raw"));
}

}  // namespace
}  // namespace ballast
