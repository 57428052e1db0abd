// What an update of shares costs the coordinator, at the size of DeepSeek-V3 on 32 ranks: 58 layers of 256 experts and
// 32 spare replicas.
#include <benchmark/benchmark.h>

#include <random>

#include "coordinator/cluster_rows.hpp"
#include "coordinator/plans.hpp"
#include "messages/codec.hpp"

namespace {

using namespace ballast;
using namespace ballast::cluster;

plan_request update() {
  plan_request r;
  r.id = 1;
  r.kind = plan_kind::shares;
  r.policy = "economy";
  r.solve_shares = true;
  plan_task t;
  t.problem.layers = 58;
  t.problem.experts = 256;
  t.problem.redundant = 32;
  std::mt19937_64 random(1);
  std::gamma_distribution<double> load(0.7, 1000);
  t.problem.loads.assign(58, std::vector<double>(256));
  for (auto& layer : t.problem.loads)
    for (auto& n : layer) n = load(random);
  for (std::uint32_t s = 0; s < 32; ++s) t.problem.seats.push_back({seat_id{s}, s / 8, 1.0, {9, 16}});
  t.problem.current = *policies::place("deepseek", t.problem);
  for (auto& layer : t.problem.loads)
    for (auto& n : layer) n = 0.8 * n + 0.2 * load(random);
  t.everyone = t.problem.seats;
  r.tasks.push_back(t);
  return r;
}

void copy_the_request(benchmark::State& state) {
  const auto asked = update();
  for (auto _ : state) benchmark::DoNotOptimize(plan_request(asked));
}
void solve(benchmark::State& state) {
  const auto asked = update();
  for (auto _ : state) benchmark::DoNotOptimize(make_plan(asked));
}
void check(benchmark::State& state) {
  const auto asked = update();
  const auto made = *make_plan(asked);
  for (auto _ : state) benchmark::DoNotOptimize(check_plan(asked, made));
}
void encode_one_seats_table(benchmark::State& state) {
  const auto made = *make_plan(update());
  const envelope message{1, "coordinator", seat_command{seat_id{1}, 1, 1, 1, command::publish{made.models[0].target}}};
  std::size_t bytes = 0;
  for (auto _ : state) benchmark::DoNotOptimize(bytes = encode(message).size());
  state.counters["bytes"] = static_cast<double>(bytes);
}
void decode_one_seats_table(benchmark::State& state) {
  const auto made = *make_plan(update());
  const auto frame =
      encode(envelope{1, "coordinator", seat_command{seat_id{1}, 1, 1, 1, command::publish{made.models[0].target}}});
  for (auto _ : state) benchmark::DoNotOptimize(decode(frame));
}

// A state in the midst of publishing such an update to every rank.
cluster_state publishing(const plan& made) {
  cluster_state s{coordinator_config{}};
  s.models.emplace_back(model_description{"m", "f", 58, 256, 1, 1, 1}, 1000);
  auto& m = s.models.front();
  m.current = made.models.front().table;
  m.publishing = made.models.front().target;
  s.agents["a"];
  auto& op = s.running.emplace();
  op.made = made;
  for (std::uint32_t n = 0; n < 32; ++n) {
    auto& r = s.seats.emplace_back();
    r.id = seat_id{n};
    r.agent = "a";
    op.now.awaited.push_back({r.id, 1, 0, 0, command::publish{*m.publishing}});
  }
  return s;
}
void save_the_beginning_of_an_update(benchmark::State& state) {
  const auto made = *make_plan(update());
  const auto s = publishing(made);
  auto before = s;
  before.running.reset();
  before.models.front().publishing.reset();
  for (auto _ : state) {
    state.PauseTiming();
    state_saver saver;
    benchmark::DoNotOptimize(saver.changes(before));
    state.ResumeTiming();
    benchmark::DoNotOptimize(saver.changes(s));
  }
}
void save_where_nothing_changed(benchmark::State& state) {
  const auto s = publishing(*make_plan(update()));
  state_saver saver;
  benchmark::DoNotOptimize(saver.changes(s));
  for (auto _ : state) benchmark::DoNotOptimize(saver.changes(s));
}

BENCHMARK(save_the_beginning_of_an_update)->Unit(benchmark::kMillisecond);
BENCHMARK(save_where_nothing_changed)->Unit(benchmark::kMillisecond);
BENCHMARK(copy_the_request)->Unit(benchmark::kMillisecond);
BENCHMARK(solve)->Unit(benchmark::kMillisecond);
BENCHMARK(check)->Unit(benchmark::kMillisecond);
BENCHMARK(encode_one_seats_table)->Unit(benchmark::kMillisecond);
BENCHMARK(decode_one_seats_table)->Unit(benchmark::kMillisecond);

}  // namespace
