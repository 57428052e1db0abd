#include "tests/gpu/support.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <thread>
#include <zmq.hpp>

namespace ballast::gpu::test {
namespace {

float f8_value(std::uint8_t b) {
  const int exponent = (b >> 3) & 15, mantissa = b & 7;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return static_cast<float>((b & 0x80) != 0 ? -magnitude : magnitude);
}

std::uint16_t to_f16(float v) {
  const auto sign = std::signbit(v) ? 0x8000u : 0u;
  int exponent = 0;
  const double fraction = std::frexp(std::fabs(static_cast<double>(v)), &exponent);  // [0.5, 1)
  if (fraction == 0) return static_cast<std::uint16_t>(sign);
  if (exponent + 14 <= 0)  // subnormal
    return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(std::ldexp(fraction, exponent + 24)));
  return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(exponent + 14) << 10 |
                                    (static_cast<std::uint32_t>(fraction * 2048) & 1023u));
}

void fill(std::mt19937_64& random, const tensor_layout& layout, std::byte* base) {
  for (const auto& t : layout.tensors) {
    const bool scales = t.name.ends_with("_scale");
    const auto spread = t.name == "norm" || t.name == "router_bias" ? 1.0 : 2.0 / std::sqrt(t.cols);
    std::uniform_real_distribution<double> draw(scales             ? 0.25
                                                : t.name == "norm" ? 0.5
                                                                   : -spread,
                                                scales ? 2.0 : spread);
    for (std::size_t i = 0; i < std::size_t{t.rows} * t.cols; ++i)
      encode(t.type, static_cast<float>(draw(random)), base + t.offset + i * size_of(t.type));
  }
}

}  // namespace

moe_shape small_shape(dtype type) {
  moe_shape s;
  s.layers = 2;
  s.experts = 8;
  s.top_k = 3;
  s.hidden = 64;
  s.intermediate = 40;
  s.shared_intermediate = 24;
  s.expert_type = type;
  s.scale_block = 16;
  return s;
}

void encode(dtype type, float v, std::byte* out) {
  if (type == dtype::f32) {
    std::memcpy(out, &v, 4);
  } else if (type == dtype::f8_e4m3) {
    std::uint8_t best = 0;
    for (std::uint8_t b = 0; b < 127; ++b)
      if (f8_value(b) <= std::fabs(v)) best = b;
    *out = static_cast<std::byte>(best | (std::signbit(v) ? 0x80 : 0));
  } else {
    const auto half =
        type == dtype::bf16 ? static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(v) >> 16) : to_f16(v);
    std::memcpy(out, &half, 2);
  }
}

double decode(dtype type, const std::byte* in) {
  if (type == dtype::f8_e4m3) return f8_value(static_cast<std::uint8_t>(*in));
  if (type == dtype::f32) {
    float v = 0;
    std::memcpy(&v, in, 4);
    return v;
  }
  std::uint16_t half = 0;
  std::memcpy(&half, in, 2);
  if (type == dtype::bf16) return std::bit_cast<float>(std::uint32_t{half} << 16);
  const int exponent = (half >> 10) & 31, mantissa = half & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

model_data make_model(const moe_shape& shape, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  model_data made{shape, {}, {}};
  const auto dense = dense_layout(shape);
  const auto bundle = expert_layout(shape);
  made.dense.resize(dense.bytes * shape.layers);
  made.bundles.resize(shape.layers);
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
    fill(random, dense, made.dense.data() + layer * dense.bytes);
    for (std::uint32_t e = 0; e < shape.experts; ++e) {
      made.bundles[layer].emplace_back(bundle.bytes);
      fill(random, bundle, made.bundles[layer].back().data());
    }
  }
  return made;
}

std::vector<float> make_hidden(const moe_shape& shape, std::uint32_t tokens, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> draw;
  std::vector<float> hidden(std::size_t{tokens} * shape.hidden);
  for (auto& v : hidden) v = draw(random);
  return hidden;
}

std::vector<float> reference(const model_data& model, std::vector<float> hidden) {
  const auto fetch = [&](std::uint32_t layer, std::uint32_t expert) -> result<std::span<const std::byte>> {
    return model.bundles[layer][expert];
  };
  const auto tokens = static_cast<std::uint32_t>(hidden.size() / model.shape.hidden);
  if (!host::reference_forward(model.shape, model.dense, fetch, hidden, tokens)) return {};
  return hidden;
}

placement random_placement(const moe_shape& shape, const std::vector<seat_id>& seats, std::uint32_t slots_per_layer,
                           std::uint32_t redundant, std::uint64_t seed, model_index model) {
  std::mt19937_64 random(seed);
  placement made{model, seed + 1, {}};
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
    std::map<seat_id, std::vector<std::uint32_t>> free;
    for (const auto s : seats) {
      auto& slots = free[s];
      for (std::uint32_t i = 0; i < slots_per_layer; ++i) slots.push_back(i);
      std::shuffle(slots.begin(), slots.end(), random);
    }
    auto& experts = made.layers.emplace_back(shape.experts);
    const auto place = [&](std::vector<replica>& replicas) {
      auto order = seats;
      std::shuffle(order.begin(), order.end(), random);
      for (const auto s : order) {
        const bool there = std::any_of(replicas.begin(), replicas.end(), [&](const replica& r) { return r.seat == s; });
        if (there || free[s].empty()) continue;
        replicas.push_back({s, free[s].back(), 0.25 + static_cast<double>(random() % 4)});
        free[s].pop_back();
        return;
      }
    };
    for (auto& replicas : experts) place(replicas);
    for (std::uint32_t i = 0; i < redundant; ++i) place(experts[random() % experts.size()]);
    for (auto& replicas : experts) {
      double sum = 0;
      for (const auto& r : replicas) sum += r.share;
      for (auto& r : replicas) r.share /= sum;
      std::sort(replicas.begin(), replicas.end(), [](const replica& a, const replica& b) { return a.seat < b.seat; });
    }
  }
  return made;
}

struct cluster::context_holder {
  zmq::context_t context;
};

cluster::cluster(const model_data& model, options o) : cluster(std::vector<model_data>{model}, std::move(o)) {}

cluster::cluster(std::vector<model_data> models, options o)
    : context_(std::make_unique<context_holder>()), models_(std::move(models)), options_(std::move(o)) {
  backend_ = options_.make_backend ? options_.make_backend() : load_backend("host").value();
  device_options d;
  d.bind = options_.bind;
  d.link_context = context();
  d.exchange = options_.exchange;
  d.limits.collective_timeout = options_.timeout;
  d.limits.max_batch_tokens = options_.max_batch_tokens;
  for (const auto& m : models_) {
    d.models.push_back(m.shape);
    d.limits.models.push_back(
        {options_.slots_per_layer != 0 ? options_.slots_per_layer : m.shape.experts, options_.spare_pages});
  }
  for (std::uint32_t r = 0; r < options_.ranks; ++r) {
    d.local_rank = r;
    devices_.push_back(backend_->make_device(d).value());
    for (model_index m = 0; m < models_.size(); ++m)
      if (!devices_.back()->set_dense(m, models_[m].dense)) std::abort();
  }
  comms_.resize(options_.ranks);
  routing_.assign(options_.ranks, std::vector<std::shared_ptr<const routing_table>>(models_.size()));
  counts_.assign(options_.ranks, std::vector<slot_counts>(models_.size()));
}

// At once, as ranks do it each in its own thread: NCCL ends the worlds of a process together.
cluster::~cluster() {
  everywhere([&](std::uint32_t r) -> status {
    comms_[r].reset();
    return {};
  });
}

void* cluster::context() const { return &context_->context; }

std::vector<seat_id> cluster::seats() const {
  std::vector<seat_id> all;
  for (std::uint32_t r = 0; r < options_.ranks; ++r) all.push_back(seat_id{10 + 3 * r});  // seats are no ranks
  return all;
}

std::vector<std::string> cluster::contributions(epoch_t epoch) {
  std::vector<std::string> all;
  for (auto& d : devices_) all.push_back(d->builder().open(epoch).value());
  return all;
}

status cluster::connect(epoch_t epoch) {
  std::vector<communicator_builder::member> members;
  const auto addresses = contributions(epoch);
  for (std::uint32_t r = 0; r < options_.ranks; ++r) members.push_back({seats()[r], addresses[r]});
  for (auto& s : everywhere([&](std::uint32_t r) -> status {
         auto made = devices_[r]->builder().connect(epoch, seats()[r], members, std::chrono::seconds(20));
         if (!made) return fail(made.error());
         comms_[r] = std::move(*made);
         return {};
       }))
    if (!s) return s;
  return {};
}

status cluster::load(const placement& table) {
  const auto m = table.model;
  for (std::uint32_t r = 0; r < options_.ranks; ++r) {
    auto& pool = devices_[r]->pages(m);
    auto& slots = devices_[r]->slots(m);
    for (std::uint32_t layer = 0; layer < table.layers.size(); ++layer) {
      for (std::uint32_t slot = 0; slot < slots.entries_per_layer(); ++slot)
        if (const auto held = slots.at(layer, slot); held.used) {
          slots.clear(layer, slot);
          pool.give_back(held.page);
        }
    }
    for (std::uint32_t layer = 0; layer < table.layers.size(); ++layer)
      for (std::uint32_t e = 0; e < table.layers[layer].size(); ++e)
        for (const auto& replica : table.layers[layer][e]) {
          if (replica.seat != seats()[r]) continue;
          const auto page = pool.take();
          if (!page) return fail(page.error());
          if (auto ok = pool.write(*page, models_[m].bundles[layer][e]); !ok) return ok;
          if (auto ok = pool.seal(*page, {layer, e}, std::nullopt); !ok) return ok;
          slots.set(layer, replica.slot, *page, e);
        }
    auto routing = devices_[r]->make_routing(table);
    if (!routing) return fail(routing.error());
    routing_[r][m] = std::move(*routing);
  }
  return {};
}

std::vector<status> cluster::everywhere(const std::function<status(std::uint32_t)>& body) {
  std::vector<status> results(options_.ranks);
  std::vector<std::thread> threads;
  for (std::uint32_t r = 0; r < options_.ranks; ++r) threads.emplace_back([&, r] { results[r] = body(r); });
  for (auto& t : threads) t.join();
  return results;
}

status cluster::step_rank(std::uint32_t rank, step_t number, std::vector<std::vector<float>>& hidden) {
  step_header mine{.step = number, .ready_epoch = 0, .tokens = {}, .versions = {}, .flags = 0};
  for (model_index m = 0; m < models_.size(); ++m)
    mine.tokens[m] = static_cast<std::uint32_t>(hidden[m].size() / models_[m].shape.hidden);
  std::vector<step_header> all(comms_[rank]->members().size());
  if (auto ok = comms_[rank]->exchange_headers(mine, all); !ok) return ok;
  return step_model(rank, number, hidden);
}

status cluster::step_model(std::uint32_t rank, step_t number, std::vector<std::vector<float>>& hidden) {
  for (model_index m = 0; m < models_.size(); ++m)
    if (auto ok = devices_[rank]->run_step(m, number, hidden[m], *routing_[rank][m], *comms_[rank], counts_[rank][m]);
        !ok)
      return ok;
  return {};
}

std::vector<status> cluster::step(step_t number, std::vector<std::vector<std::vector<float>>>& hidden) {
  return everywhere([&](std::uint32_t r) { return step_rank(r, number, hidden[r]); });
}

}  // namespace ballast::gpu::test
