// Keys, the list of peers, roles and limits: what is decided before and behind a socket.
#include "messages/security.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "messages/settings.hpp"
#include "tests/messages/filler.hpp"

namespace ballast {
namespace {

using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

// A folder of its own, gone with the test.
struct security : testing::Test {
  fs::path folder = fs::path(testing::TempDir()) / ("ballast_security_" + std::to_string(getpid()));

  security() { fs::create_directories(folder); }
  ~security() override { fs::remove_all(folder); }

  std::string file(const std::string& name, const std::string& text) const {
    const auto path = folder / name;
    std::ofstream(path) << text;
    ::chmod(path.c_str(), 0600);
    return path;
  }
  std::string path(const std::string& name) const { return folder / name; }
  result<link_security> read(const std::string& text) const {
    const auto parsed = settings::from_text(text, "x.toml");
    return parsed ? read_security(*parsed) : fail(parsed.error());
  }
};

template <class T>
void expect_refused(const result<T>& got, errc code, const std::string& text) {
  ASSERT_FALSE(got) << "accepted, though expected: " << text;
  EXPECT_EQ(got.error().code, code);
  EXPECT_THAT(got.error().text, HasSubstr(text));
  EXPECT_EQ(got.error().text.find('\n'), std::string::npos);
}

TEST_F(security, a_key_pair_is_written_once_for_its_owner_alone) {
  const auto made = make_keys(path("key"));
  ASSERT_TRUE(made) << made.error().text;
  EXPECT_TRUE(is_key(made->public_key));
  EXPECT_TRUE(is_key(made->secret_key));
  EXPECT_NE(made->public_key, made->secret_key);
  struct stat info {};
  ASSERT_EQ(::stat(path("key").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const auto back = read_keys(path("key"));
  ASSERT_TRUE(back) << back.error().text;
  EXPECT_EQ(back->secret_key, made->secret_key);
  expect_refused(make_keys(path("key")), errc::io, "is there already and is not overwritten");
  EXPECT_EQ(read_keys(path("key"))->secret_key, made->secret_key);
  expect_refused(make_keys(path("no/such/folder")), errc::io, "No such file");
}

TEST_F(security, key_files_that_others_may_read_or_that_are_none_are_refused_without_quoting_them) {
  const std::string secret(64, 'a');
  const auto open = file("open", "public = \"" + secret + "\"\nsecret = \"" + secret + "\"\n");
  ::chmod(open.c_str(), 0640);
  expect_refused(read_keys(open), errc::io, "chmod 600");
  expect_refused(read_keys(path("none")), errc::io, "ballast keygen");
  for (const std::string& text :
       {"secret = \"" + secret + "\"\n", "secret = " + secret + "\n", "public = \"x\"\nsecret = \"" + secret + "\"\n",
        "public = \"" + secret + "\"\nsecret = \"" + secret + "\"\nmore = \"" + secret + "\"\n"}) {
    const auto got = read_keys(file("damaged", text));
    expect_refused(got, errc::malformed, "not a key file");
    EXPECT_THAT(got.error().text, Not(HasSubstr("aaaa")));
  }
}

TEST_F(security, the_list_of_peers_names_who_is_what) {
  const std::string a(64, 'a'), b(64, 'b');
  const auto peer = [](const std::string& name, const std::string& role, const std::string& key) {
    return "[[peer]]\nname = \"" + name + "\"\nrole = \"" + role + "\"\nkey = \"" + key + "\"\n";
  };
  const auto got = read_allowed(file("peers", peer("node-1", "agent", a) + peer("alice", "operator", b)));
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(got->size(), 2u);
  EXPECT_EQ(got->at(b).name, "alice");
  EXPECT_EQ(got->at(b).role, peer_role::operator_);
  expect_refused(read_allowed(file("p", peer("x", "boss", a))), errc::malformed,
                 "none of agent, operator, client, observer");
  expect_refused(read_allowed(file("p", peer("x", "agent", "short"))), errc::malformed, "64 hexadecimal digits");
  expect_refused(read_allowed(file("p", peer("", "agent", a))), errc::malformed, "needs a name");
  expect_refused(read_allowed(file("p", peer("x", "agent", a) + peer("y", "client", a))), errc::malformed,
                 "in the list already");
  expect_refused(read_allowed(file("p", peer("x", "agent", a) + "colour = 1\n")), errc::invalid_argument,
                 "unknown key");
}

TEST_F(security, settings_that_contradict_each_other_are_refused) {
  const auto none = read("");
  ASSERT_TRUE(none);
  EXPECT_FALSE(none->keys);
  EXPECT_FALSE(none->insecure);
  ASSERT_TRUE(make_keys(path("key")));
  const auto keys = "[security]\nkeys = \"" + path("key") + "\"\n";
  const auto with = read(keys + "peer_messages_per_s = 7\npeer_queue_mib = 3\n");
  ASSERT_TRUE(with) << with.error().text;
  EXPECT_TRUE(with->keys);
  EXPECT_TRUE(with->allowed.empty());
  EXPECT_EQ(with->limits.messages_per_s, 7u);
  EXPECT_EQ(with->limits.queue_bytes, 3u << 20);
  expect_refused(read(keys + "insecure = true\n"), errc::malformed, "exclude each other");
  expect_refused(read("[security]\npeers = \"p\"\n"), errc::malformed, "no use without keys");
  expect_refused(read(keys + "server_key = \"x\"\n"), errc::malformed, "64 hexadecimal digits");
  expect_refused(read("[security]\nkey = \"x\"\n"), errc::invalid_argument, "did you mean keys?");
}

TEST(roles, every_message_is_for_those_who_have_business_with_it) {
  const auto admitted = [](admission at, const char* user) {
    std::set<std::string> names;
    for (const envelope& m : every_message())
      if (at(user, m.body)) names.insert(message_name(m.body));
    return names;
  };
  using names = std::set<std::string>;
  EXPECT_EQ(admitted(coordinator_admits, "agent/a"),
            (names{"hello", "heartbeat", "seat_outcome", "load_summary", "seat_trouble"}));
  EXPECT_EQ(admitted(coordinator_admits, "operator/o"),
            (names{"get_status", "get_operations", "scale_request", "rebalance_request", "abort_request"}));
  EXPECT_EQ(admitted(coordinator_admits, "client/c"), (names{"get_status"}));
  EXPECT_EQ(admitted(coordinator_admits, "observer/w"), (names{"get_status", "get_operations"}));
  EXPECT_EQ(admitted(front_end_admits, "client/c"), (names{"inference_request", "cancel_request"}));
  EXPECT_EQ(admitted(front_end_admits, "agent/a"), (names{"session_handover", "handover_taken"}));
  EXPECT_TRUE(admitted(front_end_admits, "operator/o").empty());
  EXPECT_TRUE(admitted(coordinator_admits, "boss/b").empty());
  EXPECT_EQ(admitted(coordinator_admits, "").size(), admitted(front_end_admits, "").size())
      << "plain sockets trust all";
  const auto why = coordinator_admits("client/c", scale_request{});
  ASSERT_FALSE(why);
  EXPECT_EQ(why.error().text, "a scale_request is not for client/c to send here; use a key of the role operator");
}

TEST(rate_limiter, lets_bursts_pass_and_no_more_than_the_rate_after_them) {
  rate_limiter limiter(100);
  const auto start = rate_limiter::clock::now();
  const auto sent = [&](const std::string& peer, int count, std::chrono::milliseconds at) {
    int passed = 0;
    for (int i = 0; i < count; ++i) passed += limiter.admits(peer, start + at);
    return passed;
  };
  using std::chrono::milliseconds;
  EXPECT_EQ(sent("a", 1000, milliseconds(0)), 200);
  EXPECT_EQ(sent("a", 1000, milliseconds(500)), 50);
  EXPECT_EQ(sent("b", 10, milliseconds(500)), 10) << "another peer is not made to wait";
  EXPECT_EQ(sent("a", 1000, milliseconds(100'000)), 200);
  rate_limiter none(0);
  EXPECT_TRUE(none.admits("a", start));
  EXPECT_EQ(none.peers(), 0u);
}

TEST(rate_limiter, a_flood_of_names_takes_no_more_than_a_bounded_memory) {
  rate_limiter limiter(1);
  const auto now = rate_limiter::clock::now();
  std::size_t passed = 0;
  for (int i = 0; i < 100'000; ++i) passed += limiter.admits("peer " + std::to_string(i), now);
  EXPECT_EQ(limiter.peers(), rate_limiter::most_peers);
  EXPECT_EQ(passed, rate_limiter::most_peers + 2) << "newcomers share one bucket once there are too many";
  EXPECT_TRUE(limiter.admits("late", now + std::chrono::seconds(10)));
  EXPECT_EQ(limiter.peers(), 1u) << "buckets that are full again are given up";
}

TEST(rate_limiter, peers_that_have_gone_quiet_are_forgotten_when_another_comes) {
  rate_limiter limiter(100);
  const auto start = rate_limiter::clock::now();
  for (int i = 0; i < 50; ++i) limiter.admits("peer " + std::to_string(i), start);
  EXPECT_EQ(limiter.peers(), 50u);
  EXPECT_TRUE(limiter.admits("new", start + std::chrono::seconds(5)));
  EXPECT_EQ(limiter.peers(), 1u);
}

TEST(waiting_room, one_peer_cannot_take_the_places_of_others) {
  waiting_room room(2);
  using enum waiting_room::place;
  EXPECT_EQ(room.enter("a"), taken);
  EXPECT_EQ(room.enter("a"), taken);
  EXPECT_EQ(room.enter("a"), full_now);
  EXPECT_EQ(room.enter("a"), full) << "told once";
  EXPECT_EQ(room.enter("b"), taken);
  room.leave("a");
  EXPECT_EQ(room.enter("a"), taken);
  EXPECT_EQ(room.enter("a"), full_now);
}

}  // namespace
}  // namespace ballast
