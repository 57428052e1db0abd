// Whoever has no business at a bound socket is refused, counted, told of in one line of the log, and harms nobody.
#include <gmock/gmock.h>

#include <functional>
#include <thread>
#include <zmq.hpp>

#include "tests/messages/raw_tcp.hpp"
#include "tests/messages/secured_fixture.hpp"

namespace ballast {
namespace {

// How a peer without keys, of ZeroMQ 4, begins: signature, version 3.0, mechanism NULL, no server.
std::string plain_greeting() {
  std::string g(64, '\0');
  g[0] = '\xff';
  g[9] = '\x7f';
  g[10] = 3;
  g.replace(12, 4, "NULL");
  return g;
}

// One connection, not made anew when it was closed.
struct once {
  link_context context;
  zmq::socket_t socket;

  once(const key_pair& own, const std::string& address)
      : socket(*static_cast<zmq::context_t*>(context.native()), zmq::socket_type::dealer) {
    secured_router::with(context, own);
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::reconnect_ivl, -1);
    const auto at = context.prepare_data(&socket, address, false);
    EXPECT_TRUE(at) << at.error().text;
    socket.connect(*at);
  }
  void send(const envelope& message) {
    const auto bytes = encode(message);
    socket.send(zmq::buffer(bytes.data(), bytes.size()), zmq::send_flags::none);
  }
};

struct refusals : secured_router {
  refusals() {
    log::set_level(log::level::warn);
    testing::internal::CaptureStderr();
  }
  ~refusals() override {
    if (capturing_) testing::internal::GetCapturedStderr();
  }

  refusal_counts now() const { return refusals_of(router->counters(), server); }
  // Ends the router, so that nothing more is logged.
  std::string logged() {
    router.reset();
    capturing_ = false;
    return testing::internal::GetCapturedStderr();
  }
  // It is counted in `where` once and nowhere else; the others are served before and after.
  void expect_refused_once(std::uint64_t refusal_counts::*where, const std::string& line, std::size_t seen = 0) {
    while (now().*where == 0) expect_service();
    expect_service();
    refusal_counts expected;
    expected.*where = 1;
    EXPECT_EQ(now(), expected);
    std::size_t others = 0;
    for (const auto& [peer, message] : got.wait_for(1)) others += peer != "op";
    EXPECT_EQ(others, seen);
    const auto text = logged();
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
    EXPECT_THAT(text, testing::HasSubstr(line));
  }

 private:
  bool capturing_ = true;
};

TEST_F(refusals, a_key_that_is_not_on_the_list) {
  serve();
  once stranger(stranger_keys, router->address());
  expect_refused_once(&refusal_counts::unknown_key, "public key " + stranger_keys.public_key + " is not in the list");
}

TEST_F(refusals, a_peer_without_keys) {
  serve();
  const raw_tcp peer(router->address());
  peer.send(plain_greeting());
  peer.receive_to_end();
  expect_refused_once(&refusal_counts::handshake, "in the clear, or with the key of another server");
}

TEST_F(refusals, the_key_of_another_server) {
  serve();
  const auto address = router->address();
  once mistaken(keys[peer_role::client], address.substr(0, address.find('=') + 1) + stranger_keys.public_key);
  expect_refused_once(&refusal_counts::handshake, "in the clear, or with the key of another server");
}

TEST_F(refusals, a_message_that_is_not_for_its_sender_to_send) {
  serve();
  once client(keys[peer_role::client], router->address());
  client.send({7, "c", scale_request{"r", 1, {}, false, 0}});
  expect_refused_once(&refusal_counts::forbidden, "a scale_request is not for client/one to send here");
}

TEST_F(refusals, a_frame_over_the_limit) {
  serve();
  once client(keys[peer_role::client], router->address());
  client.send({1, "c", get_status{}});
  got.wait_for(1);
  client.send({2, "c", cancel_request{std::string(std::size_t{65} << 20, 'x')}});
  expect_refused_once(&refusal_counts::cut_off, "sent a frame of more than 67108864 bytes", 1);
}

TEST_F(refusals, a_connection_that_says_too_slowly_who_it_is) {
  serve({.handshake_ms = 200});
  const raw_tcp slow(router->address());
  std::size_t sent = 0;
  for (const char c : plain_greeting().substr(0, 60)) {  // a byte at a time, and never the last; others are served
    if (now().unfinished != 0) break;
    slow.send({&c, 1});
    ++sent;
    expect_service();
  }
  slow.receive_to_end();
  EXPECT_GT(sent, 1u);
  expect_refused_once(&refusal_counts::unfinished, "had not said who it is within 200 ms");
}

TEST_F(refusals, bytes_that_are_of_no_protocol) {
  serve();
  const raw_tcp peer(router->address());
  peer.send("GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n" + std::string(64, ' '));
  peer.receive_to_end();
  expect_refused_once(&refusal_counts::handshake, "does not speak as it should");
}

TEST_F(refusals, a_peer_that_leaves_by_itself_is_none) {
  serve();
  { const raw_tcp looks_in(router->address()); }
  {
    const raw_tcp begins(router->address()), ends_early(router->address());
    begins.send(plain_greeting().substr(0, 20));
  }
  {
    once client(keys[peer_role::client], router->address());
    client.send({1, "c", get_status{}});
    got.wait_for(1);
  }
  for (int i = 0; i < 5; ++i) expect_service();
  EXPECT_EQ(now(), refusal_counts{});
  EXPECT_EQ(logged(), "");
}

// Records what a client sends on its connection to `address`, until the first message of it has arrived there.
std::string recorded(const std::string& address, const std::function<bool()>& arrived,
                     const std::function<void(const std::string&)>& speak) {
  sockaddr_in here{};
  here.sin_family = AF_INET;
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof here;
  const raw_tcp listener(::socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(::bind(listener.fd(), reinterpret_cast<const sockaddr*>(&here), size), 0);
  EXPECT_EQ(::listen(listener.fd(), 1), 0);
  EXPECT_EQ(::getsockname(listener.fd(), reinterpret_cast<sockaddr*>(&here), &size), 0);
  std::thread client(
      [&] { speak("tcp://127.0.0.1:" + std::to_string(ntohs(here.sin_port)) + address.substr(address.find('?'))); });
  const raw_tcp from(::accept(listener.fd(), nullptr, nullptr)), to(address);
  std::string said;
  std::array<pollfd, 2> both{{{from.fd(), POLLIN, 0}, {to.fd(), POLLIN, 0}}};
  while (!arrived() && ::poll(both.data(), both.size(), 20) >= 0) {
    if (both[0].revents != 0) {
      const auto some = from.receive();
      to.send(some);
      said += some;
    }
    if (both[1].revents != 0) from.send(to.receive());
  }
  client.join();
  return said;
}

TEST_F(refusals, a_conversation_that_was_recorded_and_is_sent_again) {
  serve();
  const auto said = recorded(
      router->address(), [this] { return got.size() > 0; },
      [this](const std::string& through) {
        once op(keys[peer_role::operator_], through);
        op.send({7, "o", scale_request{"r", 1, {}, false, 0}});
        got.wait_for(1);
      });
  ASSERT_EQ(got.wait_for(1).size(), 1u);
  const raw_tcp again(router->address());
  again.send(said);
  again.receive_to_end();
  expect_refused_once(&refusal_counts::handshake, "closed a connection", 1);
}

TEST_F(refusals, a_flood_of_them_writes_few_lines_and_holds_no_descriptors) {
  serve();
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < 300; ++i) {
    const raw_tcp peer(router->address());
    peer.send(plain_greeting());
    peer.receive_to_end();
  }
  while (now().handshake < 300) expect_service();
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - begun).count();
  const raw_tcp probe(router->address());
  EXPECT_LT(probe.fd(), 200) << "a second descriptor of each connection is held only as long as it is there";
  const auto text = logged();
  EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 2 + seconds) << text;
}

}  // namespace
}  // namespace ballast
