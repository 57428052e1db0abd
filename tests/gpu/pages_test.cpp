// The life of a page, and what a rank reads through slot tables and routing tables.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <thread>

#include "gpu/host/page_pool.hpp"
#include "gpu/host/routing.hpp"
#include "tests/gpu/support.hpp"

namespace ballast::gpu::test {
namespace {

using host::host_page_pool;
using host::host_routing;
using ::testing::HasSubstr;

std::vector<std::byte> bytes(std::size_t n, int value) {
  return std::vector<std::byte>(n, static_cast<std::byte>(value));
}

page_index resident(host_page_pool& pool, page_key key, int value) {
  const auto page = pool.take().value();
  EXPECT_TRUE(pool.write(page, bytes(pool.page_bytes(), value)));
  EXPECT_TRUE(pool.seal(page, key, std::nullopt));
  return page;
}

TEST(pages, a_page_goes_from_spare_to_filling_to_resident_and_back) {
  host_page_pool pool(128, 2);
  EXPECT_EQ(pool.spare(), 2u);
  const auto page = pool.take().value();
  EXPECT_EQ(pool.spare(), 1u);
  EXPECT_FALSE(pool.find({1, 2}));
  ASSERT_TRUE(pool.write(page, bytes(128, 7)));
  ASSERT_TRUE(pool.seal(page, {1, 2}, std::nullopt));
  EXPECT_EQ(pool.find({1, 2}), page);
  EXPECT_EQ(pool.checksum(page), host::checksum_of(bytes(128, 7)));
  EXPECT_TRUE(pool.verify(page));
  std::vector<std::byte> out(128);
  EXPECT_EQ(pool.read(page, out).value(), 128u);
  EXPECT_EQ(out, bytes(128, 7));
  pool.give_back(page);
  EXPECT_EQ(pool.spare(), 2u);
  EXPECT_FALSE(pool.find({1, 2}));
  EXPECT_EQ(pool.resident(page, {1, 2}), nullptr);
}

TEST(pages, wrong_states_and_sizes_are_refused_and_change_nothing) {
  host_page_pool pool(64, 2);
  const auto page = resident(pool, {0, 0}, 1);
  std::vector<std::byte> small(63);
  EXPECT_EQ(pool.write(page, bytes(64, 2)).error().code, errc::invalid_argument);
  EXPECT_EQ(pool.seal(page, {0, 1}, std::nullopt).error().code, errc::invalid_argument);
  EXPECT_EQ(pool.read(page, small).error().code, errc::invalid_argument);
  EXPECT_EQ(pool.write(99, bytes(64, 2)).error().code, errc::invalid_argument);
  const auto filling = pool.take().value();
  EXPECT_EQ(pool.write(filling, bytes(65, 2)).error().code, errc::invalid_argument);
  EXPECT_EQ(pool.verify(filling).error().code, errc::invalid_argument);
  EXPECT_EQ(pool.take().error().code, errc::does_not_fit);
  EXPECT_TRUE(pool.verify(page));
}

TEST(pages, giving_a_page_back_twice_makes_it_spare_once) {
  host_page_pool pool(64, 2);
  const auto page = pool.take().value();
  pool.give_back(page);
  pool.give_back(page);
  EXPECT_EQ(pool.spare(), 2u);
  EXPECT_NE(pool.take().value(), pool.take().value());
}

TEST(pages, contents_that_do_not_match_are_never_resident) {
  host_page_pool pool(64, 1);
  const auto page = pool.take().value();
  ASSERT_TRUE(pool.write(page, bytes(64, 1)));
  EXPECT_EQ(pool.seal(page, {0, 0}, host::checksum_of(bytes(64, 2))).error().code, errc::corrupt);
  EXPECT_FALSE(pool.find({0, 0}));
  EXPECT_TRUE(pool.seal(page, {0, 0}, host::checksum_of(bytes(64, 1))));
  pool.raw(page)[63] ^= std::byte{1};
  const auto verified = pool.verify(page);
  ASSERT_FALSE(verified);
  EXPECT_EQ(verified.error().code, errc::corrupt);
}

TEST(pages, each_of_many_pages_is_verified_by_itself) {
  host_page_pool pool(64, 4);
  const auto a = resident(pool, {0, 0}, 1), b = resident(pool, {0, 1}, 2), c = resident(pool, {0, 2}, 3);
  const auto filling = pool.take().value();
  pool.raw(b)[0] ^= std::byte{1};
  const auto verified = pool.verify_each(std::vector{a, b, filling, c});
  ASSERT_EQ(verified.size(), 4u);
  EXPECT_TRUE(verified[0]);
  EXPECT_EQ(verified[1].error().code, errc::corrupt);
  EXPECT_EQ(verified[2].error().code, errc::invalid_argument);
  EXPECT_TRUE(verified[3]);
  EXPECT_TRUE(pool.verify_each({}).empty());
}

TEST(pages, one_expert_may_lie_in_two_pages) {
  host_page_pool pool(64, 2);
  const auto a = resident(pool, {3, 4}, 1), b = resident(pool, {3, 4}, 1);
  pool.give_back(a);
  EXPECT_EQ(pool.find({3, 4}), b);
  pool.give_back(b);
  EXPECT_FALSE(pool.find({3, 4}));
}

TEST(pages, a_spare_page_keeps_what_it_held_until_it_is_needed) {
  host_page_pool pool(64, 3);
  const auto a = resident(pool, {0, 1}, 1), b = resident(pool, {0, 2}, 2);
  pool.give_back(a);
  pool.give_back(b);
  EXPECT_EQ(pool.spare(), 3u);
  EXPECT_FALSE(pool.find({0, 1})) << "others do not find it";
  EXPECT_EQ(pool.take_kept({0, 1}), a);
  EXPECT_EQ(pool.spare(), 2u);
  EXPECT_EQ(pool.find({0, 1}), a);
  EXPECT_EQ(pool.checksum(a), host::checksum_of(bytes(64, 1)));
  EXPECT_TRUE(pool.verify(a));
  EXPECT_FALSE(pool.take_kept({0, 1})) << "once";
  pool.give_back(a);
  const auto empty = pool.take().value(), oldest = pool.take().value();
  EXPECT_NE(empty, a);
  EXPECT_NE(empty, b);
  EXPECT_EQ(oldest, b) << "given back before the other one";
  EXPECT_FALSE(pool.take_kept({0, 2}));
  EXPECT_EQ(pool.take_kept({0, 1}), a);
}

TEST(pages, what_is_discarded_or_was_never_whole_is_not_kept) {
  host_page_pool pool(64, 2);
  pool.discard(resident(pool, {0, 1}, 1));
  EXPECT_EQ(pool.spare(), 2u);
  EXPECT_FALSE(pool.take_kept({0, 1}));
  const auto page = pool.take().value();
  ASSERT_TRUE(pool.write(page, bytes(64, 2)));
  pool.give_back(page);
  pool.discard(page);
  EXPECT_EQ(pool.spare(), 2u);
  EXPECT_FALSE(pool.take_kept({0, 0}));
}

// Against a plain list of what each page is.
TEST(pages, any_row_of_takes_and_returns_leaves_every_page_with_one_role) {
  struct role {
    enum { empty, kept, filling, resident } is = empty;
    page_key key{};
    int since = 0;
  };
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    host_page_pool pool(8, 1 + seed % 7);
    std::vector<role> roles(pool.capacity());
    const auto pick = [&] { return static_cast<page_index>(random() % roles.size()); };
    const auto count = [&](auto is) { return std::ranges::count(roles, is, &role::is); };
    for (int now = 1; now < 300; ++now) {
      const page_key key{0, static_cast<std::uint32_t>(random() % 4)};
      switch (const auto page = pick(); random() % 6) {
        case 0: {
          const auto taken = pool.take();
          ASSERT_EQ(taken.has_value(), count(role::empty) + count(role::kept) > 0);
          if (!taken) break;
          if (roles[*taken].is == role::kept) {
            ASSERT_EQ(count(role::empty), 0) << "what keeps nothing goes first";
            for (const auto& r : roles) ASSERT_FALSE(r.is == role::kept && r.since < roles[*taken].since);
          }
          roles[*taken] = {role::filling, {}, now};
          break;
        }
        case 1: {
          const auto found = pool.take_kept(key);
          const auto keeps = [&](const role& r) { return r.is == role::kept && r.key == key; };
          ASSERT_EQ(found.has_value(), std::ranges::any_of(roles, keeps));
          if (!found) break;
          ASSERT_TRUE(keeps(roles[*found]));
          ASSERT_TRUE(pool.verify(*found));
          roles[*found].is = role::resident;
          break;
        }
        case 2:
          if (roles[page].is != role::filling) break;
          ASSERT_TRUE(pool.write(page, bytes(8, static_cast<int>(key.expert))));
          ASSERT_TRUE(pool.seal(page, key, std::nullopt));
          roles[page] = {role::resident, key, now};
          break;
        case 3:
          pool.discard(page);
          if (roles[page].is > role::kept) roles[page].is = role::empty;
          break;
        default:
          pool.give_back(page);
          if (roles[page].is > role::kept)
            roles[page] = {roles[page].is == role::resident ? role::kept : role::empty, roles[page].key, now};
      }
      ASSERT_EQ(pool.spare(), count(role::empty) + count(role::kept)) << "seed " << seed;
      for (std::uint32_t e = 0; e < 4; ++e) {
        const auto holds = [&](const role& r) { return r.is == role::resident && r.key == page_key{0, e}; };
        ASSERT_EQ(pool.find({0, e}).has_value(), std::ranges::any_of(roles, holds)) << "seed " << seed;
      }
    }
  }
}

// A reader races with a page that is given back and filled with another expert, over and over.
TEST(pages, a_reader_sees_whole_experts_or_none) {
  constexpr std::size_t size = 1 << 14;
  host_page_pool pool(size, 1);
  const auto sum = [&](int value) { return host::checksum_of(bytes(size, value)); };
  const std::uint64_t sums[] = {sum(0), sum(1)};
  std::atomic<bool> stop{false};
  std::atomic<int> seen{0};
  std::thread reader([&] {
    std::vector<std::byte> out(size);
    for (std::uint32_t e = 0; !stop; e = 1 - e)
      if (pool.read_key({0, e}, sums[e], 0, out)) {
        ASSERT_EQ(out, bytes(size, static_cast<int>(e)));
        ++seen;
      }
  });
  for (int i = 0; seen < 20; ++i) pool.give_back(resident(pool, {0, static_cast<std::uint32_t>(i % 2)}, i % 2));
  stop = true;
  reader.join();
  EXPECT_EQ(pool.spare(), 1u);
}

TEST(slots, an_entry_is_what_was_set_until_it_is_cleared) {
  host::host_slot_table table(2, 3);
  EXPECT_EQ(table.entries_per_layer(), 3u);
  EXPECT_FALSE(table.at(1, 2).used);
  table.set(1, 2, 9, 4);
  EXPECT_TRUE(table.at(1, 2).used);
  EXPECT_EQ(table.at(1, 2).page, 9u);
  EXPECT_EQ(table.at(1, 2).expert, 4u);
  table.clear(1, 2);
  EXPECT_FALSE(table.at(1, 2).used);
  EXPECT_THROW(table.at(0, 3), std::out_of_range);  // not the next layer's first slot
}

moe_shape one_expert() {
  auto s = small_shape();
  s.layers = s.experts = s.top_k = 1;
  return s;
}

TEST(routing, replicas_are_drawn_in_proportion_to_their_shares) {
  const auto shape = one_expert();
  const std::vector<std::vector<double>> cases{
      {1.0}, {0.5, 0.5}, {0.9, 0.1}, {0.2, 0.3, 0.5}, {1.0 / 3, 1.0 / 3, 1.0 / 3}};
  for (const auto& shares : cases) {
    placement table{0, 1, {{{}}}};
    for (std::uint32_t i = 0; i < shares.size(); ++i) table.layers[0][0].push_back({seat_id{i}, i + 5, shares[i]});
    const auto routing = host_routing::make(table, shape).value();
    for (step_t step = 1; step <= 20; ++step)
      for (const std::uint64_t tokens : {50u, 1000u}) {
        std::map<std::uint32_t, double> count;
        for (std::uint64_t n = 0; n < tokens; ++n) {
          const auto where = routing->draw(0, 0, step, n);
          EXPECT_EQ(where.slot, where.seat + 5);
          count[where.seat] += 1;
        }
        for (std::uint32_t i = 0; i < shares.size(); ++i)
          EXPECT_NEAR(count[i], shares[i] * static_cast<double>(tokens), 4.0) << tokens << " tokens, replica " << i;
      }
  }
}

TEST(routing, the_first_token_of_a_step_is_not_always_the_same_replica) {
  placement table{0, 1, {{{{seat_id{0}, 0, 0.5}, {seat_id{1}, 0, 0.5}}}}};
  const auto routing = host_routing::make(table, one_expert()).value();
  int first = 0;
  for (step_t step = 0; step < 1000; ++step) first += routing->draw(0, 0, step, 0).seat == 0 ? 1 : 0;
  EXPECT_NEAR(first, 500, 80);
}

TEST(routing, equal_questions_have_equal_answers) {
  const auto shape = small_shape();
  const auto table = random_placement(shape, {seat_id{1}, seat_id{2}, seat_id{7}}, 8, 6, 5);
  const auto a = host_routing::make(table, shape).value(), b = host_routing::make(table, shape).value();
  for (std::uint64_t n = 0; n < 500; ++n) {
    const auto expert = static_cast<std::uint32_t>(n % 8);
    EXPECT_EQ(a->draw(1, expert, n / 7, n).seat, b->draw(1, expert, n / 7, n).seat);
    EXPECT_EQ(a->draw(1, expert, n / 7, n).slot, b->draw(1, expert, n / 7, n).slot);
  }
}

TEST(routing, tables_that_cannot_serve_are_refused) {
  const auto shape = small_shape();
  const auto good = random_placement(shape, {seat_id{1}, seat_id{2}}, 8, 2, 5);
  EXPECT_TRUE(host_routing::make(good, shape));
  const auto refused = [&](const char* why, auto change) {
    auto p = good;
    change(p);
    const auto made = host_routing::make(p, shape);
    ASSERT_FALSE(made) << why;
    EXPECT_EQ(made.error().code, errc::invalid_argument);
    EXPECT_THAT(made.error().text, HasSubstr(why));
  };
  refused("layer 1 expert 3 has no replica", [](auto& p) { p.layers[1][3].clear(); });
  refused("has 1 layers", [](auto& p) { p.layers.pop_back(); });
  refused("has 7 experts", [](auto& p) { p.layers[0].pop_back(); });
  refused("has share 0", [](auto& p) { p.layers[0][0][0].share = 0; });
  refused("has share nan", [](auto& p) { p.layers[0][0][0].share = std::nan(""); });
}

}  // namespace
}  // namespace ballast::gpu::test
