// A rank of the simulated cluster: the production rank and step machines over modelled pages, slot tables,
// communicators and a forward loop in virtual time.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "agent/rank_machine.hpp"
#include "agent/step_machine.hpp"
#include "tests/sim/sim_core.hpp"

namespace ballast::sim {

class rank;

// A communicator as all its members see it together.
struct communicator {
  std::vector<comm_member> members;             // as the first to connect named them
  std::set<seat_id> connecting;                 // waiting for the others
  std::map<seat_id, gpu::step_header> present;  // headers of the step under way
  bool broken = false;
};

// What the ranks share, and what they need of the world around them.
struct fabric {
  explicit fabric(core& c) : sim(c) {}
  core& sim;
  std::map<epoch_t, communicator> comms;
  std::map<std::pair<seat_id, incarnation_t>, rank*> seated;
  std::function<void(rank&, message_body)> uplink;
  bool changed = false;  // slots or tables in use changed: the invariants are to be checked
  std::uint64_t collective_timeout_us = 1'500'000;
  double fetch_failures = 0, connect_failures = 0;

  rank* find(const comm_member& m) {
    const auto at = seated.find({m.seat, m.incarnation});
    return at == seated.end() ? nullptr : at->second;
  }
};

class rank {
 public:
  using slot_key = std::tuple<model_index, std::uint32_t, std::uint32_t>;  // model, layer, slot

  rank(fabric& shared, seat_capacity capacity, std::vector<std::uint32_t> layers);
  ~rank();
  rank(const rank&) = delete;
  rank& operator=(const rank&) = delete;

  void take_seat(seat_id as, incarnation_t number);
  bool is_seated() const { return machine_.has_value(); }
  seat_id id() const { return machine_->seat(); }
  incarnation_t incarnation() const { return machine_->incarnation(); }
  void feed(const rank_event_body& event);

  const step_machine& loop() const { return loop_; }
  const std::map<slot_key, std::uint32_t>& slots() const { return slots_; }
  std::shared_ptr<const placement> routing(model_index m) const { return routing_[m]; }
  std::uint32_t pages_used(model_index m) const { return pages_used_[m]; }
  // May route by its tables: a joiner does so only from its first header on.
  bool routes() const {
    return loop_.epoch() != 0 && !loop_.interrupted() && (!loop_.joining() || doing_ == doing::computing);
  }
  bool fetching() const { return !pages_.empty(); }
  void set_working(bool on) {  // has requests
    working_ = on;
    if (on) wake();
  }
  bool working() const { return working_; }
  void break_off(epoch_t epoch, errc code, const char* why);  // the communicator broke under this rank

  std::uint32_t agent = 0;  // index in the world
  std::uint32_t slowness = 1;

 private:
  struct item {
    std::uint64_t sequence = 0;
    std::optional<command_body> order;
    bool enter = false, empty_all = false;
    std::vector<slot_ref> empty;
    std::vector<stage_item> staged;
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

  void later(std::uint64_t delay_us, std::function<void()> what);  // unless this rank is gone by then
  void feed_later(std::uint64_t least_us, std::uint64_t most_us, rank_event_body event);
  void post(item i);
  void wake();
  void run();
  void take_items();
  void take(item& i);
  void act(const step_machine::actions& actions);
  void begin_step();
  void complete_exchange(communicator& comm);
  void finish_step();
  void fail_step(errc code, const char* why);
  void abort(epoch_t epoch);
  void on_connected(epoch_t epoch, bool works);
  bool peer_began(const communicator& comm) const;
  void set_slot(const stage_item& i);
  void clear_slot(slot_key key);  // by value: the caller may pass the very key that goes
  void report_loads();

  fabric& shared_;
  seat_capacity capacity_;
  std::vector<std::uint32_t> layers_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // events of a rank that is gone find nobody
  std::optional<rank_machine> machine_;
  step_machine loop_;
  std::map<slot_key, std::uint32_t> slots_;  // -> expert
  std::array<std::uint32_t, max_models> pages_used_{};
  std::map<std::uint64_t, std::vector<stage_item>> pages_;  // by sequence: taken, not in the slot table yet
  std::map<table_id, std::shared_ptr<const placement>> prepared_;
  std::array<std::shared_ptr<const placement>, max_models> routing_{};
  std::map<epoch_t, bool> comms_;                // held here -> aborted here
  std::map<epoch_t, std::uint64_t> connecting_;  // -> sequence
  std::vector<item> items_;
  doing doing_ = doing::parked;
  bool run_due_ = false, working_ = true;
  std::uint64_t exchange_ = 0, fetch_generation_ = 0;
};

}  // namespace ballast::sim
