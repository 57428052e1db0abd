// What the store in etcd promises beyond every store: one owner at a time, whose term is over for good once another has
// it; changes of any size, whole or not at all; and an etcd that loses its leader.
#include "coordinator/etcd_store.hpp"

#include <gtest/gtest.h>

#include <chrono>

#include "coordinator/await_lead.hpp"
#include "coordinator/base64.hpp"
#include "coordinator/etcd_client.hpp"
#include "tests/coordinator/store_changes.hpp"
#include "tests/support/etcd_cluster.hpp"

namespace ballast {
namespace {

using namespace std::chrono_literals;

struct etcd_stores : testing::Test {
  void SetUp() override {
    if (const auto why = test::etcd_cluster::missing(secured)) GTEST_SKIP() << *why;
    etcd = std::make_unique<test::etcd_cluster>(members, secured);
  }
  etcd_candidate candidate(const std::string& name) {
    return std::move(*etcd_candidate::open(etcd->store("test/state"), name));
  }
  // Until it leads; nothing else happens meanwhile.
  std::unique_ptr<store> lead(const std::string& name) {
    auto c = candidate(name);
    for (const auto end = std::chrono::steady_clock::now() + 60s; std::chrono::steady_clock::now() < end;)
      if (auto kept = c.lead()) return std::move(*kept);
    ADD_FAILURE() << name << " never leads";
    return nullptr;
  }
  etcd_client client() { return etcd_client(etcd->members(), 1000ms); }
  // As when the lease ends: the key of the leader goes.
  void depose(const store& s) {
    const auto key = std::string("test/state/leader");
    const auto done = client().commit({key, static_cast<std::int64_t>(s.term()), {{key, std::nullopt, {}}}});
    ASSERT_TRUE(done && done->done);
  }
  std::size_t members = 1;
  bool secured = false;
  std::unique_ptr<test::etcd_cluster> etcd;
};

TEST_F(etcd_stores, belong_to_one_coordinator_at_a_time) {
  auto first = lead("a");
  ASSERT_TRUE(first);
  EXPECT_EQ(first->held(), possession::ours);
  auto waiting = candidate("b");
  const auto refused = waiting.lead();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::conflict);
  EXPECT_EQ(waiting.leader(), "a");
  const auto term = first->term();
  ASSERT_TRUE(first->apply(put("x", "1")));
  first.reset();  // gives it up
  const auto second = waiting.lead();
  ASSERT_TRUE(second) << second.error().text;
  EXPECT_GT((*second)->term(), term);
  EXPECT_EQ(*(*second)->load(), (rows{{"x", "1"}}));
}

TEST_F(etcd_stores, refuse_what_a_deposed_coordinator_writes) {
  const auto first = lead("a");
  ASSERT_TRUE(first->apply({{{"x", "1"}}, {line(1)}}));
  depose(*first);
  const auto second = lead("b");
  ASSERT_TRUE(second);
  const auto late = first->apply({{{"x", "2"}}, {line(2)}});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, errc::fenced);
  EXPECT_EQ(first->held(), possession::lost);
  EXPECT_EQ(second->load()->at("x"), "1");
  ASSERT_EQ(second->journal()->size(), 1u);
  ASSERT_TRUE(second->apply({{}, {line(3)}}));
  EXPECT_EQ(second->journal()->back(), line(3));
}

TEST_F(etcd_stores, take_changes_that_no_transaction_can) {
  const auto s = lead("a");
  store_change large = put("big", std::string(3'000'000, 'x') + "end");
  for (int i = 0; i < 300; ++i) large.rows["row/" + std::to_string(i)] = std::to_string(i);
  ASSERT_TRUE(s->apply(large));
  auto there = s->load();
  ASSERT_TRUE(there);
  EXPECT_EQ(there->size(), 301u);
  EXPECT_EQ(there->at("big"), *large.rows.at("big"));
  ASSERT_TRUE(s->apply(put("big", "small")));
  EXPECT_EQ(s->load()->at("big"), "small") << "no piece is left";
  ASSERT_TRUE(s->apply({{{"big", std::nullopt}}, {}}));
  EXPECT_FALSE(s->load()->contains("big"));
}

// A coordinator died between two transactions of a change: who leads next finishes it.
TEST_F(etcd_stores, finish_a_change_that_counts_and_drop_one_that_does_not) {
  auto s = lead("a");
  ASSERT_TRUE(s->apply(put("x", "1")));
  const std::string prefix = "test/state", part = prefix + "/redo/00000000";
  const auto batch = R"([[")" + to_base64(prefix + "/rows/0000/x") + R"(","",")" + to_base64("2") + R"("]])";
  const auto write = [&](const std::string& key, const std::string& value) {
    const auto done = client().commit({prefix + "/leader", static_cast<std::int64_t>(s->term()), {{key, value, {}}}});
    ASSERT_TRUE(done && done->done);
  };
  write(part, batch);
  s.reset();
  s = lead("b");
  EXPECT_EQ(s->load()->at("x"), "1") << "a part alone does not count";
  write(prefix + "/redo", "1");
  s.reset();
  s = lead("c");
  EXPECT_EQ(s->load()->at("x"), "2");
  ASSERT_TRUE(s->apply(put("x", "3")));
  s.reset();
  EXPECT_EQ(lead("d")->load()->at("x"), "3") << "it is finished once";
}

TEST(etcd_addresses, that_make_no_sense_are_refused) {
  for (const auto* wrong : {"etcd://", "etcd:///p", "etcd://host", "etcd://:1", "etcd://a:1,,b:2", "sqlite://x"}) {
    const auto at = etcd_address_of(wrong);
    ASSERT_FALSE(at) << wrong;
    EXPECT_EQ(at.error().code, errc::invalid_argument);
  }
  const auto at = etcd_address_of("etcd://a:1,b:2/some/where/");
  ASSERT_TRUE(at);
  EXPECT_EQ(at->members, (std::vector<std::string>{"a:1", "b:2"}));
  EXPECT_EQ(at->prefix, "some/where");
  EXPECT_EQ(etcd_address_of("etcd://a:1")->prefix, "ballast");
}

TEST_F(etcd_stores, are_in_doubt_while_etcd_is_away) {
  const auto s = lead("a");
  ASSERT_TRUE(s->apply(put("x", "1")));
  etcd->kill(0);
  while (s->held() == possession::ours) {
    const auto ok = s->apply(put("x", "2"));
    ASSERT_FALSE(ok);
    EXPECT_EQ(ok.error().code, errc::unavailable);
  }
  EXPECT_EQ(s->held(), possession::in_doubt);
}

TEST(etcd_addresses, beyond_this_host_need_a_network_that_is_said_to_be_trusted) {
  link_context context;
  coordinator_config c;
  c.bind = "inproc://waiting";
  const auto never = [](auto) { return true; };
  for (const auto* far : {"etcd://10.0.0.1:2379", "etcd://127.0.0.1:1,example.org:2379", "etcd://127.example.org:1"}) {
    c.store = far;
    const auto refused = await_lead(context, c, never);
    ASSERT_FALSE(refused) << far;
    EXPECT_NE(refused.error().text.find("in the clear"), std::string::npos) << refused.error().text;
  }
  c.store = "etcd://127.0.0.1:1,[::1]:1,localhost:1";  // nobody is there, and it was told not to wait
  const auto waited = await_lead(context, c, never);
  ASSERT_TRUE(waited) << waited.error().text;
  EXPECT_EQ(*waited, nullptr);
}

struct secured_etcd_stores : etcd_stores {
  secured_etcd_stores() { secured = true; }
  result<std::unique_ptr<store>> lead_with(const etcd_tls& tls) {
    return etcd_candidate::open(etcd->store("test/state"), "a", tls).and_then([](auto c) { return c.lead(); });
  }
};

TEST_F(secured_etcd_stores, are_spoken_with_by_those_who_show_who_they_are_and_know_whom_to_believe) {
  const auto mine = etcd->tls();
  {
    const auto s = lead_with(mine);
    ASSERT_TRUE(s) << s.error().text;
    ASSERT_TRUE((*s)->apply(put("x", "1")));
    EXPECT_EQ((*s)->held(), possession::ours);
  }
  const test::etcd_cluster other(1, true);
  for (const auto& [tls, why] : {std::pair(etcd_tls{}, "in the clear"),
                                 {etcd_tls{mine.ca, {}, {}}, "without a certificate"},
                                 {etcd_tls{other.tls().ca, mine.certificate, mine.key}, "another authority"},
                                 {etcd_tls{mine.ca, other.tls().certificate, other.tls().key}, "a stranger"}}) {
    const auto refused = lead_with(tls);
    ASSERT_FALSE(refused) << why;
    EXPECT_TRUE(refused.error().code == errc::unavailable || refused.error().code == errc::io) << refused.error().text;
  }
  const auto again = lead_with(mine);
  ASSERT_TRUE(again) << again.error().text;
  EXPECT_EQ((*again)->load()->at("x"), "1");
}

TEST(etcd_certificates, that_cannot_be_read_are_named) {
  const auto refused = etcd_candidate::open("etcd://127.0.0.1:1", "a", {"/nowhere/ca.pem", {}, {}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::io);
  EXPECT_EQ(refused.error().text, "store_ca = `/nowhere/ca.pem` cannot be read: No such file or directory");
}

struct etcd_stores_of_three : etcd_stores {
  etcd_stores_of_three() { members = 3; }
};

TEST_F(etcd_stores_of_three, go_on_when_the_leading_member_is_killed) {
  const auto s = lead("a");
  ASSERT_TRUE(s->apply(put("x", "1")));
  etcd->kill(etcd->leader());
  const auto end = std::chrono::steady_clock::now() + 60s;
  auto done = s->apply({{{"x", "2"}}, {line(7)}});
  while (!done && std::chrono::steady_clock::now() < end) done = s->apply({{{"x", "2"}}, {line(7)}});
  ASSERT_TRUE(done) << done.error().text;
  EXPECT_EQ(s->load()->at("x"), "2");
  ASSERT_EQ(s->journal()->size(), 1u) << "however often it was written";
  EXPECT_NE(s->held(), possession::lost) << "its lease outlives a member";
}

TEST(base64, is_that_of_the_standard) {
  for (const auto& [bytes, text] :
       {std::pair{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}}) {
    EXPECT_EQ(to_base64(bytes), text);
    EXPECT_EQ(from_base64(text), bytes);
  }
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  EXPECT_EQ(from_base64(to_base64(all)), all);
  for (const auto* wrong : {"Zg=", "Z===", "Zm9$", "Zg==Zg=="}) EXPECT_FALSE(from_base64(wrong)) << wrong;
}

}  // namespace
}  // namespace ballast
