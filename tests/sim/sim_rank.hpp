// A rank of the simulated cluster: the production rank and step machines and sessions over modelled pages, slot tables,
// communicators and a forward loop in virtual time.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "agent/rank_machine.hpp"
#include "agent/sessions.hpp"
#include "agent/step_machine.hpp"
#include "tests/sim/sim_core.hpp"
#include "tests/sim/sim_fabric.hpp"

namespace ballast::sim {

class rank {
 public:
  using slot_key = std::tuple<model_index, std::uint32_t, std::uint32_t>;  // model, layer, slot

  rank(fabric& shared, std::uint32_t agent, std::uint32_t local, const rank_offer& offer);
  ~rank();
  rank(const rank&) = delete;
  rank& operator=(const rank&) = delete;

  void take_seat(seat_id as, incarnation_t number);
  bool is_seated() const { return machine_.has_value(); }
  seat_id id() const { return machine_->seat(); }
  incarnation_t incarnation() const { return machine_->incarnation(); }
  void feed(const rank_event_body& event);
  void command(seat_command c);

  const step_machine& loop() const { return loop_; }
  const std::map<slot_key, std::uint32_t>& slots() const { return slots_; }
  std::shared_ptr<const placement> routing(model_index m) const { return routing_[m]; }
  std::uint32_t pages_used(model_index m) const { return pages_used_[m]; }
  // May route by its tables: a joiner does so only from its first header on.
  bool routes() const {
    return !hung_ && loop_.epoch() != 0 && !loop_.interrupted() && (!loop_.joining() || doing_ == doing::computing);
  }
  bool fetching() const { return !pages_.empty(); }
  bool accepts() const { return serving_ && !draining_ && !hung_; }  // new sessions
  std::size_t sessions() const { return board_.count(); }
  std::uint64_t newest_command() const { return newest_command_; }
  epoch_t newest_epoch() const {
    return comms_.empty() ? loop_.epoch() : std::max(loop_.epoch(), comms_.rbegin()->first);
  }
  void set_working(bool on) {  // has a load of its own
    working_ = on;
    if (on) wake();
  }
  void add(session s);
  void cancel(std::string session);

  void break_off(epoch_t epoch, errc code, const char* why);  // the communicator broke under this rank
  void leave_communicators();                                 // dead, or about to forget everything
  void hang();                                                // from here on it does nothing at all
  bool hung() const { return hung_; }
  void wake();
  // Goes as far as the headers and members that have come allow; for whoever came last, and when a cut is mended.
  static void try_exchange(fabric& shared, epoch_t epoch);
  static void try_connect(fabric& shared, epoch_t epoch);

  const std::uint32_t agent, local;  // index in the world, and there
  std::uint32_t slowness = 1;

 private:
  struct item {
    std::uint64_t sequence = 0;
    std::optional<command_body> order{};
    bool enter = false, empty_all = false, take_sessions = false;
    std::vector<slot_ref> empty{};
    std::vector<stage_item> staged{};
    std::optional<session> added{};
    std::optional<std::string> cancelled{};
  };
  enum class doing { parked, exchanging, computing };

  void perform(rank_effect_body& effect);
  void perform(rank_effect::answer& e);
  void perform(rank_effect::trouble& e);
  void perform(rank_effect::fetch& e);
  void perform(rank_effect::fetch_dense& e);
  void perform(rank_effect::discard& e);
  void perform(rank_effect::cancel_fetches& e);
  void perform(rank_effect::enter& e);
  void perform(rank_effect::empty& e);
  void perform(rank_effect::empty_all& e);
  void perform(rank_effect::order& e);
  void perform(rank_effect::open& e);
  void perform(rank_effect::connect& e);
  void perform(rank_effect::abort_comms& e);
  void perform(rank_effect::abort_comm& e);
  void perform(rank_effect::drop_comms& e);
  void perform(rank_effect::drain& e);
  void perform(rank_effect::undrain& e);

  template <class F>
  void later(std::uint64_t delay_us, F what) {  // unless this rank is gone by then
    shared_.sim.after(delay_us, [alive = std::weak_ptr(alive_), what = std::move(what)]() mutable {
      if (!alive.expired()) what();
    });
  }
  void feed_later(std::uint64_t least_us, std::uint64_t most_us, rank_event_body event);
  std::uint64_t pull_us(const std::vector<stage_item>& items);
  void post(item i);
  void run();
  void take(item& i);
  void take_order(item& i);
  void act(const step_machine::actions& actions);
  bool has_work() const { return working_ || !board_.empty(); }
  void begin_step();
  void finish_step();
  void fail_step(errc code, const char* why);
  void abort(epoch_t epoch);
  void give_up_builds(const char* why, epoch_t keep);
  void on_connected(epoch_t epoch, bool works);
  bool peer_began(const communicator& comm) const;
  bool hears_all(const communicator& comm) const;
  void compute();
  void set_slot(const stage_item& i);
  void clear_slot(slot_key key);  // by value: the caller may pass the very key that goes
  void report_loads();

  fabric& shared_;
  seat_capacity capacity_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // events of a rank that is gone find nobody
  std::optional<rank_machine> machine_;
  step_machine loop_;
  session_board board_;
  std::map<slot_key, std::uint32_t> slots_;  // -> expert
  std::array<std::uint32_t, max_models> pages_used_{};
  std::map<std::uint64_t, std::vector<stage_item>> pages_;  // by sequence: taken, not in the slot table yet
  std::map<table_id, std::shared_ptr<const placement>> prepared_;
  std::array<std::shared_ptr<const placement>, max_models> routing_{};
  std::map<epoch_t, bool> comms_;                // held here -> aborted here
  std::map<epoch_t, std::uint64_t> connecting_;  // -> sequence
  std::vector<item> items_;
  std::array<std::vector<float>, max_models> rows_;              // of the step under way
  std::map<std::uint64_t, std::vector<session_target>> drains_;  // by sequence
  doing doing_ = doing::parked;
  bool run_due_ = false, working_ = true, hung_ = false, serving_ = false, draining_ = false;
  std::uint64_t exchange_ = 0, fetch_generation_ = 0, newest_command_ = 0;
  std::set<std::uint64_t> obeyed_;  // sequences, where a bug is planted
};

}  // namespace ballast::sim
