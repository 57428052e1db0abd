// What rebalancing and switching cost a running decode step on two GPUs: a quarter of all slots changes places while
// both ranks step, paced and not; standby communicators are built beside the steps and switched to.
#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>

#include "tests/gpu/cuda_rebalance.hpp"

namespace ballast::gpu::bench {
namespace {

constexpr std::uint32_t tokens = 64, slots_per_layer = 72, warm_steps = 20, quiet_steps = 300, for_ever = 1u << 30;

bool good(const status& s, const char* what) {
  if (!s) fmt::print(stderr, "{}: {}\n", what, s.error().text);
  return s.has_value();
}

struct live {
  std::unique_ptr<rig> ranks;
  placement table;
  free_slots free;
};

struct setting {
  std::uint64_t gbps = 0;  // 0: unpaced
  std::uint32_t spare_layers = 8;
  bool verify = true;
  std::uint32_t piece_kib = 12 << 10;  // of a paced copy
  bool rhythm = true;                  // paced copies go when they disturb steps least
};

result<live> make_live(const setting& how) {
  const auto spare = how.spare_layers * rebalance_options{}.per_layer;
  rig_options o;
  o.slots_per_layer = slots_per_layer;
  o.spare_pages = spare;
  o.pull_bytes_per_s = how.gbps * 1'000'000'000;
  o.verify_pages = how.verify;
  o.pull_piece_bytes = std::uint64_t{how.piece_kib} << 10;
  o.pull_by_rhythm = how.rhythm;
  live l;
  auto made = rig::make(o);
  if (!made) return fail(made.error());
  l.ranks = std::move(*made);
  l.table = l.ranks->even_placement(2 * slots_per_layer - o.shape.experts);
  if (auto ok = l.ranks->load(l.table); !ok) return fail(ok.error());
  if (auto ok = l.ranks->connect(1); !ok) return fail(ok.error());
  l.free.assign(2, std::vector<std::vector<std::uint32_t>>(o.shape.layers));
  for (auto& rank : l.free)
    for (auto& layer : rank)
      for (auto s = slots_per_layer; s < slots_per_layer + spare; ++s) layer.push_back(s);
  return l;
}

status verify_pages(live& l) {
  for (std::uint32_t layer = 0; layer < l.table.layers.size(); ++layer)
    for (std::uint32_t e = 0; e < l.table.layers[layer].size(); ++e)
      for (const auto& replica : l.table.layers[layer][e]) {
        auto& device = l.ranks->at(index_of(replica.seat));
        const auto held = device.slots(0).at(layer, replica.slot);
        if (!held.used || held.expert != e)
          return fail(errc::corrupt, fmt::format("layer {} expert {} is not in its slot", layer, e));
        if (auto ok = device.pages(0).verify(held.page); !ok) return ok;
      }
  return {};
}

bool idle_rebalance(live& l, rebalance_options how) {
  rebalance moving(*l.ranks, l.table, l.free, how);
  moving.start();
  moving.settle();
  if (!good(moving.outcome(), "idle rebalance") || !good(verify_pages(l), "idle rebalance")) return false;
  const auto gb = static_cast<double>(moving.bytes()) / 1e9;
  fmt::print("rebalance idle spare_layers={} ms={:.1f} GB_per_direction={:.2f} GBps={:.1f}\n",
             how.wave_layers * how.waves_in_flight, moving.milliseconds(), gb, gb / moving.milliseconds() * 1000);
  return true;
}

result<std::vector<double>> quiet_run(live& l, std::uint32_t steps) {
  if (const auto warm = l.ranks->run(warm_steps, tokens); !warm) return fail(warm.error());
  return l.ranks->run(steps, tokens);
}

void print_live(const setting& asked, const rebalance& moving, const std::vector<double>& quiet,
                const std::vector<double>& during) {
  const auto mean = [](const std::vector<double>& of) {
    return std::accumulate(of.begin(), of.end(), 0.0) / static_cast<double>(of.size());
  };
  const auto gb = static_cast<double>(moving.bytes()) / 1e9;
  const auto growth = (mean(during) - mean(quiet)) * static_cast<double>(during.size());
  fmt::print("rebalance live gbps={} spare_layers={} verify={} piece_kib={} rhythm={} ", asked.gbps, asked.spare_layers,
             asked.verify, asked.piece_kib, asked.rhythm);
  fmt::print("ms={:.1f} GB_per_direction={:.2f} steps={} ", moving.milliseconds(), gb, during.size());
  fmt::print("quiet_p50={:.3f} quiet_p99={:.3f} during_p50={:.3f} during_p99={:.3f} ", percentile(quiet, 0.5),
             percentile(quiet, 0.99), percentile(during, 0.5), percentile(during, 0.99));
  fmt::print("p99_ratio={:.3f} growth_ms_per_GB={:.2f}\n", percentile(during, 0.99) / percentile(quiet, 0.99),
             growth / gb);
}

// Quiet steps: half of them before the rebalance and half after it, as a placement's own steps differ by some percent
// from another's.
bool live_rebalance(live& l, const setting& asked, rebalance_options how) {
  auto quiet = quiet_run(l, quiet_steps / 2);
  if (!quiet) return good(fail(quiet.error()), "quiet steps");
  rebalance moving(*l.ranks, l.table, l.free, how);
  moving.start();
  const auto ran = l.ranks->run(
      for_ever, tokens, [&](std::uint32_t r, std::uint32_t step) { return moving.at_boundary(r, step); },
      [&] { return moving.finished(); });
  if (!ran) return good(fail(ran.error()), "steps during a rebalance");
  if (!good(moving.outcome(), "live rebalance") || !good(verify_pages(l), "live rebalance")) return false;
  const auto after = quiet_run(l, quiet_steps / 2);
  if (!after) return good(fail(after.error()), "quiet steps");
  quiet->insert(quiet->end(), after->begin(), after->end());
  print_live(asked, moving, *quiet, *ran);
  return true;
}

bool switches(live& l, std::uint32_t times) {
  std::vector<double> pauses, building, build_ms;
  const auto quiet = quiet_run(l, quiet_steps);
  if (!quiet) return good(fail(quiet.error()), "quiet steps");
  std::vector<std::unique_ptr<communicator>> standby, old(2);
  for (std::uint32_t i = 0; i < times; ++i) {
    std::atomic<bool> built{false};
    status outcome;
    std::thread builder([&] {
      for (auto& gone : old) gone.reset();
      const auto begun = bench_clock::now();
      outcome = l.ranks->connect(2 + i, standby);
      build_ms.push_back(milliseconds_since(begun));
      built = true;
    });
    const auto during = l.ranks->run(for_ever, tokens, {}, [&] { return built.load(); });
    builder.join();
    if (!during || !good(outcome, "standby")) return false;
    building.insert(building.end(), during->begin(), during->end());
    constexpr std::uint32_t agreed = 4;
    auto around = l.ranks->run(8, tokens, [&](std::uint32_t r, std::uint32_t step) -> status {
      if (step == agreed) old[r] = l.ranks->exchange_comm(r, std::move(standby[r]));
      return {};
    });
    if (!around) return good(fail(around.error()), "steps around a switch");
    const auto first_on_new = (*around)[agreed];
    around->erase(around->begin() + agreed);
    pauses.push_back((first_on_new - percentile(*around, 0.5)) * 1000);
  }
  const auto usual = percentile(*quiet, 0.5);
  fmt::print(
      "switch times={} quiet_p50={:.3f} building_p50={:.3f} ratio={:.3f} building_max={:.3f} build_ms_p50={:.1f} "
      "pause_us_p50={:.0f} pause_us_max={:.0f}\n",
      times, usual, percentile(building, 0.5), percentile(building, 0.5) / usual, percentile(building, 1.0),
      percentile(build_ms, 0.5), percentile(pauses, 0.5), percentile(pauses, 1.0));
  return true;
}

bool measure(const setting& how) {
  auto l = make_live(how);
  if (!l) return good(fail(l.error()), "rig");
  rebalance_options waves;
  waves.waves_in_flight = std::min(8u, how.spare_layers / 2);  // a rank holds few tables at once
  waves.wave_layers = how.spare_layers / waves.waves_in_flight;
  for (int repeat = 0; how.gbps == 0 && repeat < 3; ++repeat)
    if (!idle_rebalance(*l, waves)) return false;
  for (int repeat = 0; repeat < 5; ++repeat)
    if (!live_rebalance(*l, how, waves)) return false;
  if (how.gbps == 0 && !switches(*l, 20)) return false;
  std::fflush(stdout);
  return true;
}

}  // namespace
}  // namespace ballast::gpu::bench

// cuda_live_bench [GBPS SPARE_LAYERS VERIFY PIECE_KIB RHYTHM]…: GBPS 0 is unpaced, VERIFY and RHYTHM 0 or 1.
int main(int argc, char** argv) {
  constexpr int words = 5;
  if ((argc - 1) % words != 0) {
    fmt::print(stderr, "usage: cuda_live_bench [GBPS SPARE_LAYERS VERIFY PIECE_KIB RHYTHM]...\n");
    return 2;
  }
  const auto number = [&](int i) { return static_cast<std::uint32_t>(std::strtoul(argv[i], nullptr, 10)); };
  std::vector<ballast::gpu::bench::setting> all;
  for (int i = 1; i < argc; i += words)
    all.push_back({number(i), number(i + 1), number(i + 2) != 0, number(i + 3), number(i + 4) != 0});
  if (all.empty()) all = {{0, 8}, {0, 48}, {100, 48}, {50, 48}};
  for (const auto& how : all)
    if (how.spare_layers < 2 || how.piece_kib == 0 || !ballast::gpu::bench::measure(how)) return 1;
  return 0;
}
