// The forward loop of one rank: its issuing thread. Steps in lockstep with the members of its communicator, takes orders
// at step boundaries only, parks without spinning when nobody has work.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <variant>
#include <vector>

#include "agent/rank_machine.hpp"
#include "agent/sessions.hpp"
#include "agent/step_machine.hpp"
#include "gpu/device.hpp"

namespace ballast {

// A bundle in a page, to be entered into the slot table.
struct slot_write {
  slot_ref where;
  std::uint32_t expert = 0;
  gpu::page_index page = 0;
};

using routing_ptr = std::shared_ptr<const gpu::routing_table>;

namespace loop_item {
struct order { std::uint64_t sequence = 0; command_body body; std::vector<routing_ptr> tables; };
struct enter { std::uint64_t sequence = 0; std::vector<slot_write> writes; };
struct empty { std::uint64_t sequence = 0; std::vector<slot_ref> slots; };
struct empty_all { std::uint64_t sequence = 0; };  // every slot, then release
struct dense { std::uint64_t sequence = 0; std::vector<std::vector<std::byte>> models; std::uint64_t bytes = 0; };
struct add_session { session what; };
struct cancel_session { std::string id; };
struct export_sessions { std::uint64_t sequence = 0; };
}  // namespace loop_item

using loop_item_body = std::variant<loop_item::order, loop_item::enter, loop_item::empty, loop_item::empty_all,
                                    loop_item::dense, loop_item::add_session, loop_item::cancel_session,
                                    loop_item::export_sessions>;

// Communicators and tables that a loop has done with: destroying them takes long, and is no work for a step.
using discarded_things = std::vector<std::shared_ptr<const void>>;

// Called on the issuing thread; none may block.
struct loop_listener {
  std::function<void(rank_event_body)> on_event;                 // noticed, fetched (dense), comm_failed
  std::function<void(session_output)> on_output;
  std::function<void(std::uint64_t, std::vector<session>)> on_exported;  // answer to export_sessions
  // tokens [layer][expert] of these steps, and the time spent in the experts
  std::function<void(model_index, step_t first, step_t last, load_matrix, double expert_ms)> on_loads;
  std::function<void(discarded_things)> on_discarded;  // to be destroyed elsewhere
};

// What others may read of a running loop at any time, without waiting.
struct loop_pulse {
  std::atomic<step_t> step{0};
  std::atomic<epoch_t> epoch{0};
  std::atomic<std::uint32_t> sessions{0}, tokens{0};
  std::atomic<std::uint64_t> stepped_ns{0}, steps{0};  // totals
  std::atomic<std::chrono::steady_clock::time_point> stepping_since{};  // the step under way; the epoch: none is
  // How long the step under way had taken at `now`, rounded up; 0: none was, or it began later.
  std::uint32_t stepping_ms(std::chrono::steady_clock::time_point now) const;
  std::array<std::atomic<version_t>, max_models> versions{};
};

class forward_loop {
 public:
  struct settings {
    std::vector<gpu::moe_shape> models;
    std::uint32_t max_batch_tokens = 256;
    std::uint32_t load_interval_steps = 8;
  };

  // `device` must outlive the loop. Starts the thread.
  forward_loop(gpu::device& device, settings s, loop_listener listener);
  ~forward_loop();  // stops

  // Any thread; never blocks. Bounded by what the coordinator has under way and by the front end's session budget.
  void post(loop_item_body item);
  void add_communicator(std::unique_ptr<gpu::communicator> comm);  // connected; used when an order names its epoch
  void drop_communicator(epoch_t epoch);                           // destroys it here, unless steps run on it
  void abort_communicators(epoch_t only = 0) noexcept;             // 0: all. The loop goes on, interrupted
  void set_load_interval(std::uint32_t steps) noexcept { load_interval_.store(steps ? steps : 1); }
  const loop_pulse& pulse() const noexcept { return pulse_; }
  void stop();

 private:
  void run();
  bool take_items();
  void park();
  void step();
  bool run_models(const std::vector<gpu::step_header>& headers, gpu::communicator& comm);
  void fail_step(const error& why);
  void perform(step_machine::actions actions);
  void notice(std::uint64_t sequence, const status& s);
  void use(epoch_t epoch);
  void discard_communicators(epoch_t keep, epoch_t also_keep);
  void flush_counts();
  void report_loads();
  void publish_pulse(std::uint32_t tokens);

  void on(loop_item::order& item);
  void on(loop_item::enter& item);
  void on(loop_item::empty& item);
  void on(loop_item::empty_all& item);
  void on(loop_item::dense& item);
  void on(loop_item::add_session& item);
  void on(loop_item::cancel_session& item);
  void on(loop_item::export_sessions& item);

  gpu::device& device_;
  const settings settings_;
  const loop_listener listener_;
  std::atomic<std::uint32_t> load_interval_;
  loop_pulse pulse_;

  std::mutex mutex_;  // guards items_, stopping_, communicators_, current_ (the pointer, not what it does)
  std::condition_variable wake_;
  std::vector<loop_item_body> items_;
  bool stopping_ = false;
  std::map<epoch_t, std::unique_ptr<gpu::communicator>> communicators_;
  gpu::communicator* current_ = nullptr;

  // The issuing thread's own.
  step_machine machine_;
  session_board board_;
  std::map<table_id, routing_ptr> prepared_;
  std::array<routing_ptr, max_models> routing_;
  std::vector<gpu::slot_counts> counts_;      // by model, since the last flush
  std::vector<load_matrix> loads_;            // by model, since the last summary
  std::array<bool, max_models> loaded_{};     // some rank had tokens since the last summary
  step_t first_unreported_ = 1;
  std::vector<float> rows_;                   // gathered hidden states of a batch
  std::jthread thread_;
};

}  // namespace ballast
