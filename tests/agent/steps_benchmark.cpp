// What a rebalance costs the steps: two ranks' forward loops step without pause on one core while everything that moves
// weights (pulls, page servers, sockets, tables made ready) works on the other one. Quiet stretches and stretches in
// which experts are staged, published and reclaimed take turns, so that both see the same machine.
#include <benchmark/benchmark.h>
#include <fmt/core.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <future>
#include <limits>

#include "agent/forward_loop.hpp"
#include "tests/gpu/support.hpp"

namespace ballast {
namespace {

using clock = std::chrono::steady_clock;
constexpr std::uint32_t ranks = 2;
constexpr epoch_t epoch = 1;

gpu::moe_shape served_shape() {
  gpu::moe_shape s;
  s.layers = 8;
  s.experts = 32;
  s.top_k = 4;
  s.hidden = 256;
  s.intermediate = 128;
  s.expert_type = gpu::dtype::bf16;
  return s;
}

// The first two cores this process may use; threads inherit what the thread that starts them has.
std::vector<int> two_cores() {
  cpu_set_t allowed;
  std::vector<int> found;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return found;
  for (int c = 0; c < CPU_SETSIZE && found.size() < 2; ++c)
    if (CPU_ISSET(c, &allowed)) found.push_back(c);
  return found;
}
void stay_on(int core) {
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(core, &only);
  pthread_setaffinity_np(pthread_self(), sizeof only, &only);
}

// Time between outputs of rank 0's session: a whole step with the boundary before it, where slots and tables change.
class step_clock {
 public:
  void on_output() {
    const auto now = clock::now();
    const std::lock_guard lock(mutex_);
    if (into_ != nullptr && into_->size() < wanted_)
      into_->push_back(std::chrono::duration<double, std::micro>(now - last_).count());
    last_ = now;
    if (into_ != nullptr && into_->size() >= wanted_) full_.notify_all();
  }
  void measure(std::vector<double>& into, std::size_t more) {
    const std::lock_guard lock(mutex_);
    into_ = &into;
    wanted_ = into.size() + more;
  }
  bool done() {
    const std::lock_guard lock(mutex_);
    return into_->size() >= wanted_;
  }
  void wait() {
    std::unique_lock lock(mutex_);
    full_.wait(lock, [&] { return into_->size() >= wanted_; });
    into_ = nullptr;
  }

 private:
  std::mutex mutex_;
  std::condition_variable full_;
  std::vector<double>* into_ = nullptr;
  std::size_t wanted_ = 0;
  clock::time_point last_{};
};

// What the loops answer to orders.
class notice_board {
 public:
  void on_event(const rank_event_body& event) {
    const std::lock_guard lock(mutex_);
    if (std::holds_alternative<rank_event::noticed>(event))
      ++answered_;
    else
      failed_ = true;
    news_.notify_all();
  }
  // All `count` orders given since the last call were answered; false when a loop failed.
  bool await(std::size_t count) {
    std::unique_lock lock(mutex_);
    news_.wait(lock, [&] { return failed_ || answered_ >= count; });
    answered_ -= std::min(answered_, count);
    return !failed_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable news_;
  std::size_t answered_ = 0;
  bool failed_ = false;
};

class deployment {
 public:
  explicit deployment(const std::vector<int>& cores)
      : shape_(served_shape()),
        model_(gpu::test::make_model(shape_, 1)),
        cluster_(model_, {.bind = "inproc://steps",
                          .ranks = ranks,
                          .slots_per_layer = shape_.experts / ranks + 1,
                          .spare_pages = shape_.layers}) {
    stay_on(cores[0]);
    for (std::uint32_t r = 0; r < ranks; ++r) {
      loop_listener l;
      l.on_event = [this](const rank_event_body& e) { notices_.on_event(e); };
      l.on_output = [this, r](const session_output&) {
        if (r == 0) steps_.on_output();
      };
      l.on_exported = [](auto, auto) {};
      l.on_loads = [](auto, auto, auto, auto, auto) {};
      l.on_discarded = [](auto) {};
      loops_.push_back(std::make_unique<forward_loop>(cluster_.at(r), forward_loop::settings{.models = {shape_}}, l));
    }
    stay_on(cores[1]);
  }
  ~deployment() {
    for (auto& l : loops_) l->abort_communicators();
    loops_.clear();
  }

  status serve() {
    if (auto ok = cluster_.load(plain_); !ok) return ok;
    if (auto ok = connect(); !ok) return ok;
    for (std::uint32_t r = 0; r < ranks; ++r) {
      auto routing = cluster_.at(r).make_routing(plain_);
      if (!routing) return fail(routing.error());
      loops_[r]->post(loop_item::order{++sequence_, command::resume{epoch, 1, {plain_}}, {std::move(*routing)}});
      loops_[r]->post(
          loop_item::add_session{{fmt::format("endless-{}", r), 0, tokens_, std::numeric_limits<std::uint32_t>::max(),
                                  0, gpu::test::make_hidden(shape_, tokens_, r)}});
    }
    if (!notices_.await(ranks)) return fail(errc::unavailable, "the ranks did not begin");
    return {};
  }

  void quiet(std::vector<double>& into, std::size_t steps) {
    steps_.measure(into, steps);
    steps_.wait();
  }
  status moving(std::vector<double>& into, std::size_t steps) {
    if (auto ok = move_there_and_back(); !ok) return ok;  // in full swing when the measurement begins
    steps_.measure(into, steps);
    while (!steps_.done())
      if (auto ok = move_there_and_back(); !ok) return ok;
    steps_.wait();
    return {};
  }
  std::uint64_t bytes_moved() const { return bytes_; }

 private:
  // Expert e of every layer lives on rank e % 2.
  placement table_of(version_t version, bool doubled) const {
    placement p{0, version, {}};
    const auto at = cluster_.seats();
    for (std::uint32_t layer = 0; layer < shape_.layers; ++layer) {
      auto& experts = p.layers.emplace_back();
      for (std::uint32_t e = 0; e < shape_.experts; ++e) {
        experts.push_back({{at[e % ranks], e / ranks, 1.0}});
        if (!doubled || e >= ranks) continue;
        experts.back() = {{at[0], e == 0 ? 0 : spare_slot(), 0.5}, {at[1], e == 1 ? 0 : spare_slot(), 0.5}};
      }
    }
    return p;
  }
  std::uint32_t spare_slot() const { return shape_.experts / ranks; }

  status connect() {
    std::vector<gpu::communicator_builder::member> members;
    const auto addresses = cluster_.contributions(epoch);
    for (std::uint32_t r = 0; r < ranks; ++r) members.push_back({cluster_.seats()[r], addresses[r]});
    for (auto& s : cluster_.everywhere([&](std::uint32_t r) -> status {
           auto made = cluster_.at(r).builder().connect(epoch, members[r].seat, members, std::chrono::seconds(20));
           if (!made) return fail(made.error());
           loops_[r]->add_communicator(std::move(*made));
           return {};
         }))
      if (!s) return s;
    return {};
  }

  // A wave as the coordinator makes them, as large as the spare pages allow: each rank gets a copy of one of the
  // other's experts in every layer, the table that names the copies is published everywhere, and then all is taken
  // back.
  status move_there_and_back() {
    if (auto ok = stage(); !ok) return ok;
    if (auto ok = publish(true); !ok) return ok;
    if (auto ok = publish(false); !ok) return ok;
    for (auto& loop : loops_) {
      std::vector<slot_ref> slots;
      for (std::uint32_t layer = 0; layer < shape_.layers; ++layer) slots.push_back({0, layer, spare_slot()});
      loop->post(loop_item::empty{++sequence_, std::move(slots)});
    }
    if (!notices_.await(ranks)) return fail(errc::unavailable, "a slot was not emptied");
    return {};
  }
  status stage() {
    std::vector<std::future<result<std::vector<slot_write>>>> workers;  // one transfer worker a rank
    for (std::uint32_t r = 0; r < ranks; ++r)
      workers.push_back(std::async(std::launch::async, [this, r] { return pull(r); }));
    for (std::uint32_t r = 0; r < ranks; ++r) {
      auto pulled = workers[r].get();
      if (!pulled) return fail(pulled.error());
      bytes_ += pulled->size() * cluster_.at(r).pages(0).page_bytes();
      loops_[r]->post(loop_item::enter{++sequence_, std::move(*pulled)});
    }
    if (!notices_.await(ranks)) return fail(errc::unavailable, "a page was not entered");
    return {};
  }
  result<std::vector<slot_write>> pull(std::uint32_t r) {
    std::vector<slot_write> writes;
    std::vector<gpu::pull_item> wanted;
    const std::uint32_t other = 1 - r;  // also the number of an expert that lives there
    for (std::uint32_t layer = 0; layer < shape_.layers; ++layer) {
      const auto page = cluster_.at(r).pages(0).take();
      if (!page) return fail(page.error());
      wanted.push_back({0, {layer, other}, *page});
      writes.push_back({{0, layer, spare_slot()}, other, *page});
    }
    const auto& from = cluster_.at(other).transport().address();
    for (const auto& pulled : cluster_.at(r).transport().pull_many(from, wanted, std::chrono::seconds(10)))
      if (!pulled) return fail(pulled.error());
    return writes;
  }
  status publish(bool doubled) {
    const auto table = table_of(++version_, doubled);
    for (std::uint32_t r = 0; r < ranks; ++r) {
      auto routing = cluster_.at(r).make_routing(table);
      if (!routing) return fail(routing.error());
      loops_[r]->post(loop_item::order{++sequence_, command::publish{table}, {std::move(*routing)}});
    }
    if (!notices_.await(ranks)) return fail(errc::unavailable, "a table was not published");
    return {};
  }

  const gpu::moe_shape shape_;
  const std::uint32_t tokens_ = 2;  // of each rank's session
  const gpu::test::model_data model_;
  gpu::test::cluster cluster_;
  version_t version_ = 1;
  const placement plain_ = table_of(version_, false);
  std::uint64_t sequence_ = 0;
  std::uint64_t bytes_ = 0;
  step_clock steps_;
  notice_board notices_;
  std::vector<std::unique_ptr<forward_loop>> loops_;
};

double percentile_99(std::vector<double> samples) {
  const auto at = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() * 99 / 100);
  std::nth_element(samples.begin(), at, samples.end());
  return *at;
}

void step_during_a_rebalance(benchmark::State& state) {
  static const auto cores = two_cores();  // as this process was started, whatever threads do later
  if (cores.size() < 2) return state.SkipWithError("needs two cores: one for the steps, one for the transfers");
  deployment d(cores);
  std::vector<double> quiet, moving;
  if (auto ok = d.serve(); !ok) return state.SkipWithError(ok.error().text.c_str());
  d.quiet(quiet, 200);  // warm
  quiet.clear();
  for (auto _ : state)
    for (int turn = 0; turn < 8; ++turn) {
      d.quiet(quiet, 250);
      if (auto ok = d.moving(moving, 250); !ok) return state.SkipWithError(ok.error().text.c_str());
    }
  const auto before = percentile_99(quiet), during = percentile_99(moving);
  state.counters["quiet_p99_us"] = before;
  state.counters["moving_p99_us"] = during;
  state.counters["ratio_p99"] = during / before;
  state.counters["moved_MB"] = static_cast<double>(d.bytes_moved()) / 1e6;
}
BENCHMARK(step_during_a_rebalance)
    ->Iterations(1)
    ->Repetitions(9)
    ->ReportAggregatesOnly(true)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace ballast
