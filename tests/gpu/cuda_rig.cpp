#include "tests/gpu/cuda_rig.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <random>
#include <thread>

#include "gpu/cuda/cuda_backend.hpp"

namespace ballast::gpu::bench {
namespace {

constexpr std::uint32_t distinct_bundles = 16;

void put_bf16(std::byte* at, float v) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &v, sizeof bits);
  const auto half = static_cast<std::uint16_t>(bits >> 16);
  std::memcpy(at, &half, sizeof half);
}

// Uniform in [-1, 1), cheap: gigabytes of it are needed.
struct noise {
  std::uint64_t state;
  float next() noexcept {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<float>(static_cast<std::int32_t>(state >> 32)) * 0x1p-31f;
  }
};

}  // namespace

moe_shape qwen3_30b() {
  moe_shape s;
  s.layers = 48;
  s.experts = 128;
  s.top_k = 8;
  s.hidden = 2048;
  s.intermediate = 768;
  return s;
}

double percentile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(std::ceil(p * static_cast<double>(values.size()))) - (p > 0 ? 1 : 0)];
}

std::vector<std::byte> rig::random_bundle(std::uint64_t seed) const {
  const auto layout = expert_layout(options_.shape);
  std::vector<std::byte> bundle(layout.bytes);
  noise random{seed};
  for (const auto& t : layout.tensors) {
    const auto spread = 1.0f / std::sqrt(static_cast<float>(t.cols));
    for (std::size_t i = 0; i < std::size_t{t.rows} * t.cols; ++i)
      put_bf16(bundle.data() + t.offset + 2 * i, random.next() * spread);
  }
  return bundle;
}

result<std::unique_ptr<rig>> rig::make(const rig_options& options) {
  std::unique_ptr<rig> made(new rig(options));
  made->backend_ = cuda::make_cuda_backend();
  device_options d;
  d.bind = "tcp://127.0.0.1:*";
  d.models = {options.shape};
  d.limits.models = {{options.slots_per_layer, options.spare_pages}};
  d.limits.max_batch_tokens = options.max_batch_tokens;
  d.limits.max_members = std::max(options.ranks, 2u);
  d.limits.pull_bytes_per_s = options.pull_bytes_per_s;
  d.limits.pull_piece_bytes = options.pull_piece_bytes;
  d.limits.pull_by_rhythm = options.pull_by_rhythm;
  d.limits.verify_pages = options.verify_pages;
  d.limits.count_loads = options.count_loads;
  const auto layout = dense_layout(options.shape);
  std::vector<std::byte> dense(layout.bytes * options.shape.layers);
  noise random{7};
  for (std::uint32_t l = 0; l < options.shape.layers; ++l)
    for (const auto& t : layout.tensors)
      for (std::size_t i = 0; i < t.bytes / sizeof(float); ++i) {
        const float v = t.name == "norm" ? 1.0f : random.next() * 2 / std::sqrt(static_cast<float>(t.cols));
        std::memcpy(dense.data() + l * layout.bytes + t.offset + i * sizeof v, &v, sizeof v);
      }
  for (std::uint32_t r = 0; r < options.ranks; ++r) {
    d.local_rank = options.gpus == 0 ? r : r % options.gpus;
    auto device = made->backend_->make_device(d);
    if (!device) return fail(device.error());
    made->devices_.push_back(std::move(*device));
    if (auto ok = made->devices_.back()->set_dense(0, dense); !ok) return fail(ok.error());
  }
  made->routing_.resize(options.ranks);
  made->counts_.resize(options.ranks);
  made->hidden_.resize(options.ranks);
  made->next_step_.assign(options.ranks, 1);
  return made;
}

placement rig::even_placement(std::uint32_t redundant) const {
  const auto& shape = options_.shape;
  placement made{0, 1, {}};
  for (std::uint32_t l = 0; l < shape.layers; ++l) {
    auto& experts = made.layers.emplace_back(shape.experts);
    std::vector<std::uint32_t> used(ranks(), 0);
    const auto add = [&](std::uint32_t e, std::uint32_t r) { experts[e].push_back({seat(r), used[r]++, 1.0}); };
    for (std::uint32_t e = 0; e < shape.experts; ++e) add(e, e * ranks() / shape.experts);
    for (std::uint32_t i = 0; ranks() > 1 && i < redundant; ++i) {
      const auto e = i % ranks() * (shape.experts / ranks()) + i / ranks();
      add(e, (e * ranks() / shape.experts + 1) % ranks());
      std::sort(experts[e].begin(), experts[e].end(), [](const auto& a, const auto& b) { return a.seat < b.seat; });
      for (auto& r : experts[e]) r.share = 1.0 / static_cast<double>(experts[e].size());
    }
  }
  return made;
}

status rig::load(const placement& table) {
  std::vector<std::vector<std::byte>> bundles;
  for (std::uint32_t i = 0; i < distinct_bundles; ++i) bundles.push_back(random_bundle(i + 1));
  return everywhere([&](std::uint32_t r) -> status {
    auto& pool = at(r).pages(0);
    for (std::uint32_t l = 0; l < table.layers.size(); ++l)
      for (std::uint32_t e = 0; e < table.layers[l].size(); ++e)
        for (const auto& replica : table.layers[l][e]) {
          if (replica.seat != seat(r)) continue;
          const auto page = pool.take();
          if (!page) return fail(page.error());
          if (auto ok = pool.write(*page, bundles[(l * 31 + e) % distinct_bundles]); !ok) return ok;
          if (auto ok = pool.seal(*page, {l, e}, std::nullopt); !ok) return ok;
          at(r).slots(0).set(l, replica.slot, *page, e);
        }
    auto routing = at(r).make_routing(table);
    if (!routing) return fail(routing.error());
    routing_[r] = std::move(*routing);
    return {};
  });
}

status rig::connect(epoch_t epoch, std::vector<std::unique_ptr<communicator>>& out) {
  std::vector<communicator_builder::member> members;
  for (std::uint32_t r = 0; r < ranks(); ++r) {
    auto opened = at(r).builder().open(epoch);
    if (!opened) return fail(opened.error());
    members.push_back({seat(r), std::move(*opened)});
  }
  out.resize(ranks());
  return everywhere([&](std::uint32_t r) -> status {
    auto made = at(r).builder().connect(epoch, seat(r), members, std::chrono::seconds(20));
    if (!made) return fail(made.error());
    out[r] = std::move(*made);
    return {};
  });
}

status rig::everywhere(const std::function<status(std::uint32_t)>& body) {
  std::vector<status> results(ranks());
  std::vector<std::thread> threads;
  for (std::uint32_t r = 0; r < ranks(); ++r) threads.emplace_back([&, r] { results[r] = body(r); });
  for (auto& t : threads) t.join();
  for (auto& s : results)
    if (!s) return s;
  return {};
}

result<bool> rig::step(std::uint32_t rank, std::uint32_t tokens, bool last) {
  step_header mine;
  mine.step = next_step_[rank]++;
  mine.tokens[0] = tokens;
  if (last) mine.flags = header_hold;
  std::vector<step_header> all(ranks());
  if (auto ok = comm(rank).exchange_headers(mine, all); !ok) return fail(ok.error());
  if (auto ok = at(rank).run_step(0, mine.step, hidden_[rank], *routing_[rank], comm(rank), counts_[rank]); !ok)
    return fail(ok.error());
  return std::ranges::any_of(all, [](const auto& h) { return (h.flags & header_hold) != 0; });
}

result<std::vector<double>> rig::run(std::uint32_t count, std::uint32_t tokens, const hook& before,
                                     const std::function<bool()>& until) {
  using clock = std::chrono::steady_clock;
  std::vector<double> milliseconds;
  const auto ran = everywhere([&](std::uint32_t r) -> status {
    noise random{r + 99};
    hidden_[r].resize(std::size_t{tokens} * options_.shape.hidden);
    for (auto& v : hidden_[r]) v = random.next();
    bool last = false;
    for (std::uint32_t i = 0; i < count && !last; ++i) {
      const auto begun = clock::now();
      if (before)
        if (auto ok = before(r, i); !ok) return ok;
      const auto stepped = step(r, tokens, r == 0 && until && until());
      if (!stepped) return fail(stepped.error());
      last = *stepped;
      const std::chrono::duration<double, std::milli> spent = clock::now() - begun;
      if (r == 0) milliseconds.push_back(spent.count());
    }
    return {};
  });
  if (!ran) return fail(ran.error());
  return milliseconds;
}

}  // namespace ballast::gpu::bench
