#include "agent/step_machine.hpp"

#include <algorithm>

namespace ballast {
namespace {

std::vector<table_id> ids(const std::vector<placement>& tables) {
  std::vector<table_id> out;
  for (const auto& t : tables) out.push_back({t.model, t.version});
  return out;
}

}  // namespace

step_machine::actions step_machine::take(std::uint64_t sequence, const command_body& order) {
  actions out;
  std::visit(
      [&](const auto& o) {
        if constexpr (requires { on(sequence, o, out); })
          on(sequence, o, out);
        else
          out.notices.push_back({sequence, error{errc::invalid_argument, "not an order for the forward loop"}});
      },
      order);
  return out;
}

bool step_machine::wants_step() const noexcept {
  if (!may_begin()) return false;
  return first_step_due_ || (armed_ && !armed_->announced) || proving_ || (hold_wanted_ && !hold_announced_) ||
         std::ranges::any_of(publishing_, [](const auto& p) { return p && !p->announced; });
}

void step_machine::adopt(step_t peers_step) noexcept {
  if (joining_) next_step_ = peers_step;
}

gpu::step_header step_machine::header(const std::array<std::uint32_t, max_models>& tokens) {
  gpu::step_header h;
  h.step = next_step_;
  h.tokens = tokens;
  h.versions = versions_;
  for (model_index m = 0; m < max_models; ++m)
    if (auto& p = publishing_[m]) {
      h.versions[m] = p->version;
      p->announced = true;
    }
  if (armed_ && !joining_) {
    h.ready_epoch = armed_->epoch;
    armed_->announced = true;
  }
  if (hold_wanted_) {
    h.flags |= gpu::header_hold;
    hold_announced_ = true;
  }
  return h;
}

step_machine::actions step_machine::after_headers(std::span<const gpu::step_header> headers) {
  const epoch_t ready = headers.front().ready_epoch;
  switch_agreed_ = ready != 0 && std::ranges::all_of(headers, [&](const auto& h) { return h.ready_epoch == ready; });
  hold_agreed_ = std::ranges::any_of(headers, [](const auto& h) { return (h.flags & gpu::header_hold) != 0; });
  actions out;
  for (model_index m = 0; m < max_models; ++m)
    if (const auto& p = publishing_[m];
        p && std::ranges::all_of(headers, [&](const auto& h) { return h.versions[m] >= p->version; }))
      route_by(m, out);
  return out;
}

step_machine::actions step_machine::after_step() {
  actions out;
  ++next_step_;
  first_step_due_ = false;
  if (joining_) {
    joining_ = false;
    out.notices.push_back({armed_->sequence, std::nullopt, true});
    armed_.reset();
  } else if (switch_agreed_) {
    switch_over(out);
  }
  if (proving_ && --proving_->steps_left == 0) {
    out.notices.push_back({proving_->sequence});
    proving_.reset();
  }
  if (hold_agreed_) {
    held_ = true;
    if (hold_wanted_) out.notices.push_back({*hold_wanted_});
    hold_wanted_.reset();
  }
  switch_agreed_ = hold_agreed_ = false;
  if (held_) route_by_published(out);  // no step will say who can
  return out;
}

void step_machine::switch_over(actions& out) {
  route_by_published(out);
  previous_ = epoch_;
  if (armed_->member) {
    epoch_ = armed_->epoch;
    first_step_due_ = true;
    install(armed_->tables, out);
  } else {
    left_for_ = armed_->epoch;
    epoch_ = 0;
  }
  out.use = epoch_;
  out.notices.push_back({armed_->sequence, std::nullopt, true});
  armed_.reset();
}

void step_machine::install(const std::vector<table_id>& tables, actions& out) {
  for (const auto& t : tables) {
    versions_[t.model] = t.version;
    out.install.push_back(t);
  }
}

void step_machine::route_by(model_index model, actions& out) {
  install({{model, publishing_[model]->version}}, out);
  out.notices.push_back({publishing_[model]->sequence});
  publishing_[model].reset();
}

void step_machine::route_by_published(actions& out) {
  for (model_index m = 0; m < max_models; ++m)
    if (publishing_[m]) route_by(m, out);
}

// From wherever it was: steps on `epoch` from `first_step` on, with these tables.
void step_machine::stand_on(epoch_t epoch, step_t first_step, const std::vector<table_id>& tables, actions& out) {
  epoch_ = epoch;
  previous_ = left_for_ = 0;
  next_step_ = first_step;
  joining_ = held_ = interrupted_ = false;
  install(tables, out);
  out.use = epoch_;
}

// Orders still under way are answered, so that every order has exactly one answer.
void step_machine::give_up_pending(actions& out, const char* why) {
  const auto refuse = [&](std::uint64_t sequence) { out.notices.push_back({sequence, error{errc::aborted, why}}); };
  if (armed_) refuse(armed_->sequence);
  if (proving_) refuse(proving_->sequence);
  if (hold_wanted_) refuse(*hold_wanted_);
  for (auto& p : publishing_) {
    if (p) refuse(p->sequence);
    p.reset();
  }
  armed_.reset();
  proving_.reset();
  hold_wanted_.reset();
  hold_announced_ = switch_agreed_ = hold_agreed_ = first_step_due_ = false;
}

void step_machine::on(std::uint64_t sequence, const command::publish& order, actions& out) {
  auto& p = publishing_[order.table.model];
  if (p) route_by(order.table.model, out);  // superseded: every replica it names is in place
  p = publishing{sequence, order.table.version};
  if (!may_begin()) route_by_published(out);  // it is not stepping with the others
}

void step_machine::on(std::uint64_t sequence, const command::arm& order, actions& out) {
  if (armed_) {
    route_by_published(out);
    give_up_pending(out, "armed for another epoch");
  }
  armed_ = armed{sequence, order.epoch, order.member, false, ids(order.tables)};
  if (epoch_ != 0 || !order.member) return;
  // A joiner stands on the new communicator at once and waits there for the others.
  epoch_ = order.epoch;
  joining_ = true;
  interrupted_ = held_ = false;
  install(armed_->tables, out);
  out.use = epoch_;
}

void step_machine::on(std::uint64_t sequence, const command::disarm& order, actions& out) {
  if (armed_ && armed_->epoch == order.epoch) {
    out.notices.push_back({armed_->sequence, error{errc::aborted, "disarmed"}});
    armed_.reset();
    if (joining_) {
      joining_ = false;
      epoch_ = 0;
      out.use = 0;
    }
  }
  out.notices.push_back({sequence, std::nullopt, epoch_ == order.epoch || left_for_ == order.epoch});
}

void step_machine::on(std::uint64_t sequence, const command::probation& order, actions& out) {
  if (epoch_ != order.epoch || interrupted_) {
    out.notices.push_back({sequence, error{errc::conflict, "not stepping on the epoch to be proven"}});
  } else if (order.steps == 0) {
    out.notices.push_back({sequence});
  } else {
    proving_ = proving{sequence, order.steps};
  }
}

void step_machine::on(std::uint64_t sequence, const command::hold&, actions& out) {
  if (held_ || epoch_ == 0 || interrupted_) {
    held_ = true;
    out.notices.push_back({sequence});
    return;
  }
  hold_wanted_ = sequence;
  hold_announced_ = false;
}

void step_machine::on(std::uint64_t sequence, const command::unhold&, actions& out) {
  if (hold_wanted_) out.notices.push_back({*hold_wanted_, error{errc::aborted, "released before it was held"}});
  hold_wanted_.reset();
  hold_announced_ = held_ = false;
  out.notices.push_back({sequence});
}

void step_machine::on(std::uint64_t sequence, const command::halt&, actions& out) {
  give_up_pending(out, "halted");
  epoch_ = previous_ = left_for_ = 0;
  joining_ = held_ = false;
  interrupted_ = true;
  out.use = 0;
  out.notices.push_back({sequence});
}

void step_machine::on(std::uint64_t sequence, const command::resume& order, actions& out) {
  give_up_pending(out, "resumed on another epoch");
  stand_on(order.epoch, order.first_step, ids(order.tables), out);
  out.notices.push_back({sequence});
}

void step_machine::on(std::uint64_t sequence, const command::revert& order, actions& out) {
  const bool switched = epoch_ == order.epoch || left_for_ == order.epoch;
  if (!switched || previous_ == 0) {
    out.notices.push_back({sequence, error{errc::conflict, "no communicator to go back to"}});
    return;
  }
  give_up_pending(out, "reverted");
  stand_on(previous_, order.first_step, ids(order.tables), out);
  out.notices.push_back({sequence});
}

void step_machine::on(std::uint64_t sequence, const command::close_comm& order, actions& out) {
  if (previous_ != order.keep) previous_ = 0;
  out.notices.push_back({sequence});
}

void step_machine::on(std::uint64_t sequence, const command::release&, actions& out) {
  give_up_pending(out, "released");
  const step_t next = next_step_;
  *this = step_machine{};
  next_step_ = next;
  out.use = 0;
  out.notices.push_back({sequence});
}

}  // namespace ballast
