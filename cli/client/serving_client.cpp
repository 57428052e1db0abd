#include "cli/client/serving_client.hpp"

#include <fmt/core.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "cli/client/connecting.hpp"
#include "cli/client/front_end_directory.hpp"
#include "messages/log.hpp"

namespace ballast {
namespace {

using clock = std::chrono::steady_clock;

struct arrival {
  message_body body;
  steady_time when;
};

constexpr std::size_t inbox_limit = 1u << 16;  // at the bound arrivals are dropped: their requests are sent again

}  // namespace

// Links and callers push into the inbox; everything else belongs to the client's thread.
struct serving_client::impl {
  link_context& context;
  serving_options options;
  done_handler on_done;
  output_handler on_output;

  mutable std::mutex mutex;
  std::condition_variable wake, changed;
  std::deque<arrival> inbox;  // guarded by mutex, as are the next four
  std::size_t running = 0, active_seats = 0;
  bool telling = false;  // the caller is being told of an end
  serving_counters counters;
  bool stopping = false;

  request_book book;
  front_end_directory directory;
  std::map<std::string, std::unique_ptr<link>> front_ends;
  std::unique_ptr<link> control, events;
  steady_time ask_at{};
  std::uint64_t message_id = 0;
  std::thread thread;

  impl(link_context& c, serving_options o, done_handler d, output_handler u)
      : context(c), options(std::move(o)), on_done(std::move(d)), on_output(std::move(u)), book(options.book) {}

  ~impl() { stop(); }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    wake.notify_all();
    if (thread.joinable()) thread.join();
    for (auto& [address, one] : front_ends) one->stop(std::chrono::milliseconds(0));
    if (control) control->stop(std::chrono::milliseconds(0));
    if (events) events->stop(std::chrono::milliseconds(0));
  }

  link::handler handler() {
    return [this](const std::string&, envelope message) { push({std::move(message.body), clock::now()}); };
  }

  status open_links() {
    auto made = link::open(context, connecting(link_kind::dealer, options.coordinator, options.name), handler());
    if (!made) return fail(made.error());
    control = std::move(*made);
    if (options.events.empty()) return {};
    made = link::open(context, connecting(link_kind::subscriber, options.events, options.name), handler());
    if (!made) return fail(made.error());
    events = std::move(*made);
    return {};
  }

  void push(arrival one) {
    {
      const std::lock_guard lock(mutex);
      if (inbox.size() >= inbox_limit) {
        ++counters.overflows;
        return;
      }
      inbox.push_back(std::move(one));
    }
    wake.notify_one();
  }

  void run() {
    std::unique_lock lock(mutex);
    while (!stopping) {
      if (inbox.empty()) {
        const auto due = next_due();
        wake.wait_until(lock, due, [&] { return stopping || !inbox.empty(); });
      }
      std::deque<arrival> batch;
      batch.swap(inbox);
      lock.unlock();
      for (auto& one : batch) handle(std::move(one));
      keep_time(clock::now());
      lock.lock();
      active_seats = directory.active_seats();
      changed.notify_all();
    }
  }

  steady_time next_due() const {
    const auto due = book.next_due();
    return due ? std::min(*due, ask_at) : ask_at;
  }

  void handle(arrival one) {
    const auto when = one.when;
    if (auto* request = std::get_if<inference_request>(&one.body))
      return perform(book.submit(std::move(*request), when));
    if (auto* output = std::get_if<inference_output>(&one.body)) return perform(book.on(std::move(*output), when));
    if (auto* moved = std::get_if<request_moved>(&one.body)) return perform(book.on(*moved, when));
    if (auto* refusal = std::get_if<request_refused>(&one.body)) return perform(book.on(*refusal, when));
    bool news = false;
    if (auto* all = std::get_if<cluster_status>(&one.body)) news = directory.on(*all);
    if (auto* told = std::get_if<event>(&one.body)) news = directory.on(*told);
    if (news) {
      perform(book.front_ends(directory.open(), directory.alive(), when));
      close_unused();
    }
    if (directory.gap()) ask_at = std::min(ask_at, when);
  }

  void keep_time(steady_time now) {
    if (now >= ask_at) {
      const auto sent = control->send("", {++message_id, options.name, get_status{}});
      if (!sent) log::debug("client: status not asked: {}", sent.error().text);
      ask_at = now + (book.waiting() > 0 || directory.active_seats() == 0 ? options.search_interval
                                                                          : options.status_interval);
    }
    perform(book.tick(now));
  }

  link* front_end(const std::string& address) {
    auto& known = front_ends[address];
    if (known == nullptr) {
      auto made = link::open(context, connecting(link_kind::dealer, address, options.name), handler());
      if (!made) {
        log::warn("client: {}: {}", address, made.error().text);
        front_ends.erase(address);
        return nullptr;
      }
      known = std::move(*made);
    }
    return known.get();
  }

  // A seat that comes back listens at another address: links to gone front ends are not kept.
  void close_unused() {
    std::erase_if(front_ends, [&](auto& one) {
      if (directory.alive().contains(one.first) || book.uses(one.first)) return false;
      one.second->stop(std::chrono::milliseconds(0));
      return true;
    });
  }

  void perform(request_effects effects) {
    for (auto& effect : effects) {
      if (auto* send = std::get_if<book_effect::send>(&effect)) {
        link* to = front_end(send->front_end);
        // A full queue is as good as a lost message: the progress deadline sends it again.
        if (to != nullptr) (void)to->send("", {++message_id, options.name, std::move(send->request)});
      } else if (auto* output = std::get_if<book_effect::output>(&effect)) {
        if (on_output) on_output(output->id, output->step, output->hidden);
      } else {
        finish(std::move(std::get<book_effect::finished>(effect).record));
      }
    }
  }

  void finish(request_record record) {
    {
      const std::lock_guard lock(mutex);
      --running;  // before the caller is told, who may submit the next one
      telling = true;
      ++(record.failure ? counters.failed : counters.answered);
      counters.sends += record.sends;
      counters.moves += record.moves;
      counters.duplicates += record.duplicates;
    }
    on_done(std::move(record));
    const std::lock_guard lock(mutex);
    telling = false;
  }
};

serving_client::serving_client(std::unique_ptr<impl> made) : impl_(std::move(made)) {}
serving_client::~serving_client() = default;

result<std::unique_ptr<serving_client>> serving_client::connect(link_context& context, serving_options options,
                                                                done_handler on_done, output_handler on_output) {
  auto made = std::make_unique<impl>(context, std::move(options), std::move(on_done), std::move(on_output));
  if (auto opened = made->open_links(); !opened) return fail(opened.error());
  made->thread = std::thread([raw = made.get()] { raw->run(); });
  return std::unique_ptr<serving_client>(new serving_client(std::move(made)));
}

status serving_client::submit(inference_request request) {
  if (request.id.empty() || request.tokens == 0 || request.steps <= request.first_step ||
      request.hidden.size() % request.tokens != 0 || request.hidden.empty()) {
    return fail(errc::invalid_argument,
                fmt::format("request '{}': needs an id, tokens, steps and hidden states for every token", request.id));
  }
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->running >= impl_->options.max_running) {
      return fail(
          errc::does_not_fit,
          fmt::format("{} requests are running, the most this client keeps; wait for some to end", impl_->running));
    }
    ++impl_->running;
    ++impl_->counters.submitted;
    impl_->inbox.push_back({std::move(request), clock::now()});  // bounded by max_running
  }
  impl_->wake.notify_one();
  return {};
}

status serving_client::wait_idle(std::chrono::milliseconds deadline) {
  std::unique_lock lock(impl_->mutex);
  if (impl_->changed.wait_for(lock, deadline, [&] { return impl_->running == 0 && !impl_->telling; })) return {};
  return fail(errc::timed_out, fmt::format("{} requests still run after {} ms", impl_->running, deadline.count()));
}

status serving_client::wait_active(std::size_t seats, std::chrono::milliseconds deadline) {
  std::unique_lock lock(impl_->mutex);
  if (impl_->changed.wait_for(lock, deadline, [&] { return impl_->active_seats >= seats; })) return {};
  return fail(errc::timed_out,
              fmt::format("{} of {} seats are active after {} ms", impl_->active_seats, seats, deadline.count()));
}

std::size_t serving_client::running() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->running;
}

serving_counters serving_client::counters() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->counters;
}

}  // namespace ballast
