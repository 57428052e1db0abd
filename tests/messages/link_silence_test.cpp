// Peers that say nothing: when a link with several addresses asks, when it leaves, and that it asks in its own words.
#include <future>

#include "messages/silence_impl.hpp"
#include "tests/messages/link_fixture.hpp"
#include "tests/messages/raw_tcp.hpp"

namespace ballast {
namespace {

using std::chrono::milliseconds;
using due = silence::due;

struct silences : testing::Test {
  silence::clock::time_point begin{std::chrono::seconds(100)};
  silence quiet{milliseconds(2000), begin};
  due at(int ms) { return quiet.at(begin + milliseconds(ms)); }
};

TEST_F(silences, are_asked_about_three_times_and_then_ended) {
  EXPECT_EQ(at(499), due::nothing);
  EXPECT_EQ(at(500), due::question);
  EXPECT_EQ(at(501), due::nothing);
  EXPECT_EQ(at(1000), due::question);
  EXPECT_EQ(at(1500), due::question);
  EXPECT_EQ(at(1999), due::nothing);
  EXPECT_EQ(at(2000), due::leave);
  EXPECT_EQ(at(2500), due::question) << "the next one has as much time";
}

TEST_F(silences, begin_anew_with_each_word) {
  for (const int ms : {500, 1000, 1500}) EXPECT_EQ(at(ms), due::question);
  quiet.broken(begin + milliseconds(1600));
  EXPECT_EQ(quiet.next(), begin + milliseconds(2100));
  for (const int ms : {2100, 2600, 3100}) EXPECT_EQ(at(ms), due::question);
  EXPECT_EQ(at(3600), due::leave);
}

TEST_F(silences, are_not_broken_by_old_news) {
  for (const int ms : {500, 1000, 1500}) EXPECT_EQ(at(ms), due::question);
  quiet.broken(begin + milliseconds(1400));
  EXPECT_EQ(at(2000), due::leave);
}

// Whoever was stopped for an hour has heard nothing for an hour.
TEST_F(silences, of_its_own_making_are_asked_about_first) {
  EXPECT_EQ(at(3'600'000), due::question);
  EXPECT_EQ(at(3'600'400), due::nothing);
  quiet.broken(begin + milliseconds(3'600'450));
  EXPECT_EQ(at(3'600'900), due::nothing);
}

// A router as far as a link can tell, byte by byte (ZMTP 3.0, mechanism NULL).
class zmtp_router {
 public:
  zmtp_router() {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_.fd(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
    EXPECT_EQ(::listen(listener_.fd(), 8), 0);
    socklen_t size = sizeof at;
    ::getsockname(listener_.fd(), reinterpret_cast<sockaddr*>(&at), &size);
    address_ = "tcp://127.0.0.1:" + std::to_string(ntohs(at.sin_port));
  }
  const std::string& address() const { return address_; }

  void accept() {
    peer_.emplace(::accept(listener_.fd(), nullptr, nullptr));
    using namespace std::string_literals;
    peer_->send("\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL"s + std::string(48, '\0'));
    ASSERT_FALSE(take(64).empty());
    peer_->send("\4\x1c\5READY\xbSocket-Type\0\0\0\6ROUTER"s);
    ASSERT_TRUE(next().command) << "READY";
  }
  struct frame {
    bool command = false;
    std::string body;
  };
  frame next() {  // of at most 255 bytes
    const auto head = take(2);
    if (head.size() < 2) return {};
    return {(head[0] & 4) != 0, take(static_cast<unsigned char>(head[1]))};
  }
  void send(const envelope& message) {
    const auto bytes = encode(message);
    ASSERT_LT(bytes.size(), 256u);
    peer_->send(std::string{'\0', static_cast<char>(bytes.size())} +
                std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  }

 private:
  std::string take(std::size_t count) {
    while (read_.size() < count) {
      const auto more = peer_->receive();
      if (more.empty()) return {};
      read_ += more;
    }
    const auto out = read_.substr(0, count);
    read_.erase(0, count);
    return out;
  }

  raw_tcp listener_{::socket(AF_INET, SOCK_STREAM, 0)};
  std::optional<raw_tcp> peer_;
  std::string address_, read_;
};

std::optional<envelope> read(const zmtp_router::frame& f) {
  auto message = decode({reinterpret_cast<const std::byte*>(f.body.data()), f.body.size()});
  return message ? std::optional(std::move(*message)) : std::nullopt;
}

// Its questions are messages: libzmq 4.3.4 aborts a process that a heartbeat of ZeroMQ's reaches at a bad moment. And
// who answers them is kept: six are more than anybody gets who says nothing.
TEST(link_silence, is_asked_about_without_zeromqs_heartbeats_and_answers_keep_the_peer) {
  link_context context;
  zmtp_router router;
  const auto dealer =
      opened(context, dealer_to(router.address() + ",tcp://127.0.0.1:1", "d"), [](const auto&, auto) {});
  router.accept();
  for (int questions = 0; questions < 6; ++questions) {
    const auto frame = router.next();
    ASSERT_FALSE(frame.command) << frame.body;
    const auto message = read(frame);
    ASSERT_TRUE(message) << "closed, or no message";
    ASSERT_TRUE(std::holds_alternative<probe>(message->body));
    router.send({message->id, "router", probe{}});
  }
}

// Nothing is under way, so that nothing is missed either: its process hangs.
TEST(link_silence, of_a_peer_that_hangs_has_it_left) {
  link_context context;
  zmtp_router hung;
  inbox got;
  const auto next = opened(context, router_at(fresh_address("tcp")), got.handler());
  const auto dealer = opened(context, dealer_to(hung.address() + "," + next->address(), "d"), [](const auto&, auto) {});
  hung.accept();
  for (int questions = 0; questions < silence::questions; ++questions) {
    const auto message = read(hung.next());
    ASSERT_TRUE(message);
    EXPECT_TRUE(std::holds_alternative<probe>(message->body));
  }
  EXPECT_TRUE(hung.next().body.empty()) << "closed";
  for (int i = 0; i < 600 && got.size() == 0; ++i) {
    (void)dealer->send("", numbered(1));
    got.wait_for(1, milliseconds(100));
  }
  EXPECT_GT(got.size(), 0u);
}

// Whoever may be asked at all: the link answers before it looks at who asks, and tells nobody.
TEST(link_silence, is_broken_by_every_router_itself) {
  link_context context;
  inbox got, answers;
  auto options = router_at(fresh_address("inproc"));
  options.admits = [](std::string_view, const message_body&) -> status { return fail(errc::invalid_argument, "nobody"); };
  const auto router = opened(context, options, got.handler());
  const auto dealer = opened(context, dealer_to(router->address(), "d"), answers.handler());
  ASSERT_TRUE(dealer->send("", {7, "d", probe{}}));
  ASSERT_TRUE(dealer->send("", numbered(8)));
  const auto heard = answers.wait_for(1);
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].second.id, 8u) << "an answer to a probe is for the link";
  EXPECT_EQ(got.size(), 0u);
  EXPECT_EQ(router->counters().forbidden, 1u);
}


TEST(hostile_try, ping) {
  using namespace std::string_literals;
  link_context context;
  std::promise<void> wakes;
  const auto until = wakes.get_future().share();
  auto hung = opened(context, router_at(fresh_address("tcp")), [until](const auto&, auto) {  });
  for (int t=0;t<200;++t) {
    raw_tcp peer(hung->address());
    peer.send("\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL"s + std::string(48, '\0'));
    for (std::size_t got = 0; got < 64;) got += peer.receive().size();
    std::string all = "\4\x1c\5READY\xbSocket-Type\0\0\0\6DEALER"s;
    const auto bytes = encode(numbered(1));
    std::string m{'\0', static_cast<char>(bytes.size())};
    m += std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    for (int i = 0; i < 40; ++i) all += m;
    std::string ping = "\4\7\4PING\0\0"s;
    peer.send(all);
    std::string big; for (int i = 0; i < 3000; ++i) { big += (m + ping + m + m +m);} peer.send(big);
    (void)peer.receive();
    linger l{1, 0};
    ::setsockopt(peer.fd(), SOL_SOCKET, SO_LINGER, &l, sizeof l);
    std::cerr << t << ' ' << hung->counters().received << '\n';
  }
  usleep(200000);
  wakes.set_value();
  usleep(500000);
}
}  // namespace
}  // namespace ballast
