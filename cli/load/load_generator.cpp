#include "cli/load/load_generator.hpp"

#include <cmath>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>

namespace ballast {
namespace {

using clock = std::chrono::steady_clock;

double milliseconds_between(steady_time from, steady_time to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

constexpr std::size_t failures_kept = 5;

}  // namespace

// The closed loop sends a new request from the handler that saw one end; the open loop has a thread that waits for its
// next departure. Samples grow with the answers: 16 bytes a step.
struct load_generator::impl {
  load_options options;
  source make;
  sink on_record;

  mutable std::mutex mutex;  // guards all below but the client and the thread
  std::condition_variable changed;
  std::uint64_t next = 0;
  bool stopped = false;
  load_totals totals;
  std::vector<double> first_ms;
  std::vector<step_sample> steps;

  std::unique_ptr<serving_client> client;
  std::thread departures;

  ~impl() {
    stop();
    if (departures.joinable()) departures.join();
    client.reset();
  }

  void stop() {
    const std::lock_guard lock(mutex);
    stopped = true;
    changed.notify_all();
  }

  // The next request that can be sent at all; false if all were made.
  bool send_one() {
    for (;;) {
      inference_request request;
      {
        const std::lock_guard lock(mutex);
        if (stopped || (options.requests != 0 && next >= options.requests)) return false;
        request = make(next++);
        ++totals.sent;
      }
      const auto given = client->submit(std::move(request));
      if (given) return true;
      note_failure(given.error());
      if (options.requests == 0) stop();  // the next one would fare no better
    }
  }

  void note_failure(const error& why) {
    const std::lock_guard lock(mutex);
    ++totals.failed;
    if (totals.failures.size() < failures_kept) totals.failures.push_back(why.text);
    changed.notify_all();
  }

  void on_done(const request_record& record) {
    if (on_record) on_record(record);
    if (options.request_rate == 0) send_one();
    if (record.failure) note_failure(*record.failure);
    const std::lock_guard lock(mutex);
    totals.answered += record.failure ? 0 : 1;
    totals.outputs += record.arrivals.size();
    totals.tokens += record.arrivals.size() * record.request.tokens;
    totals.resends += record.sends > 0 ? record.sends - 1 : 0;
    totals.moves += record.moves;
    totals.duplicates += record.duplicates;
    if (!record.arrivals.empty()) first_ms.push_back(milliseconds_between(record.submitted, record.arrivals.front()));
    for (std::size_t i = 1; i < record.arrivals.size(); ++i) {
      steps.push_back({record.arrivals[i], milliseconds_between(record.arrivals[i - 1], record.arrivals[i])});
    }
    changed.notify_all();
  }

  bool all_ended() const {
    const bool no_more = stopped || (options.requests != 0 && next >= options.requests);
    return no_more && totals.answered + totals.failed == totals.sent;
  }

  void depart() {
    std::mt19937_64 random(options.seed);
    std::exponential_distribution<double> gap(options.request_rate);
    auto at = clock::now();
    do {
      at += std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(gap(random)));
      std::unique_lock lock(mutex);
      if (changed.wait_until(lock, at, [&] { return stopped; })) return;
    } while (send_one());
  }
};

load_generator::load_generator(std::unique_ptr<impl> made) : impl_(std::move(made)) {}
load_generator::~load_generator() = default;

result<std::unique_ptr<load_generator>> load_generator::start(link_context& context, serving_options serving,
                                                              load_options load, source make, sink on_record) {
  auto made = std::make_unique<impl>();
  auto* raw = made.get();
  made->options = load;
  made->make = std::move(make);
  made->on_record = std::move(on_record);
  auto client = serving_client::connect(context, std::move(serving),
                                        [raw](const request_record& record) { raw->on_done(record); });
  if (!client) return fail(client.error());
  made->client = std::move(*client);
  if (load.request_rate > 0) {
    made->departures = std::thread([raw] { raw->depart(); });
  } else {
    for (std::uint32_t i = 0; i < load.concurrency && raw->send_one(); ++i) {
    }
  }
  return std::unique_ptr<load_generator>(new load_generator(std::move(made)));
}

void load_generator::stop() { impl_->stop(); }

bool load_generator::wait(std::chrono::milliseconds longest) {
  std::unique_lock lock(impl_->mutex);
  return impl_->changed.wait_for(lock, longest, [&] { return impl_->all_ended(); });
}

serving_client& load_generator::client() noexcept { return *impl_->client; }

load_totals load_generator::totals() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->totals;
}

std::vector<double> load_generator::first_output_ms() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->first_ms;
}

std::vector<double> load_generator::step_ms(steady_time from, steady_time to) const {
  const std::lock_guard lock(impl_->mutex);
  std::vector<double> found;
  for (const auto& sample : impl_->steps) {
    const auto began = sample.at - std::chrono::duration_cast<clock::duration>(
                                       std::chrono::duration<double, std::milli>(sample.milliseconds));
    if (sample.at >= from && began <= to) found.push_back(sample.milliseconds);
  }
  return found;
}

}  // namespace ballast
