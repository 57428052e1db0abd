// What pulls of all backends share: pacing, cancelling, pinned pages, many bundles in one call.
#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "gpu/host/cancellation_impl.hpp"
#include "gpu/host/pace.hpp"
#include "gpu/page_book.hpp"
#include "tests/gpu/support.hpp"

namespace ballast::gpu::test {
namespace {

using namespace std::chrono_literals;
using host::cancellation;
using host::pace;

TEST(paces, bytes_are_spread_over_time_at_the_speed_asked_for) {
  pace p(1'000'000'000);
  const pace::time_point start{1h};
  auto now = start;
  for (int i = 0; i < 1000; ++i) {
    now = std::max(now, p.next());
    p.spend(10'000'000, now);
  }
  EXPECT_NEAR(std::chrono::duration<double>(p.next() - start).count(), 10.0, 0.001);
}

TEST(paces, a_timer_that_wakes_late_costs_no_speed) {
  pace p(100'000'000'000);
  const pace::time_point start{1h};
  auto now = start;
  for (int i = 0; i < 1000; ++i) {  // 100 us each
    now = std::max(now, p.next() + 60us);
    p.spend(10'000'000, now);
  }
  EXPECT_NEAR(std::chrono::duration<double>(now - start).count(), 0.1, 0.001);
}

TEST(paces, a_pause_is_not_made_up_for_by_a_burst) {
  pace p(1'000'000'000);
  p.spend(1000, pace::time_point{1h});
  const auto later = pace::time_point{2h};
  p.spend(1'000'000, later);
  EXPECT_GE(p.next(), later + 1ms - pace::catch_up);
}

TEST(paces, without_a_limit_nothing_waits) {
  pace p(0);
  p.spend(1'000'000'000, pace::time_point{1h});
  EXPECT_FALSE(p.limited());
  EXPECT_LT(p.next(), pace::time_point{1h});
}

TEST(cancelling, ends_a_wait_and_is_forgotten_with_the_pull) {
  cancellation stop;
  stop.cancel();  // nothing under way
  {
    const cancellation::scope pull(stop);
    EXPECT_FALSE(stop.cancelled());
    EXPECT_FALSE(stop.wait_until(host::clock::now() + 100us));
    std::thread other([&] { stop.cancel(); });
    EXPECT_TRUE(stop.wait_until(host::clock::now() + 1h));
    other.join();
    EXPECT_TRUE(stop.wait_until(host::clock::now() + 1h));
  }
  const cancellation::scope next(stop);
  EXPECT_FALSE(stop.cancelled());
}

TEST(pins, a_page_given_back_is_not_handed_out_while_it_is_pinned) {
  page_book book(2);
  const auto page = book.take().value();
  ASSERT_TRUE(book.publish(page, {1, 2}, 77));
  auto held = book.hold({1, 2}, std::nullopt);
  ASSERT_TRUE(held);
  EXPECT_EQ(held->page(), page);
  EXPECT_EQ(held->checksum(), 77u);
  book.give_back(page);
  EXPECT_FALSE(book.hold({1, 2}, std::nullopt));
  EXPECT_EQ(book.spare(), 2u);
  const auto other = book.take().value();
  EXPECT_NE(other, page);
  std::atomic<bool> handed_out{false};
  std::thread taker([&] {
    EXPECT_EQ(book.take().value(), page);
    handed_out = true;
  });
  EXPECT_FALSE(handed_out);
  *held = {};
  taker.join();
}

TEST(pins, only_the_contents_named_are_pinned) {
  page_book book(1);
  const auto page = book.take().value();
  EXPECT_EQ(book.hold(page, "read").error().code, errc::invalid_argument);
  ASSERT_TRUE(book.publish(page, {1, 2}, 77));
  EXPECT_EQ(book.publish(page, {1, 3}, 77).error().code, errc::invalid_argument);
  EXPECT_TRUE(book.hold({1, 2}, 77));
  EXPECT_EQ(book.hold({1, 2}, 78).error().code, errc::not_found);
  EXPECT_TRUE(book.hold(page, "read"));
}

// Rank 1 pulls all experts of rank 0 in one call.
struct many : ::testing::Test {
  many() : model(make_model(small_shape(), 5)), c(model, {.bind = "inproc://many", .ranks = 2}) {
    auto& pool = c.at(0).pages(0);
    for (std::uint32_t e = 0; e < 4; ++e) {
      const auto page = pool.take().value();
      EXPECT_TRUE(pool.write(page, model.bundles[0][e]));
      EXPECT_TRUE(pool.seal(page, {0, e}, std::nullopt));
      items.push_back({0, {0, e}, c.at(1).pages(0).take().value()});
    }
  }
  pull_results pull(const std::string& source, std::chrono::milliseconds deadline = 20s) {
    return c.at(1).transport().pull_many(source, items, deadline);
  }
  model_data model;
  cluster c;
  std::vector<pull_item> items;
};

TEST_F(many, every_bundle_fares_by_itself) {
  items[1].key.expert = 7;  // not there
  const auto pulled = pull(c.at(0).transport().address());
  ASSERT_EQ(pulled.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    if (i == 1) {
      EXPECT_EQ(pulled[i].error().code, errc::not_found);
      continue;
    }
    ASSERT_TRUE(pulled[i]) << pulled[i].error().text;
    EXPECT_EQ(*pulled[i], c.at(1).pages(0).page_bytes());
    EXPECT_EQ(c.at(1).pages(0).find(items[i].key), items[i].page);
  }
}

TEST_F(many, the_rest_of_a_source_that_does_not_answer_is_not_tried) {
  const auto pulled = pull("inproc://nobody-there", 50ms);
  ASSERT_EQ(pulled.size(), 4u);
  for (const auto& p : pulled) EXPECT_EQ(p.error().code, errc::timed_out);
}

TEST_F(many, cancel_ends_them_all) {
  std::atomic<bool> done{false};
  pull_results pulled;
  std::thread puller([&] {
    pulled = pull("inproc://nobody-there", 60s);
    done = true;
  });
  while (!done) {  // no effect before it is under way
    c.at(1).transport().cancel();
    std::this_thread::yield();
  }
  puller.join();
  ASSERT_EQ(pulled.size(), 4u);
  for (const auto& p : pulled) EXPECT_EQ(p.error().code, errc::aborted);
}

}  // namespace
}  // namespace ballast::gpu::test
