// Whole steps on several ranks: the same bits as one static rank, and clear errors when something is wrong.
#include <gmock/gmock.h>

#include <cstring>
#include <numeric>
#include <thread>

#include "tests/gpu/support.hpp"

namespace ballast::gpu::test {
namespace {

using ::testing::HasSubstr;

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

std::string bind_of(const std::string& transport) {
  if (transport == "tcp") return "tcp://127.0.0.1:*";
  if (transport == "ipc") return "ipc:///tmp/bt";
  return "inproc://test";
}

struct layout {
  std::uint32_t ranks;
  std::string transport;
};

class placement_invariance : public ::testing::TestWithParam<layout> {};

TEST_P(placement_invariance, any_placement_gives_the_bits_of_one_static_rank) {
  const auto [ranks, transport] = GetParam();
  auto shape = small_shape();
  shape.layers = 3;
  const auto model = make_model(shape, 1);
  cluster c(model, {.bind = bind_of(transport), .ranks = ranks, .slots_per_layer = 8, .spare_pages = 2});
  ASSERT_TRUE(c.connect(1));
  std::mt19937_64 random(ranks);
  for (step_t step = 1; step <= 6; ++step) {
    ASSERT_TRUE(c.load(random_placement(shape, c.seats(), 8, step % 2 == 0 ? 6 : 0, step)));
    std::vector<std::vector<std::vector<float>>> hidden(ranks), expected(ranks);
    for (std::uint32_t r = 0; r < ranks; ++r) {
      const auto tokens = step == 3 && r != 0 ? 0u : static_cast<std::uint32_t>(random() % 9);
      hidden[r].push_back(make_hidden(shape, tokens, random()));
      expected[r].push_back(reference(model, hidden[r][0]));
    }
    for (const auto& s : c.step(step, hidden)) ASSERT_TRUE(s) << s.error().text;
    for (std::uint32_t r = 0; r < ranks; ++r)
      EXPECT_TRUE(same_bits(hidden[r][0], expected[r][0])) << "rank " << r << " step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(ranks, placement_invariance,
                         ::testing::Values(layout{1, "inproc"}, layout{2, "inproc"}, layout{3, "inproc"},
                                           layout{5, "inproc"}, layout{2, "ipc"}, layout{5, "ipc"}, layout{3, "tcp"},
                                           layout{5, "tcp"}),
                         [](const auto& i) { return i.param.transport + std::to_string(i.param.ranks); });

using batches = std::vector<std::vector<std::vector<float>>>;

batches make_batches(const moe_shape& shape, std::uint32_t ranks, std::uint32_t tokens, std::uint64_t seed) {
  batches all(ranks);
  for (std::uint32_t r = 0; r < ranks; ++r) all[r].push_back(make_hidden(shape, tokens, seed * 100 + r));
  return all;
}

struct steps : ::testing::Test {
  moe_shape shape = small_shape();
  model_data model = make_model(shape, 3);
  cluster c{model, {.ranks = 3}};
  placement table = random_placement(shape, c.seats(), 8, 4, 9);
  void SetUp() override {
    ASSERT_TRUE(c.connect(1));
    ASSERT_TRUE(c.load(table));
  }
  // Seat (as rank) and slot of some replica of (layer, expert).
  std::pair<std::uint32_t, std::uint32_t> place_of(std::uint32_t layer, std::uint32_t expert) {
    const auto& r = table.layers[layer][expert][0];
    return {(index_of(r.seat) - 10) / 3, r.slot};
  }
};

TEST_F(steps, tokens_are_counted_where_they_were_computed) {
  auto hidden = make_batches(shape, 3, 16, 1);
  for (step_t step = 1; step <= 4; ++step)
    for (const auto& s : c.step(step, hidden)) ASSERT_TRUE(s);
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
    std::uint64_t total = 0;
    for (std::uint32_t r = 0; r < 3; ++r) {
      const auto& slots = c.counts(r).tokens.at(layer);
      total = std::accumulate(slots.begin(), slots.end(), total);
      for (std::uint32_t slot = 0; slot < slots.size(); ++slot)
        if (!c.at(r).slots(0).at(layer, slot).used) {
          EXPECT_EQ(slots[slot], 0u);
        }
    }
    EXPECT_EQ(total, 4u * 3 * 16 * shape.top_k);
  }
}

TEST_F(steps, a_slot_that_holds_another_expert_is_corrupt_and_computes_nothing) {
  const auto [rank, slot] = place_of(0, 5);
  auto& slots = c.at(rank).slots(0);
  const auto held = slots.at(0, slot);
  slots.set(0, slot, held.page, 6);  // named for another expert
  auto hidden = make_batches(shape, 3, 40, 2);
  const auto before = hidden;
  const auto results = c.step(1, hidden);
  for (std::uint32_t r = 0; r < 3; ++r) {
    ASSERT_FALSE(results[r]);
    EXPECT_EQ(results[r].error().code, errc::corrupt);
    EXPECT_THAT(results[r].error().text,
                HasSubstr("expert 5 to slot " + std::to_string(slot) + ", which holds expert 6"));
    EXPECT_EQ(hidden[r], before[r]);
    if (r != rank) {
      EXPECT_THAT(results[r].error().text, HasSubstr("seat " + std::to_string(10 + 3 * rank) + " gave up"));
    }
  }
  for (const auto& layer : c.counts(rank).tokens) EXPECT_EQ(std::accumulate(layer.begin(), layer.end(), 0u), 0u);
}

TEST_F(steps, an_empty_slot_is_corrupt) {
  const auto [rank, slot] = place_of(1, 2);
  c.at(rank).slots(0).clear(1, slot);
  auto hidden = make_batches(shape, 3, 40, 2);
  for (const auto& s : c.step(1, hidden)) {
    ASSERT_FALSE(s);
    EXPECT_EQ(s.error().code, errc::corrupt);
    EXPECT_THAT(s.error().text, HasSubstr("which holds nothing"));
  }
}

TEST_F(steps, a_slot_whose_page_holds_another_expert_is_corrupt) {
  const auto [rank, slot] = place_of(0, 5);
  auto& pool = c.at(rank).pages(0);
  const auto page = pool.take().value();
  ASSERT_TRUE(pool.write(page, model.bundles[0][6]));
  ASSERT_TRUE(pool.seal(page, {0, 6}, std::nullopt));
  c.at(rank).slots(0).set(0, slot, page, 5);
  auto hidden = make_batches(shape, 3, 40, 2);
  for (const auto& s : c.step(1, hidden)) {
    ASSERT_FALSE(s);
    EXPECT_EQ(s.error().code, errc::corrupt);
  }
}

// Between waves ranks route by different tables for some steps; while both replicas are there, nobody can tell.
TEST_F(steps, ranks_may_route_by_different_tables) {
  auto& pool = c.at(2).pages(0);
  auto moved = table;
  moved.version += 1;
  auto& replicas = moved.layers[0][1];
  const auto free_slot = c.at(2).slots(0).entries_per_layer() - 1;
  const auto page = pool.take().value();
  ASSERT_TRUE(pool.write(page, model.bundles[0][1]));
  ASSERT_TRUE(pool.seal(page, {0, 1}, std::nullopt));
  c.at(2).slots(0).set(0, free_slot, page, 1);
  replicas = {{c.seats()[2], free_slot, 1.0}};
  const auto new_routing = c.at(0).make_routing(moved).value(), old_routing = c.at(0).make_routing(table).value();

  const auto hidden = make_batches(shape, 3, 12, 6);
  auto got = hidden;
  for (const auto& s : c.everywhere([&](std::uint32_t r) -> status {
         step_header mine{.step = 1, .ready_epoch = 0, .tokens = {12}, .versions = {}, .flags = 0};
         std::vector<step_header> all(3);
         if (auto ok = c.comm(r).exchange_headers(mine, all); !ok) return ok;
         return c.at(r).run_step(0, 1, got[r][0], r == 0 ? *new_routing : *old_routing, c.comm(r), c.counts(r));
       }))
    ASSERT_TRUE(s) << s.error().text;
  for (std::uint32_t r = 0; r < 3; ++r) EXPECT_TRUE(same_bits(got[r][0], reference(model, hidden[r][0])));
}

TEST_F(steps, a_table_that_names_a_seat_outside_the_communicator_is_refused) {
  auto stray = table;
  stray.layers[1][3].push_back({seat_id{999}, 0, 1.0});
  const auto routing = c.at(0).make_routing(stray).value();
  for (const auto& s : c.everywhere([&](std::uint32_t r) -> status {
         step_header mine{.step = 1, .ready_epoch = 0, .tokens = {}, .versions = {}, .flags = 0};
         std::vector<step_header> seen(3);
         if (auto ok = c.comm(r).exchange_headers(mine, seen); !ok) return ok;
         std::vector<float> rows;
         return c.at(r).run_step(0, 1, rows, *routing, c.comm(r), c.counts(r));
       })) {
    ASSERT_FALSE(s);
    EXPECT_THAT(s.error().text, HasSubstr("seat 999"));
  }
}

TEST_F(steps, batches_that_the_headers_did_not_announce_are_refused) {
  auto hidden = make_batches(shape, 3, 2, 6);
  const auto routing = c.at(0).make_routing(table).value();
  for (const auto& s : c.everywhere([&](std::uint32_t r) -> status {
         step_header mine{.step = 1, .ready_epoch = 0, .tokens = {7}, .versions = {}, .flags = 0};
         std::vector<step_header> seen(3);
         if (auto ok = c.comm(r).exchange_headers(mine, seen); !ok) return ok;
         return c.at(r).run_step(0, 1, hidden[r][0], *routing, c.comm(r), c.counts(r));
       })) {
    ASSERT_FALSE(s);
    EXPECT_EQ(s.error().code, errc::invalid_argument);
  }
}

TEST_F(steps, a_member_that_dies_in_a_step_is_named) {
  cluster d(model, {.ranks = 3, .timeout = std::chrono::milliseconds(200)});
  ASSERT_TRUE(d.connect(1));
  ASSERT_TRUE(d.load(table));
  auto hidden = make_batches(shape, 3, 8, 4);
  const auto results = d.everywhere([&](std::uint32_t r) -> status {
    if (r != 1) return d.step_rank(r, 1, hidden[r]);
    std::vector<step_header> seen(3);  // it says that it has tokens, and is gone
    step_header mine{.step = 1, .ready_epoch = 0, .tokens = {8}, .versions = {}, .flags = 0};
    return d.comm(r).exchange_headers(mine, seen);
  });
  for (const std::uint32_t r : {0u, 2u}) {
    ASSERT_FALSE(results[r]);
    EXPECT_EQ(results[r].error().code, errc::timed_out);
    EXPECT_THAT(results[r].error().text, HasSubstr("seat 13 "));
  }
}

TEST_F(steps, abort_ends_a_step_that_waits_for_a_member) {
  auto hidden = make_batches(shape, 3, 8, 4);
  const auto results = c.everywhere([&](std::uint32_t r) -> status {
    if (r == 0) return c.step_rank(r, 1, hidden[r]);
    std::vector<step_header> seen(3);
    step_header mine{.step = 1, .ready_epoch = 0, .tokens = {8}, .versions = {}, .flags = 0};
    auto ok = c.comm(r).exchange_headers(mine, seen);
    if (r == 1) c.comm(0).abort();
    return ok;
  });
  ASSERT_FALSE(results[0]);
  EXPECT_EQ(results[0].error().code, errc::aborted);
}

TEST(models, several_models_step_together_each_with_its_own_placement) {
  auto draft = small_shape(dtype::f8_e4m3);
  draft.layers = 1;
  draft.hidden = 32;
  draft.experts = 4;
  draft.top_k = 1;
  draft.score = scoring::sigmoid;
  draft.router_bias = true;
  const std::vector<model_data> models{make_model(small_shape(), 1), make_model(draft, 2)};
  cluster c(models, {.bind = "ipc:///tmp/bt", .ranks = 2});
  ASSERT_TRUE(c.connect(1));
  ASSERT_TRUE(c.load(random_placement(models[0].shape, c.seats(), 8, 2, 1, 0)));
  ASSERT_TRUE(c.load(random_placement(models[1].shape, c.seats(), 4, 1, 2, 1)));
  for (step_t step = 1; step <= 8; ++step) {
    batches hidden(2);
    for (std::uint32_t r = 0; r < 2; ++r)
      for (model_index m = 0; m < 2; ++m)
        hidden[r].push_back(
            make_hidden(models[m].shape, static_cast<std::uint32_t>((step + r * 2 + m) % 4), step * 10 + r));
    const auto before = hidden;
    for (const auto& s : c.step(step, hidden)) ASSERT_TRUE(s) << s.error().text;
    for (std::uint32_t r = 0; r < 2; ++r)
      for (model_index m = 0; m < 2; ++m)
        EXPECT_TRUE(same_bits(hidden[r][m], reference(models[m], before[r][m]))) << "step " << step << " model " << m;
  }
}

TEST(epochs, a_standby_is_built_beside_the_active_one_and_then_stepped_on) {
  const auto shape = small_shape();
  const auto model = make_model(shape, 3);
  cluster c(model, {.ranks = 2});
  ASSERT_TRUE(c.connect(1));
  ASSERT_TRUE(c.load(random_placement(shape, c.seats(), 8, 2, 1)));
  const auto addresses = c.contributions(2);
  const std::vector<communicator_builder::member> members{{c.seats()[0], addresses[0]}, {c.seats()[1], addresses[1]}};
  std::unique_ptr<communicator> standby[2];
  std::vector<std::thread> builders;
  for (std::uint32_t r = 0; r < 2; ++r)
    builders.emplace_back([&, r] {
      auto made = c.at(r).builder().connect(2, c.seats()[r], members, std::chrono::seconds(20));
      if (made) standby[r] = std::move(*made);
    });
  auto hidden = make_batches(shape, 2, 4, 1);
  for (step_t step = 1; step <= 20; ++step)
    for (const auto& s : c.step(step, hidden)) EXPECT_TRUE(s);
  for (auto& b : builders) b.join();
  ASSERT_TRUE(standby[0] && standby[1]);
  for (step_t step = 21; step <= 24; ++step)
    for (const auto& s : c.everywhere([&](std::uint32_t r) -> status {
           std::vector<step_header> seen(2);
           step_header mine{.step = step, .ready_epoch = 0, .tokens = {}, .versions = {}, .flags = 0};
           return standby[r]->exchange_headers(mine, seen);
         }))
      EXPECT_TRUE(s);
}

}  // namespace
}  // namespace ballast::gpu::test
