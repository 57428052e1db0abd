// What every store promises, and what the one in a file promises beyond it.
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>

#include "coordinator/effect_gate.hpp"
#include "coordinator/open_store.hpp"
#include "tests/coordinator/store_changes.hpp"
#include "tests/support/etcd_cluster.hpp"

namespace ballast {
namespace {

struct Store : testing::TestWithParam<const char*> {
  void SetUp() override {
    if (std::string(GetParam()) == "etcd") {
      if (const auto why = test::etcd_cluster::missing()) GTEST_SKIP() << *why;
      etcd = std::make_unique<test::etcd_cluster>();
    }
    folder = std::filesystem::path(testing::TempDir()) / ("store-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder);
  }
  void TearDown() override { std::filesystem::remove_all(folder); }
  std::string file() const { return (folder / "below" / "state.db").string(); }
  std::string where() const {
    if (etcd) return etcd->store("test");
    return std::string(GetParam()) == "memory" ? "memory" : "sqlite://" + file();
  }
  std::unique_ptr<store> open() {
    auto opened = open_store(where());
    EXPECT_TRUE(opened) << opened.error().text;
    return std::move(*opened);
  }
  std::filesystem::path folder;
  std::unique_ptr<test::etcd_cluster> etcd;
};

TEST_P(Store, HoldsWhatWasPutUntilItIsErased) {
  const auto s = open();
  EXPECT_EQ(s->load()->size(), 0u);
  ASSERT_TRUE(s->apply(put("a", "1")));
  ASSERT_TRUE(s->apply({{{"a", "2"}, {"b/c", std::string("\0x", 2)}}, {}}));
  EXPECT_EQ(*s->load(), (rows{{"a", "2"}, {"b/c", std::string("\0x", 2)}}));
  ASSERT_TRUE(s->apply({{{"a", std::nullopt}, {"never there", std::nullopt}}, {}}));
  EXPECT_EQ(s->load()->size(), 1u);
}

TEST_P(Store, KeepsTheNewestLinesOfTheJournalInTheirOrder) {
  const auto s = open();
  store_change many;
  for (operation_id id = 0; id < store::journal_kept + 10; ++id) many.journal.push_back(line(id));
  ASSERT_TRUE(s->apply(many));
  ASSERT_TRUE(s->apply({{}, {line(9999)}}));
  const auto lines = s->journal();
  ASSERT_TRUE(lines);
  ASSERT_EQ(lines->size(), store::journal_kept);
  EXPECT_EQ(lines->front().operation.id, 11u);
  EXPECT_EQ(lines->back(), line(9999));
}
INSTANTIATE_TEST_SUITE_P(Kinds, Store, testing::Values("memory", "sqlite", "etcd"), [](const auto& p) { return p.param; });

struct InAFile : Store {};
INSTANTIATE_TEST_SUITE_P(Kinds, InAFile, testing::Values("sqlite"), [](const auto& p) { return p.param; });

TEST_P(InAFile, IsThereAgainAfterItsProcessWasKilled) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto s = open_store(where());
    if (!s || !(*s)->apply({{{"a", "1"}}, {line(3)}})) ::_exit(1);
    ::kill(::getpid(), SIGKILL);
  }
  int end = 0;
  ASSERT_EQ(::waitpid(child, &end, 0), child);
  ASSERT_TRUE(WIFSIGNALED(end));
  const auto s = open();
  EXPECT_EQ(*s->load(), (rows{{"a", "1"}}));
  EXPECT_EQ(s->journal()->front(), line(3));
}

TEST_P(InAFile, IsOpenedByOneCoordinatorAtATime) {
  const auto first = open();
  const auto second = open_store(where());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, errc::conflict);
  EXPECT_NE(second.error().text.find("another coordinator has it"), std::string::npos);
}

TEST_P(InAFile, IsReadByOthersWhileItIsOpen) {
  const auto s = open();
  ASSERT_TRUE(s->apply({{{"a", "1"}}, {line(3)}}));
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open_v2(file().c_str(), &other, SQLITE_OPEN_READONLY, nullptr), SQLITE_OK);
  std::string seen;
  const auto take = [](void* to, int, char** values, char**) {
    *static_cast<std::string*>(to) += values[0];
    return 0;
  };
  EXPECT_EQ(sqlite3_exec(other, "SELECT value FROM state UNION SELECT kind FROM journal", take, &seen, nullptr),
            SQLITE_OK);
  sqlite3_close(other);
  EXPECT_EQ(seen, "1scale");
}

TEST_P(InAFile, OfAnotherKindOrReleaseIsRefusedInOneLine) {
  std::filesystem::create_directories(std::filesystem::path(file()).parent_path());
  std::ofstream(file()) << std::string(5000, 'x');
  const auto garbage = open_store(where());
  ASSERT_FALSE(garbage);
  EXPECT_EQ(garbage.error().code, errc::malformed) << garbage.error().text;
  std::filesystem::remove(file());
  open();
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(file().c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "PRAGMA user_version = 99", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(other);
  const auto newer = open_store(where());
  ASSERT_FALSE(newer);
  EXPECT_EQ(newer.error().code, errc::version_mismatch) << newer.error().text;
  EXPECT_EQ(open_store("sqlite://").error().code, errc::invalid_argument);
  EXPECT_EQ(open_store("sqlite:///proc/nowhere/state.db").error().code, errc::io);
}

// Nothing of a change that does not fit on the disk, and all of it later.
TEST_P(InAFile, TakesAChangeWholeOrNotAtAll) {
  const auto s = open();
  ASSERT_TRUE(s->apply(put("a", "1")));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{200'000, before.rlim_max};
  std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const store_change large{{{"a", "2"}, {"b", std::string(4'000'000, 'x')}}, {}};
  const auto refused = s->apply(large);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_FALSE(refused);
  EXPECT_EQ(s->load()->at("a"), "1");
  ASSERT_TRUE(s->apply(large));
  EXPECT_EQ(s->load()->at("a"), "2");
}

namespace gate {

using namespace cluster;

effects said(const std::string& text) {
  return {effect::publish{{0, "operation", text, {}, {}}}, effect::log_line{false, text}};
}
std::string texts(const effects& out) {
  std::string all;
  for (const auto& e : out) {
    if (const auto* p = std::get_if<effect::publish>(&e)) all += p->what.text;
    if (const auto* l = std::get_if<effect::log_line>(&e)) all += "(" + l->text + ")";
  }
  return all;
}

TEST(Effects, LeaveAtOnceWhereTheyRestOnNothing) {
  effect_gate g;
  g.add(said("a"), {});
  EXPECT_EQ(texts(g.released()), "a(a)");
  EXPECT_EQ(g.begin_save(), nullptr);
}

TEST(Effects, WaitForTheirChangeAndKeepTheirOrder) {
  effect_gate g;
  g.add(said("a"), put("x", "1"));
  const auto first = g.begin_save();
  ASSERT_TRUE(first);
  g.add(said("b"), {});  // rests on what came before it
  g.add(said("c"), put("x", "2"));
  g.add(said("d"), put("y", "3"));
  EXPECT_EQ(texts(g.released()), "(a)(b)(c)(d)");  // a log line rests on nothing
  EXPECT_EQ(g.begin_save(), nullptr);
  g.saved();
  EXPECT_EQ(texts(g.released()), "a");
  const auto second = g.begin_save();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->rows, (store_change{{{"x", "2"}, {"y", "3"}}, {}}).rows);  // together
  g.saved();
  EXPECT_EQ(texts(g.released()), "bcd");
  g.add(said("e"), {});
  EXPECT_EQ(texts(g.released()), "e(e)");
}

TEST(Effects, WithoutAChangeLeaveWithTheSaveThatTheyWaitedFor) {
  effect_gate g;
  g.add(said("a"), put("x", "1"));
  ASSERT_TRUE(g.begin_save());
  g.add(said("b"), {});
  g.saved();
  EXPECT_EQ(texts(g.released()), "(a)(b)ab");
  EXPECT_EQ(g.begin_save(), nullptr);
}

TEST(Effects, FillTheGateWhileNothingIsSaved) {
  effect_gate g;
  g.add(said("a"), put("x", "1"));
  ASSERT_TRUE(g.begin_save());
  for (std::size_t i = 0; i < effect_gate::most_waiting; ++i) g.add(said("b"), {});
  EXPECT_TRUE(g.full());
  g.saved();
  EXPECT_FALSE(g.full());
}

}  // namespace gate
}  // namespace
}  // namespace ballast
