// Links with keys: who is not on the list, or not of the role, gets nowhere; the others are served all the while.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <zmq.hpp>

#include "tests/messages/secured_fixture.hpp"

namespace ballast {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

struct secured_link : secured_router {};

TEST_F(secured_link, announces_its_key_and_serves_those_on_the_list) {
  serve();
  EXPECT_THAT(router->address(), HasSubstr("?key=" + server_keys.public_key));
  expect_service();
  EXPECT_EQ(server.turned_away(), 0u);
}

TEST_F(secured_link, turns_away_keys_that_are_not_on_the_list) {
  serve();
  link_context stranger;
  with(stranger, stranger_keys);
  auto dealer = opened(stranger, dealer_to(router->address(), "x"), answers.handler());
  ASSERT_TRUE(dealer->send("", {1, "x", get_status{}}));
  expect_service();
  while (server.turned_away() == 0) expect_service();  // its handshake takes its time; nobody else waits for it
  EXPECT_EQ(answers.size(), 0u);
  for (const auto& [peer, message] : got.wait_for(1)) EXPECT_EQ(peer, "op");
}

TEST_F(secured_link, hears_nothing_from_peers_without_a_key_or_for_another_server) {
  serve();
  const auto plain_address = router->address().substr(0, router->address().find('?'));
  link_context plain, mistaken;
  auto in_the_clear = opened(plain, dealer_to(plain_address, "p"), answers.handler());
  with(mistaken, keys[peer_role::operator_]);
  auto wrong_server =
      opened(mistaken, dealer_to(plain_address + "?key=" + stranger_keys.public_key, "w"), answers.handler());
  ASSERT_TRUE(in_the_clear->send("", {1, "p", get_status{}}));
  ASSERT_TRUE(wrong_server->send("", {1, "w", get_status{}}));
  for (int i = 0; i < 5; ++i) expect_service();
  EXPECT_EQ(answers.size(), 0u);
  EXPECT_EQ(got.size(), 5u);
}

TEST_F(secured_link, refuses_what_is_not_for_a_role_to_say_counts_it_and_goes_on) {
  serve();
  link_context context;
  with(context, keys[peer_role::client]);
  auto dealer = opened(context, dealer_to(router->address(), "c"), answers.handler());
  ASSERT_TRUE(dealer->send("", {7, "c", scale_request{"r", 1, {}, false, 0}}));
  const auto refusal = answers.wait_for(1);
  ASSERT_EQ(refusal.size(), 1u);
  EXPECT_EQ(refusal[0].second.id, 7u);
  EXPECT_THAT(std::get<refused>(refusal[0].second.body).failure.text,
              HasSubstr("a scale_request is not for client/one to send here"));
  EXPECT_EQ(router->counters().forbidden, 1u);
  EXPECT_EQ(got.size(), 0u);
  ASSERT_TRUE(dealer->send("", {8, "c", get_status{}}));
  EXPECT_EQ(got.wait_for(1).size(), 1u);
}

TEST_F(secured_link, a_peer_beyond_its_rate_is_refused_and_others_are_not) {
  serve({.messages_per_s = 5});
  link_context context;
  with(context, keys[peer_role::client]);
  auto dealer = opened(context, dealer_to(router->address(), "c"), answers.handler());
  for (std::uint64_t i = 0; i < 200; ++i) ASSERT_TRUE(dealer->send("", {i, "c", get_status{}}));
  ASSERT_GE(answers.wait_for(1).size(), 1u);
  const auto refusal = std::get<refused>(answers.wait_for(1)[0].second.body).failure;
  EXPECT_EQ(refusal.code, errc::unavailable);
  EXPECT_THAT(refusal.text, HasSubstr("more than 5 messages a second"));
  EXPECT_GE(router->counters().too_many, 1u);
  expect_service();
}

TEST_F(secured_link, events_go_to_the_list_alone_and_one_who_does_not_read_holds_no_memory) {
  serve();
  link_options out = router_at(fresh_address("tcp"));
  out.kind = link_kind::publisher;
  auto publisher = opened(server, out, {});
  link_context reader_context;
  with(reader_context, keys[peer_role::observer]);
  link_options in = dealer_to(publisher->address(), "");
  in.kind = link_kind::subscriber;
  auto reader = opened(reader_context, in, answers.handler());
  // Subscribes and never receives.
  link_context idle_context;
  with(idle_context, keys[peer_role::client]);
  zmq::socket_t idle(*static_cast<zmq::context_t*>(idle_context.native()), zmq::socket_type::sub);
  idle.set(zmq::sockopt::linger, 0);
  idle.set(zmq::sockopt::rcvhwm, 1);
  idle.set(zmq::sockopt::subscribe, "");
  const auto at = idle_context.prepare_data(&idle, publisher->address(), false);
  ASSERT_TRUE(at) << at.error().text;
  idle.connect(*at);
  const event news{1, "decision", std::string(60'000, 'x'), {}, {}};
  while (answers.size() == 0) ASSERT_TRUE(publisher->send("", {0, "s", news}));
  // Far more than the 256 frames that ZeroMQ may hold for one who does not read: as many as the reader gets through.
  const auto resident = [] {
    std::FILE* file = std::fopen("/proc/self/statm", "r");
    long total = 0, in_memory = 0;
    const int found = std::fscanf(file, "%ld %ld", &total, &in_memory);
    std::fclose(file);
    return found == 2 ? in_memory * ::sysconf(_SC_PAGESIZE) : 0L;
  };
  const long before = resident();
  for (int round = 0; round < 40; ++round) {
    const auto seen = answers.size();
    for (int i = 0; i < 64; ++i)
      ASSERT_TRUE(publisher->send("", {0, "s", event{1, "", std::string(60'000, 'y'), {}, {}}}));
    ASSERT_GT(answers.wait_for(seen + 1).size(), seen);
    answers.clear();
  }
#ifndef __SANITIZE_ADDRESS__  // which keeps what was freed
  EXPECT_LT(resident() - before, 100L << 20) << "2560 events of 60 kB were published";
#else
  (void)before;
#endif
}

TEST(plain_link, beyond_loopback_needs_keys_or_a_word_that_the_network_is_trusted) {
  for (const bool bind : {true, false}) {
    link_context context;
    auto options = bind ? router_at("tcp://0.0.0.0:*") : dealer_to("tcp://192.0.2.1:7070", "d");
    const auto made = link::open(context, options, [](const auto&, auto) {});
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, errc::invalid_argument);
    EXPECT_THAT(made.error().text, HasSubstr("ballast keygen"));
    EXPECT_THAT(made.error().text, HasSubstr("insecure = true"));
    link_context trusted;
    ASSERT_TRUE(trusted.secure({{}, {}, "", true, {}}));
    EXPECT_TRUE(link::open(trusted, options, [](const auto&, auto) {}));
  }
}

TEST(plain_link, names_that_look_like_loopback_are_not) {
  link_context context;
  EXPECT_FALSE(link::open(context, dealer_to("tcp://127.example.org:1", "d"), [](const auto&, auto) {}));
  EXPECT_TRUE(link::open(context, dealer_to("tcp://127.0.0.1:1", "d"), [](const auto&, auto) {}));
  EXPECT_TRUE(link::open(context, dealer_to("tcp://localhost:1", "d"), [](const auto&, auto) {}));
}

TEST(plain_link, a_server_with_a_key_is_not_spoken_to_without_one) {
  link_context context;
  const auto made =
      link::open(context, dealer_to("tcp://127.0.0.1:1?key=" + std::string(64, 'a'), "d"), [](const auto&, auto) {});
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().text, HasSubstr("this process has none"));
  link_context keyed;
  ASSERT_TRUE(keyed.secure({fresh_keys(), {}, "", false, {}}));
  const auto unknown = link::open(keyed, dealer_to("tcp://127.0.0.1:1", "d"), [](const auto&, auto) {});
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().text, HasSubstr("the server's public key is not known"));
  EXPECT_FALSE(keyed.secure({}));
}

}  // namespace
}  // namespace ballast
