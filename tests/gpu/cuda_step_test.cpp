// Steps of the cuda backend: close to the host's, and the same bits wherever the experts are.
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "gpu/cuda/cuda_backend.hpp"
#include "tests/gpu/cuda_step_shapes.hpp"
#include "tests/gpu/cuda_support.hpp"
#include "tests/gpu/support.hpp"

namespace ballast::gpu::test {
namespace {

using ::testing::HasSubstr;
using batches = std::vector<std::vector<std::vector<float>>>;

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// The largest over all tokens of |got - wanted| / |wanted| (Euclidean).
double relative_error(const std::vector<float>& got, const std::vector<float>& wanted, std::uint32_t width) {
  if (got.size() != wanted.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (std::size_t t = 0; t < got.size(); t += width) {
    double apart = 0, size = 0;
    for (std::size_t c = t; c < t + width; ++c) {
      apart += (double{got[c]} - wanted[c]) * (double{got[c]} - wanted[c]);
      size += double{wanted[c]} * wanted[c];
    }
    const auto error = std::sqrt(apart / size);
    if (!(error <= worst)) worst = error;  // not a number is the worst of all
  }
  return worst;
}

cluster::options on_gpu(std::uint32_t ranks, std::uint32_t slots = 0,
                        exchange_kind exchange = exchange_kind::automatic) {
  return {.bind = "inproc://test",
          .ranks = ranks,
          .slots_per_layer = slots,
          .spare_pages = 2,
          .timeout = std::chrono::milliseconds(5000),
          .make_backend = &cuda::make_cuda_backend,
          .max_batch_tokens = 100,
          .exchange = exchange};
}

class cuda_shapes : public ::testing::TestWithParam<named_shape> {};

// One layer at a time: over several, a token whose k-th and next expert score alike may be routed otherwise by a
// rounding.
TEST_P(cuda_shapes, answers_are_those_of_the_host_to_within_a_hundredth) {
  BALLAST_NEEDS_GPUS(1);
  auto shape = GetParam().shape;
  shape.layers = 1;
  const auto model = make_model(shape, 5);
  cluster c(model, on_gpu(1));
  ASSERT_TRUE(c.connect(1));
  const auto loaded = c.load(random_placement(shape, c.seats(), shape.experts, 0, 1));
  ASSERT_TRUE(loaded) << loaded.error().text;
  for (step_t step = 1; step <= 6; ++step) {
    const std::uint32_t tokens[] = {1, 7, 16, 33, 64, 100};
    batches hidden{{make_hidden(shape, tokens[step - 1], step)}};
    const auto wanted = reference(model, hidden[0][0]);
    for (const auto& s : c.step(step, hidden)) ASSERT_TRUE(s) << s.error().text;
    EXPECT_LT(relative_error(hidden[0][0], wanted, shape.hidden), 1e-2) << tokens[step - 1] << " tokens";
  }
}

// The answers of one rank that holds everything, token by token.
std::vector<float> alone(cluster& one, const moe_shape& shape, step_t step, const std::vector<float>& hidden) {
  std::vector<float> all;
  for (std::size_t at = 0; at < hidden.size(); at += shape.hidden) {
    batches row{{std::vector<float>(hidden.begin() + static_cast<std::ptrdiff_t>(at),
                                    hidden.begin() + static_cast<std::ptrdiff_t>(at + shape.hidden))}};
    for (const auto& s : one.step(step++, row)) EXPECT_TRUE(s) << s.error().text;
    all.insert(all.end(), row[0][0].begin(), row[0][0].end());
  }
  return all;
}

// Of any number of ranks, whatever way tokens take between them.
void expect_the_bits_of_one_rank(const moe_shape& shape, const std::vector<std::uint32_t>& sizes,
                                 exchange_kind exchange) {
  const auto model = make_model(shape, 1);
  cluster one(model, on_gpu(1));
  ASSERT_TRUE(one.connect(1));
  ASSERT_TRUE(one.load(random_placement(shape, one.seats(), shape.experts, 0, 1)));
  step_t step_alone = 1;
  for (const auto ranks : sizes) {
    cluster c(model, on_gpu(ranks, 16, exchange));
    const auto connected = c.connect(ranks);
    ASSERT_TRUE(connected) << connected.error().text;
    std::mt19937_64 random(ranks);
    for (step_t step = 1; step <= 4; ++step) {
      ASSERT_TRUE(c.load(random_placement(shape, c.seats(), 16, step % 2 == 0 ? 10 : 0, step)));
      batches hidden(ranks);
      for (std::uint32_t r = 0; r < ranks; ++r)
        hidden[r].push_back(make_hidden(shape, step == 3 && r != 0 ? 0 : random() % (step == 4 ? 90 : 20), random()));
      const auto before = hidden;
      for (const auto& s : c.step(step, hidden)) ASSERT_TRUE(s) << s.error().text;
      for (std::uint32_t r = 0; r < ranks; ++r) {
        EXPECT_TRUE(same_bits(hidden[r][0], alone(one, shape, step_alone, before[r][0])))
            << ranks << " ranks, rank " << r;
        step_alone += before[r][0].size() / shape.hidden;
      }
    }
  }
}

TEST_P(cuda_shapes, any_placement_and_batch_gives_the_bits_of_one_rank_and_one_token) {
  BALLAST_NEEDS_GPUS(1);
  expect_the_bits_of_one_rank(GetParam().shape, {2, 3, 5}, exchange_kind::automatic);
}

TEST_P(cuda_shapes, tokens_that_travel_by_nccl_come_back_with_the_same_bits) {
  BALLAST_NEEDS_NCCL(2);
  std::vector<std::uint32_t> sizes{2};
  for (std::uint32_t more = 3; more <= 4 && lacking_gpus(static_cast<int>(more)).empty(); ++more) sizes.push_back(more);
  expect_the_bits_of_one_rank(GetParam().shape, sizes, exchange_kind::nccl);
}

// Slots with many tokens are multiplied another way, out of shared memory: nobody can tell.
TEST(cuda_wide, large_batches_give_the_bits_of_one_token) {
  BALLAST_NEEDS_GPUS(1);
  auto shape = wide_shape();
  shape.intermediate = 192;
  const auto model = make_model(shape, 1);
  auto options = on_gpu(2, 16);
  options.max_batch_tokens = 700;
  cluster one(model, on_gpu(1)), c(model, options);
  ASSERT_TRUE(one.connect(1));
  ASSERT_TRUE(one.load(random_placement(shape, one.seats(), shape.experts, 0, 1)));
  ASSERT_TRUE(c.connect(1));
  ASSERT_TRUE(c.load(random_placement(shape, c.seats(), 16, 6, 2)));
  step_t step_alone = 1;
  for (step_t step = 1; step <= 3; ++step) {
    batches hidden(2);
    hidden[0].push_back(make_hidden(shape, step == 2 ? 3 : 650, step));
    hidden[1].push_back(make_hidden(shape, step == 3 ? 0 : 400, step + 10));
    const auto before = hidden;
    for (const auto& s : c.step(step, hidden)) ASSERT_TRUE(s) << s.error().text;
    for (std::uint32_t r = 0; r < 2; ++r) {
      EXPECT_TRUE(same_bits(hidden[r][0], alone(one, shape, step_alone, before[r][0]))) << "rank " << r;
      step_alone += before[r][0].size() / shape.hidden;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(all, cuda_shapes, ::testing::ValuesIn(shapes()), [](const auto& i) { return i.param.name; });

struct named_exchange {
  const char* name;
  exchange_kind kind;
};
void PrintTo(const named_exchange& e, std::ostream* out) { *out << e.name; }

struct cuda_steps : ::testing::TestWithParam<named_exchange> {
  // NCCL takes one rank a GPU.
  std::uint32_t ranks = GetParam().kind == exchange_kind::nccl && !lacking_gpus(3).empty() ? 2 : 3;
  moe_shape shape = wide_shape();
  model_data model = make_model(shape, 3);
  std::unique_ptr<cluster> c;
  placement table;
  void SetUp() override {
    const auto lacking = GetParam().kind == exchange_kind::nccl ? lacking_nccl(2) : lacking_gpus(1);
    if (!lacking.empty()) GTEST_SKIP() << lacking;
    c = std::make_unique<cluster>(model, on_gpu(ranks, 16, GetParam().kind));
    table = random_placement(shape, c->seats(), 16, 8, 9);
    const auto connected = c->connect(1);
    ASSERT_TRUE(connected) << connected.error().text;
    ASSERT_TRUE(c->load(table));
  }
  batches make(std::uint32_t tokens, std::uint64_t seed) const {
    batches all(ranks);
    for (std::uint32_t r = 0; r < ranks; ++r) all[r].push_back(make_hidden(shape, tokens, seed * 100 + r));
    return all;
  }
  std::pair<std::uint32_t, std::uint32_t> place_of(std::uint32_t layer, std::uint32_t expert) const {
    const auto& r = table.layers[layer][expert][0];
    return {(index_of(r.seat) - 10) / 3, r.slot};
  }
};

TEST_P(cuda_steps, tokens_are_counted_where_they_were_computed) {
  auto hidden = make(16, 1);
  for (step_t step = 1; step <= 4; ++step)
    for (const auto& s : c->step(step, hidden)) ASSERT_TRUE(s) << s.error().text;
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
    std::uint64_t total = 0;
    for (std::uint32_t r = 0; r < ranks; ++r) {
      const auto& slots = c->counts(r).tokens.at(layer);
      total = std::accumulate(slots.begin(), slots.end(), total);
      for (std::uint32_t slot = 0; slot < slots.size(); ++slot)
        if (!c->at(r).slots(0).at(layer, slot).used) {
          EXPECT_EQ(slots[slot], 0u);
        }
    }
    EXPECT_EQ(total, 4u * ranks * 16 * shape.top_k);
  }
}

TEST_P(cuda_steps, a_slot_that_holds_another_expert_is_corrupt_for_every_rank) {
  const auto [rank, slot] = place_of(1, 5);
  auto& slots = c->at(rank).slots(0);
  const auto other = place_of(1, 6);
  if (other.first != rank) {
    auto& pool = c->at(rank).pages(0);
    const auto page = pool.take().value();
    ASSERT_TRUE(pool.write(page, model.bundles[1][6]));
    ASSERT_TRUE(pool.seal(page, {1, 6}, std::nullopt));
    slots.set(1, slot, page, 6);
  } else {
    slots.set(1, slot, slots.at(1, other.second).page, 6);
  }
  auto hidden = make(40, 2);
  const auto before = hidden;
  const auto results = c->step(1, hidden);
  for (std::uint32_t r = 0; r < ranks; ++r) {
    ASSERT_FALSE(results[r]);
    EXPECT_EQ(results[r].error().code, errc::corrupt) << results[r].error().text;
    EXPECT_THAT(results[r].error().text,
                HasSubstr("expert 5 to slot " + std::to_string(slot) + ", which holds expert 6"));
    EXPECT_EQ(hidden[r], before[r]);
  }
}

TEST_P(cuda_steps, an_empty_slot_is_corrupt) {
  const auto [rank, slot] = place_of(1, 2);
  c->at(rank).slots(0).clear(1, slot);
  auto hidden = make(40, 2);
  for (const auto& s : c->step(1, hidden)) {
    ASSERT_FALSE(s);
    EXPECT_EQ(s.error().code, errc::corrupt);
    EXPECT_THAT(s.error().text, HasSubstr("which holds nothing"));
  }
}

// What is left of the faulty rank's step may stand in the GPU's queues behind kernels that wait for its answers: told
// only at its end, one such fault in 15 came out as a time-out of the others.
TEST_P(cuda_steps, members_that_share_a_gpu_learn_of_a_fault_at_once) {
  const auto [rank, slot] = place_of(1, 2);
  for (std::uint32_t round = 0; round < 20; ++round) {
    if (round > 0) SetUp();
    c->at(rank).slots(0).clear(1, slot);
    auto hidden = make(40, round);
    for (const auto& s : c->step(1, hidden)) {
      ASSERT_FALSE(s);
      ASSERT_EQ(s.error().code, errc::corrupt) << "round " << round << ": " << s.error().text;
    }
  }
}

TEST_P(cuda_steps, a_slot_whose_page_holds_another_expert_is_corrupt) {
  const auto [rank, slot] = place_of(0, 5);
  auto& pool = c->at(rank).pages(0);
  const auto page = pool.take().value();
  ASSERT_TRUE(pool.write(page, model.bundles[0][6]));
  ASSERT_TRUE(pool.seal(page, {0, 6}, std::nullopt));
  c->at(rank).slots(0).set(0, slot, page, 5);
  auto hidden = make(40, 2);
  for (const auto& s : c->step(1, hidden)) {
    ASSERT_FALSE(s);
    EXPECT_EQ(s.error().code, errc::corrupt);
  }
}

TEST_P(cuda_steps, a_member_that_stays_away_from_a_step_is_not_waited_for_for_ever) {
  auto options = on_gpu(ranks, 16, GetParam().kind);
  options.timeout = std::chrono::milliseconds(200);
  cluster d(model, options);
  ASSERT_TRUE(d.connect(1));
  ASSERT_TRUE(d.load(table));
  auto hidden = make(8, 4);
  const auto results = d.everywhere([&](std::uint32_t r) -> status {
    if (r != 1) return d.step_rank(r, 1, hidden[r]);
    std::vector<step_header> seen(ranks);  // it says that it has tokens, and is gone
    step_header mine{.step = 1, .ready_epoch = 0, .tokens = {8}, .versions = {}, .flags = 0};
    return d.comm(r).exchange_headers(mine, seen);
  });
  for (std::uint32_t r = 0; r < ranks; ++r) {
    if (r == 1) continue;
    ASSERT_FALSE(results[r]);
    EXPECT_EQ(results[r].error().code, errc::timed_out) << results[r].error().text;
  }
}

TEST_P(cuda_steps, abort_ends_a_step_that_waits_for_a_member_and_a_new_epoch_steps_on) {
  auto hidden = make(8, 4);
  const auto before = hidden;
  const auto results = c->everywhere([&](std::uint32_t r) -> status {
    if (r == 0) return c->step_rank(r, 1, hidden[r]);
    std::vector<step_header> seen(ranks);
    step_header mine{.step = 1, .ready_epoch = 0, .tokens = {8}, .versions = {}, .flags = 0};
    auto ok = c->comm(r).exchange_headers(mine, seen);
    if (r == 1) c->comm(0).abort();
    return ok;
  });
  ASSERT_FALSE(results[0]);
  EXPECT_EQ(results[0].error().code, errc::aborted);
  EXPECT_EQ(hidden, before);
  const auto connected = c->connect(2);
  ASSERT_TRUE(connected) << connected.error().text;
  for (const auto& s : c->step(2, hidden)) EXPECT_TRUE(s) << s.error().text;
}

TEST_P(cuda_steps, epochs_follow_each_other_in_three_lanes) {
  auto hidden = make(8, 4);
  for (epoch_t epoch = 2; epoch < 12; ++epoch) {
    const auto connected = c->connect(epoch);
    ASSERT_TRUE(connected) << connected.error().text;
    for (const auto& s : c->step(epoch, hidden)) ASSERT_TRUE(s) << s.error().text;
  }
}

// Whatever allocates, frees or synchronises beside steps would wait for the waiting rank, and this one's step for that.
TEST_P(cuda_steps, communicators_come_and_go_while_other_ranks_wait_for_this_one_in_a_step) {
  auto hidden = make(8, 4);
  const auto results = c->everywhere([&](std::uint32_t r) -> status {
    if (r != 1) return c->step_rank(r, 1, hidden[r]);
    std::vector<step_header> seen(ranks);
    const step_header mine{.step = 1, .ready_epoch = 0, .tokens = {8}, .versions = {}, .flags = 0};
    if (auto ok = c->comm(r).exchange_headers(mine, seen); !ok) return ok;
    for (epoch_t epoch = 2; epoch < 200; ++epoch) {  // the others' kernels start to wait meanwhile
      auto& builder = c->at(r).builder();
      if (auto opened = builder.open(epoch); !opened) return fail(opened.error());
      builder.cancel(epoch);
    }
    return c->step_model(r, 1, hidden[r]);
  });
  for (const auto& s : results) EXPECT_TRUE(s) << s.error().text;
}

// The largest batch decides how much travels, whoever has it.
TEST_P(cuda_steps, batches_of_every_size_meet_in_one_step) {
  cluster one(model, on_gpu(1));
  ASSERT_TRUE(one.connect(1));
  ASSERT_TRUE(one.load(random_placement(shape, one.seats(), 16, 0, 1)));
  for (const auto& [few, many] : {std::pair{0u, 100u}, {1u, 16u}, {17u, 64u}, {100u, 3u}}) {
    auto hidden = make(few, 7);
    hidden[ranks - 1][0] = make_hidden(shape, many, 8);
    const auto before = hidden;
    for (const auto& s : c->step(few + 1, hidden)) ASSERT_TRUE(s) << s.error().text;
    for (std::uint32_t r = 0; r < ranks; ++r) {
      batches same{before[r]};
      for (const auto& s : one.step(few * 10 + r + 1, same)) ASSERT_TRUE(s) << s.error().text;
      EXPECT_TRUE(same_bits(hidden[r][0], same[0][0])) << few << " and " << many << " tokens, rank " << r;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(by, cuda_steps,
                         ::testing::Values(named_exchange{"peer", exchange_kind::peer},
                                           named_exchange{"nccl", exchange_kind::nccl}),
                         [](const auto& i) { return i.param.name; });

TEST(cuda_models, several_models_step_together) {
  BALLAST_NEEDS_GPUS(1);
  auto draft = wide_shape(dtype::f8_e4m3);
  draft.layers = 1;
  draft.hidden = 128;
  const std::vector<model_data> models{make_model(wide_shape(), 1), make_model(draft, 2)};
  cluster one(models, on_gpu(1)), c(models, on_gpu(2));
  for (auto* each : {&one, &c}) {
    ASSERT_TRUE(each->connect(1));
    for (model_index m = 0; m < 2; ++m)
      ASSERT_TRUE(each->load(random_placement(models[m].shape, each->seats(), 16, each == &c ? 4 : 0, 1, m)));
  }
  for (step_t step = 1; step <= 8; ++step) {
    batches hidden(2);
    for (std::uint32_t r = 0; r < 2; ++r)
      for (model_index m = 0; m < 2; ++m)
        hidden[r].push_back(
            make_hidden(models[m].shape, static_cast<std::uint32_t>((step + r * 2 + m) % 4), step * 10 + r));
    const auto before = hidden;
    for (const auto& s : c.step(step, hidden)) ASSERT_TRUE(s) << s.error().text;
    for (std::uint32_t r = 0; r < 2; ++r) {
      batches same{before[r]};
      for (const auto& s : one.step(step * 2 + r, same)) ASSERT_TRUE(s) << s.error().text;
      for (model_index m = 0; m < 2; ++m) EXPECT_TRUE(same_bits(hidden[r][m], same[0][m])) << "step " << step;
    }
  }
}

}  // namespace
}  // namespace ballast::gpu::test
