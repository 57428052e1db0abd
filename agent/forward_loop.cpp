#include "agent/forward_loop.hpp"

#include <fmt/core.h>
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "messages/log.hpp"

namespace ballast {
namespace {

// Shows that a step has begun, until it has ended in whatever way.
class step_under_way {
 public:
  using clock = std::chrono::steady_clock;
  step_under_way(std::atomic<clock::time_point>& since, clock::time_point now) : since_(since) { since_ = now; }
  ~step_under_way() { since_ = clock::time_point{}; }
  step_under_way(const step_under_way&) = delete;
  step_under_way& operator=(const step_under_way&) = delete;

 private:
  std::atomic<clock::time_point>& since_;
};

}  // namespace

std::uint32_t loop_pulse::stepping_ms(std::chrono::steady_clock::time_point now) const {
  const auto since = stepping_since.load();
  if (since == std::chrono::steady_clock::time_point{} || since > now) return 0;
  return static_cast<std::uint32_t>(std::chrono::ceil<std::chrono::milliseconds>(now - since).count());
}

forward_loop::forward_loop(gpu::device& device, settings s, loop_listener listener)
    : device_(device),
      settings_(std::move(s)),
      listener_(std::move(listener)),
      load_interval_(settings_.load_interval_steps),
      board_(settings_.max_batch_tokens) {
  for (model_index m = 0; m < settings_.models.size(); ++m) {
    const auto& shape = settings_.models[m];
    counts_.push_back({{shape.layers, std::vector<std::uint64_t>(device_.slots(m).entries_per_layer())}});
    loads_.push_back(load_matrix(shape.layers, std::vector<double>(shape.experts)));
  }
  thread_ = std::jthread([this] { run(); });
}

forward_loop::~forward_loop() { stop(); }

void forward_loop::post(loop_item_body item) {
  std::lock_guard lock(mutex_);
  items_.push_back(std::move(item));
  if (current_) current_->wake();
  wake_.notify_one();
}

void forward_loop::add_communicator(std::unique_ptr<gpu::communicator> comm) {
  std::lock_guard lock(mutex_);
  const auto epoch = comm->epoch();
  communicators_[epoch] = std::move(comm);
}

void forward_loop::drop_communicator(epoch_t epoch) {
  std::unique_ptr<gpu::communicator> dropped;  // outlives the lock
  const std::lock_guard lock(mutex_);
  const auto found = communicators_.find(epoch);
  if (found == communicators_.end() || found->second.get() == current_) return;
  dropped = std::move(found->second);
  communicators_.erase(found);
}

void forward_loop::abort_communicators(epoch_t only) noexcept {
  std::lock_guard lock(mutex_);
  for (auto& [epoch, comm] : communicators_)
    if (only == 0 || epoch == only) comm->abort();
}

void forward_loop::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (auto& [epoch, comm] : communicators_) comm->abort();
    wake_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void forward_loop::run() {
  pthread_setname_np(pthread_self(), "steps");  // as top -H shows it
  while (take_items()) {
    if (!machine_.may_step()) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || !items_.empty(); });
    } else if (machine_.wants_step() || (!board_.empty() && machine_.may_begin()) || current_->peer_has_begun()) {
      step();
    } else {
      park();
    }
  }
}

bool forward_loop::take_items() {
  std::vector<loop_item_body> taken;
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return false;
    taken.swap(items_);
  }
  for (auto& item : taken) std::visit([this](auto& i) { on(i); }, item);
  if (!taken.empty()) publish_pulse(pulse_.tokens.load(std::memory_order_relaxed));
  return true;
}

void forward_loop::park() {
  {
    // What was posted since the last look woke the communicator of then, which may have been another or none. From here on
    // post() wakes this one, also if it comes before the wait.
    std::lock_guard lock(mutex_);
    if (!items_.empty()) return;
  }
  const auto begun = current_->wait_for_peer();
  if (!begun) fail_step(begun.error());
}

void forward_loop::step() {
  const auto started = std::chrono::steady_clock::now();
  const step_under_way seen(pulse_.stepping_since, started);
  gpu::communicator& comm = *current_;
  if (machine_.joining()) machine_.adopt(comm.peer_step());

  std::array<std::uint32_t, max_models> tokens{};
  for (model_index m = 0; m < settings_.models.size(); ++m)
    for (const session* s : board_.pick(m)) tokens[m] += s->tokens;

  std::vector<gpu::step_header> headers(comm.members().size());
  if (const auto exchanged = comm.exchange_headers(machine_.header(tokens), headers); !exchanged)
    return fail_step(exchanged.error());
  perform(machine_.after_headers(headers));
  if (!run_models(headers, comm)) return;

  std::uint32_t batch = 0;
  for (const auto t : tokens) batch += t;
  perform(machine_.after_step());
  if (machine_.last_step() % load_interval_.load(std::memory_order_relaxed) == 0) report_loads();
  const auto spent = std::chrono::steady_clock::now() - started;
  pulse_.stepped_ns += static_cast<std::uint64_t>(std::chrono::nanoseconds(spent).count());
  ++pulse_.steps;
  publish_pulse(batch);
}

// Outputs of a model are committed only after all its layers were done everywhere this rank depends on: a step that breaks
// off leaves every session as it was.
bool forward_loop::run_models(const std::vector<gpu::step_header>& headers, gpu::communicator& comm) {
  for (model_index m = 0; m < settings_.models.size(); ++m) {
    if (std::ranges::none_of(headers, [&](const auto& h) { return h.tokens[m] > 0; })) continue;
    loaded_[m] = true;
    rows_.clear();
    for (const session* s : board_.pick(m)) rows_.insert(rows_.end(), s->hidden.begin(), s->hidden.end());
    const auto ran = device_.run_step(m, machine_.next_step(), rows_, *routing_[m], comm, counts_[m]);
    if (!ran) {
      fail_step(ran.error());
      return false;
    }
    for (auto& output : board_.advance(m, rows_)) listener_.on_output(std::move(output));
  }
  return true;
}

void forward_loop::fail_step(const error& why) {
  const epoch_t epoch = machine_.epoch();
  machine_.failed();
  if (why.code == errc::aborted) return;  // on request: the coordinator knows
  log::warn("step {} on epoch {} broke off: {}", machine_.next_step(), epoch, why.text);
  listener_.on_event(rank_event::comm_failed{epoch, why});
}

void forward_loop::perform(step_machine::actions actions) {
  discarded_things superseded;
  for (const auto& id : actions.install) {
    superseded.push_back(std::exchange(routing_[id.model], prepared_.at(id)));
    std::erase_if(prepared_, [&](auto& p) {
      const bool older = p.first.model == id.model && p.first.version <= id.version;
      if (older) superseded.push_back(std::move(p.second));
      return older;
    });
  }
  if (!superseded.empty()) listener_.on_discarded(std::move(superseded));
  if (actions.use) use(*actions.use);
  for (auto& n : actions.notices) listener_.on_event(rank_event::noticed{n, machine_.last_step(), machine_.epoch()});
}

void forward_loop::use(epoch_t epoch) {
  report_loads();  // a summary belongs to one set of members
  std::lock_guard lock(mutex_);
  const auto found = communicators_.find(epoch);
  current_ = found == communicators_.end() ? nullptr : found->second.get();
}

void forward_loop::notice(std::uint64_t sequence, const status& s) {
  step_machine::notice n{sequence, std::nullopt, false};
  if (!s) n.failure = s.error();
  listener_.on_event(rank_event::noticed{n, machine_.last_step(), machine_.epoch()});
}

void forward_loop::on(loop_item::order& item) {
  for (auto& table : item.tables) prepared_[{table->source().model, table->version()}] = table;
  const bool ends_comms = std::holds_alternative<command::halt>(item.body);
  perform(machine_.take(item.sequence, item.body));
  if (ends_comms) discard_communicators(0, 0);
  if (const auto* close = std::get_if<command::close_comm>(&item.body))
    discard_communicators(close->keep, machine_.epoch());
}

void forward_loop::on(loop_item::enter& item) {
  flush_counts();
  for (const auto& w : item.writes) device_.slots(w.where.model).set(w.where.layer, w.where.slot, w.page, w.expert);
  notice(item.sequence, {});
}

void forward_loop::on(loop_item::empty& item) {
  flush_counts();
  for (const auto& where : item.slots) {
    auto& slots = device_.slots(where.model);
    const auto entry = slots.at(where.layer, where.slot);
    if (!entry.used) continue;
    slots.clear(where.layer, where.slot);
    device_.pages(where.model).give_back(entry.page);
  }
  notice(item.sequence, {});
}

void forward_loop::on(loop_item::empty_all& item) {
  flush_counts();
  for (model_index m = 0; m < settings_.models.size(); ++m) {
    auto& slots = device_.slots(m);
    for (std::uint32_t layer = 0; layer < settings_.models[m].layers; ++layer)
      for (std::uint32_t slot = 0; slot < slots.entries_per_layer(); ++slot) {
        const auto entry = slots.at(layer, slot);
        if (!entry.used) continue;
        slots.clear(layer, slot);
        device_.pages(m).give_back(entry.page);
      }
  }
  perform(machine_.take(item.sequence, command::release{}));
  prepared_.clear();
  routing_ = {};
  discard_communicators(0, 0);
}

void forward_loop::on(loop_item::dense& item) {
  status done;
  for (model_index m = 0; m < item.models.size() && done; ++m) done = device_.set_dense(m, std::move(item.models[m]));
  listener_.on_event(rank_event::fetched{item.sequence, done, item.bytes});
}

void forward_loop::on(loop_item::add_session& item) { board_.add(std::move(item.what)); }
void forward_loop::on(loop_item::cancel_session& item) { board_.remove(item.id); }
void forward_loop::on(loop_item::export_sessions& item) { listener_.on_exported(item.sequence, board_.take_all()); }

void forward_loop::discard_communicators(epoch_t keep, epoch_t also_keep) {
  discarded_things discarded;
  {
    std::lock_guard lock(mutex_);
    for (auto at = communicators_.begin(); at != communicators_.end();) {
      if (at->first == keep || at->first == also_keep) {
        ++at;
        continue;
      }
      if (current_ == at->second.get()) current_ = nullptr;
      discarded.push_back(std::move(at->second));
      at = communicators_.erase(at);
    }
  }
  if (!discarded.empty()) listener_.on_discarded(std::move(discarded));
}

// Slots become experts: done before any slot changes hands, so that no count is ever attributed to the wrong expert.
void forward_loop::flush_counts() {
  for (model_index m = 0; m < counts_.size(); ++m) {
    const auto& slots = device_.slots(m);
    auto& layers = counts_[m].tokens;
    for (std::uint32_t layer = 0; layer < layers.size(); ++layer)
      for (std::uint32_t slot = 0; slot < layers[layer].size(); ++slot)
        if (auto& n = layers[layer][slot]; n != 0) {
          loads_[m][layer][slots.at(layer, slot).expert] += static_cast<double>(n);
          n = 0;
        }
  }
}

void forward_loop::report_loads() {
  const step_t last = machine_.last_step();
  flush_counts();
  for (model_index m = 0; m < loads_.size(); ++m) {
    if (!loaded_[m]) continue;
    const auto expert_ns = std::exchange(counts_[m].expert_ns, 0);
    listener_.on_loads(m, first_unreported_, last, loads_[m], static_cast<double>(expert_ns) / 1e6);
    for (auto& layer : loads_[m]) std::ranges::fill(layer, 0.0);
    loaded_[m] = false;
  }
  first_unreported_ = last + 1;
}

void forward_loop::publish_pulse(std::uint32_t tokens) {
  pulse_.step = machine_.last_step();
  pulse_.epoch = machine_.epoch();
  pulse_.sessions = static_cast<std::uint32_t>(board_.count());
  pulse_.tokens = tokens;
  for (model_index m = 0; m < max_models; ++m) pulse_.versions[m] = machine_.version(m);
}

}  // namespace ballast
