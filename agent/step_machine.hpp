// What a rank decides at step boundaries: pure, the same under the forward loop and under the simulator. Decisions
// about switching, holding and new tables come from the step headers alone, so equal data gives equal decisions on
// every rank.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "gpu/communicator.hpp"
#include "messages/commands.hpp"
#include "messages/types.hpp"

namespace ballast {

struct table_id {
  model_index model = 0;
  version_t version = 0;
  auto operator<=>(const table_id&) const = default;
};

class step_machine {
 public:
  // Answer to the order with this sequence.
  struct notice {
    std::uint64_t sequence = 0;
    std::optional<error> failure;
    bool switched = false;
  };
  // What the caller does before it goes on, in this order.
  struct actions {
    std::vector<table_id> install;  // route by these from now on
    std::optional<epoch_t> use;     // step on this communicator; 0: on none
    std::vector<notice> notices;
  };

  // An order at a step boundary: publish, arm, disarm, probation, halt, resume, revert, hold, unhold, close_comm,
  // release. The caller has made sure that the communicator and the tables that it names are ready.
  actions take(std::uint64_t sequence, const command_body& order);

  bool may_step() const noexcept { return epoch_ != 0 && !interrupted_ && !held_; }
  // There is something to show or to prove to the peers even without a request.
  bool wants_step() const noexcept;
  // May begin a step of its own accord: a joiner waits for the first header of its peers instead.
  bool may_begin() const noexcept { return may_step() && !joining_; }
  // A joiner takes its step number from the peers.
  bool joining() const noexcept { return joining_; }
  void adopt(step_t peers_step) noexcept;

  // The header of the next step; what it shows counts as announced.
  gpu::step_header header(const std::array<std::uint32_t, max_models>& tokens);
  // All headers of the step, this rank's among them. A published table that every rank can route by is routed by in
  // this very step: two tables in one step would have an expert that moves computed on two ranks. The other decisions
  // take effect after the step.
  actions after_headers(std::span<const gpu::step_header> headers);
  // The step was completed.
  actions after_step();
  // The communicator failed: the step did not happen, sessions are as before it.
  void failed() noexcept {
    interrupted_ = true;
    switch_agreed_ = hold_agreed_ = false;
  }

  epoch_t epoch() const noexcept { return epoch_; }
  epoch_t previous() const noexcept { return previous_; }
  step_t last_step() const noexcept { return next_step_ - 1; }
  step_t next_step() const noexcept { return next_step_; }
  bool interrupted() const noexcept { return interrupted_; }
  bool held() const noexcept { return held_; }
  version_t version(model_index model) const noexcept { return versions_[model]; }

 private:
  struct armed {
    std::uint64_t sequence = 0;
    epoch_t epoch = 0;
    bool member = true;
    bool announced = false;
    std::vector<table_id> tables;
  };
  struct publishing {
    std::uint64_t sequence = 0;
    version_t version = 0;
    bool announced = false;
  };
  struct proving {
    std::uint64_t sequence = 0;
    std::uint32_t steps_left = 0;
  };

  void install(const std::vector<table_id>& tables, actions& out);
  void route_by(model_index model, actions& out);
  void route_by_published(actions& out);
  void give_up_pending(actions& out, const char* why);
  void switch_over(actions& out);
  void stand_on(epoch_t epoch, step_t first_step, const std::vector<table_id>& tables, actions& out);
  void on(std::uint64_t sequence, const command::publish& order, actions& out);
  void on(std::uint64_t sequence, const command::arm& order, actions& out);
  void on(std::uint64_t sequence, const command::disarm& order, actions& out);
  void on(std::uint64_t sequence, const command::probation& order, actions& out);
  void on(std::uint64_t sequence, const command::hold& order, actions& out);
  void on(std::uint64_t sequence, const command::unhold& order, actions& out);
  void on(std::uint64_t sequence, const command::halt& order, actions& out);
  void on(std::uint64_t sequence, const command::resume& order, actions& out);
  void on(std::uint64_t sequence, const command::revert& order, actions& out);
  void on(std::uint64_t sequence, const command::close_comm& order, actions& out);
  void on(std::uint64_t sequence, const command::release& order, actions& out);

  epoch_t epoch_ = 0;     // communicator stepped on; 0: none
  epoch_t previous_ = 0;  // kept through probation
  epoch_t left_for_ = 0;  // epoch whose switch made this rank a leaver
  step_t next_step_ = 1;
  bool joining_ = false;  // on epoch_, waiting for the first header
  bool interrupted_ = false;
  bool held_ = false;
  bool hold_announced_ = false;
  bool first_step_due_ = false;  // after a switch: the first step tells joiners that it has happened
  bool switch_agreed_ = false;
  bool hold_agreed_ = false;
  std::array<version_t, max_models> versions_{};
  std::array<std::optional<publishing>, max_models> publishing_{};  // by model
  std::optional<armed> armed_;
  std::optional<proving> proving_;
  std::optional<std::uint64_t> hold_wanted_;  // sequence of the order
};

}  // namespace ballast
