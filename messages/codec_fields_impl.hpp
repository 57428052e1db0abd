// The fields of every struct on the wire, each said once: fields(of<T>{}, visit) calls visit(key, &T::member) for every
// field in wire order. Encoder and decoder both walk this list; what a field means is in PROTOCOL.md.
#pragma once

#include "messages/messages.hpp"

namespace ballast::wire {

template <class T>
struct of {};

// clang-format off: a list reads better as rows than with one field a line.

template <class F> void fields(of<error>, F f) { f("code", &error::code); f("text", &error::text); }

template <class F> void fields(of<placement>, F f) {
  f("model", &placement::model); f("version", &placement::version); f("layers", &placement::layers);
}
template <class F> void fields(of<model_capacity>, F f) {
  f("slots_per_layer", &model_capacity::slots_per_layer); f("spare_pages", &model_capacity::spare_pages);
}
template <class F> void fields(of<seat_capacity>, F f) {
  using t = seat_capacity;
  f("models", &t::models); f("max_batch_tokens", &t::max_batch_tokens); f("session_bytes", &t::session_bytes);
}
template <class F> void fields(of<page_source>, F f) {
  f("seat", &page_source::seat); f("address", &page_source::address);
}
template <class F> void fields(of<stage_item>, F f) {
  using t = stage_item;
  f("model", &t::model); f("layer", &t::layer); f("expert", &t::expert); f("slot", &t::slot); f("sources", &t::sources);
}
template <class F> void fields(of<slot_ref>, F f) {
  f("model", &slot_ref::model); f("layer", &slot_ref::layer); f("slot", &slot_ref::slot);
}

// ---- commands ---------------------------------------------------------------------------------------------------

template <class F> void fields(of<comm_member>, F f) {
  using t = comm_member;
  f("seat", &t::seat); f("incarnation", &t::incarnation); f("contribution", &t::contribution);
}
template <class F> void fields(of<session_target>, F f) {
  f("seat", &session_target::seat); f("front_end", &session_target::front_end);
}
template <class F> void fields(of<command::prepare>, F f) { f("sources", &command::prepare::sources); }
template <class F> void fields(of<command::stage>, F f) { f("items", &command::stage::items); }
template <class F> void fields(of<command::publish>, F f) { f("table", &command::publish::table); }
template <class F> void fields(of<command::reclaim>, F f) { f("slots", &command::reclaim::slots); }
template <class F> void fields(of<command::open_comm>, F f) { f("epoch", &command::open_comm::epoch); }
template <class F> void fields(of<command::connect_comm>, F f) {
  f("epoch", &command::connect_comm::epoch); f("members", &command::connect_comm::members);
}
template <class F> void fields(of<command::arm>, F f) {
  f("epoch", &command::arm::epoch); f("member", &command::arm::member); f("tables", &command::arm::tables);
}
template <class F> void fields(of<command::disarm>, F f) { f("epoch", &command::disarm::epoch); }
template <class F> void fields(of<command::probation>, F f) {
  f("epoch", &command::probation::epoch); f("steps", &command::probation::steps);
}
template <class F> void fields(of<command::close_comm>, F f) { f("keep", &command::close_comm::keep); }
template <class F> void fields(of<command::drain>, F f) { f("targets", &command::drain::targets); }
template <class F> void fields(of<command::undrain>, F) {}
template <class F> void fields(of<command::halt>, F) {}
template <class F> void fields(of<command::resume>, F f) {
  using t = command::resume;
  f("epoch", &t::epoch); f("first_step", &t::first_step); f("tables", &t::tables);
}
template <class F> void fields(of<command::revert>, F f) {
  using t = command::revert;
  f("epoch", &t::epoch); f("first_step", &t::first_step); f("tables", &t::tables);
}
template <class F> void fields(of<command::hold>, F) {}
template <class F> void fields(of<command::unhold>, F) {}
template <class F> void fields(of<command::release>, F) {}

template <class F> void fields(of<seat_command>, F f) {
  using t = seat_command;
  f("seat", &t::seat); f("incarnation", &t::incarnation); f("sequence", &t::sequence); f("operation", &t::operation);
  f("body", &t::body);
}
template <class F> void fields(of<seat_outcome>, F f) {
  using t = seat_outcome;
  f("seat", &t::seat); f("incarnation", &t::incarnation); f("sequence", &t::sequence); f("operation", &t::operation);
  f("ok", &t::ok); f("failure", &t::failure); f("step", &t::step); f("epoch", &t::epoch); f("switched", &t::switched);
  f("contribution", &t::contribution); f("bytes", &t::bytes);
}

// ---- agent and coordinator --------------------------------------------------------------------------------------

template <class F> void fields(of<model_description>, F f) {
  using t = model_description;
  f("name", &t::name); f("fingerprint", &t::fingerprint); f("layers", &t::layers); f("experts", &t::experts);
  f("groups", &t::groups); f("bundle_bytes", &t::bundle_bytes); f("hidden", &t::hidden);
}
template <class F> void fields(of<rank_offer>, F f) {
  using t = rank_offer;
  f("local_rank", &t::local_rank); f("page_address", &t::page_address); f("capacity", &t::capacity);
  f("speed", &t::speed);
}
template <class F> void fields(of<hello>, F f) {
  using t = hello;
  f("node", &t::node); f("agent", &t::agent); f("process", &t::process); f("front_end", &t::front_end);
  f("models", &t::models); f("ranks", &t::ranks);
}
template <class F> void fields(of<seat_assignment>, F f) {
  using t = seat_assignment;
  f("local_rank", &t::local_rank); f("seat", &t::seat); f("incarnation", &t::incarnation);
}
template <class F> void fields(of<welcome>, F f) {
  using t = welcome;
  f("seats", &t::seats); f("heartbeat_ms", &t::heartbeat_ms); f("load_interval_steps", &t::load_interval_steps);
}
template <class F> void fields(of<seat_beat>, F f) {
  using t = seat_beat;
  f("seat", &t::seat); f("incarnation", &t::incarnation); f("step", &t::step); f("epoch", &t::epoch);
  f("sessions", &t::sessions); f("tokens", &t::tokens); f("step_ms", &t::step_ms); f("versions", &t::versions);
  f("pages", &t::pages); f("corrupt", &t::corrupt); f("stepping_ms", &t::stepping_ms);
}
template <class F> void fields(of<refusal_counts>, F f) {
  using t = refusal_counts;
  f("process", &t::process); f("unknown_key", &t::unknown_key); f("handshake", &t::handshake);
  f("unfinished", &t::unfinished); f("cut_off", &t::cut_off); f("malformed", &t::malformed);
  f("forbidden", &t::forbidden); f("too_many", &t::too_many); f("replayed", &t::replayed);
}
template <class F> void fields(of<heartbeat>, F f) {
  f("agent", &heartbeat::agent); f("process", &heartbeat::process); f("seats", &heartbeat::seats);
  f("refused", &heartbeat::refused);
}
template <class F> void fields(of<load_summary>, F f) {
  using t = load_summary;
  f("seat", &t::seat); f("incarnation", &t::incarnation); f("model", &t::model); f("first_step", &t::first_step);
  f("last_step", &t::last_step); f("tokens", &t::tokens); f("expert_ms", &t::expert_ms);
}
template <class F> void fields(of<seat_trouble>, F f) {
  using t = seat_trouble;
  f("seat", &t::seat); f("incarnation", &t::incarnation); f("epoch", &t::epoch); f("failure", &t::failure);
}
template <class F> void fields(of<fence>, F f) { f("seat", &fence::seat); f("up_to", &fence::up_to); f("process", &fence::process); }

// ---- operator and coordinator -----------------------------------------------------------------------------------

template <class F> void fields(of<get_status>, F) {}
template <class F> void fields(of<model_status>, F f) {
  using t = model_status;
  f("name", &t::name); f("version", &t::version); f("imbalance_mean", &t::imbalance_mean);
  f("imbalance_max", &t::imbalance_max); f("imbalance_min", &t::imbalance_min);
  f("imbalance_before", &t::imbalance_before); f("window_steps", &t::window_steps);
  f("hidden", &t::hidden); f("imbalance_observed", &t::imbalance_observed);
  f("imbalance_shares", &t::imbalance_shares); f("share_updates", &t::share_updates);
  f("share_skips", &t::share_skips);
}
template <class F> void fields(of<seat_status>, F f) {
  using t = seat_status;
  f("seat", &t::seat); f("incarnation", &t::incarnation); f("agent", &t::agent); f("node", &t::node);
  f("state", &t::state); f("front_end", &t::front_end); f("step", &t::step); f("sessions", &t::sessions);
  f("replicas", &t::replicas); f("step_ms", &t::step_ms); f("pages", &t::pages); f("corrupt", &t::corrupt);
}
template <class F> void fields(of<operation_status>, F f) {
  using t = operation_status;
  f("id", &t::id); f("kind", &t::kind); f("model", &t::model); f("target", &t::target); f("phase", &t::phase);
  f("outcome", &t::outcome); f("reason", &t::reason); f("awaited", &t::awaited); f("seconds", &t::seconds);
  f("imbalance_before", &t::imbalance_before); f("imbalance_predicted", &t::imbalance_predicted);
  f("pages_copied", &t::pages_copied); f("bytes_moved", &t::bytes_moved); f("first_step", &t::first_step);
  f("last_step", &t::last_step);
}
template <class F> void fields(of<cluster_status>, F f) {
  using t = cluster_status;
  f("epoch", &t::epoch); f("steps", &t::steps); f("models", &t::models); f("seats", &t::seats);
  f("operations", &t::operations); f("event_sequence", &t::event_sequence);
  f("refused", &t::refused);
}
template <class F> void fields(of<scale_request>, F f) {
  using t = scale_request;
  f("request", &t::request); f("ranks", &t::ranks); f("seats", &t::seats); f("join_first", &t::join_first);
  f("deadline_ms", &t::deadline_ms);
}
template <class F> void fields(of<rebalance_request>, F f) {
  using t = rebalance_request;
  f("request", &t::request); f("model", &t::model); f("dry_run", &t::dry_run); f("force", &t::force);
}
template <class F> void fields(of<rebalance_preview>, F f) {
  using t = rebalance_preview;
  f("model", &t::model); f("imbalance_before", &t::imbalance_before); f("imbalance_after", &t::imbalance_after);
  f("moves", &t::moves); f("bytes", &t::bytes); f("waves", &t::waves); f("pays", &t::pays);
  f("explanation", &t::explanation);
}
template <class F> void fields(of<abort_request>, F f) { f("operation", &abort_request::operation); }
template <class F> void fields(of<get_operations>, F) {}
template <class F> void fields(of<operation_list>, F f) { f("operations", &operation_list::operations); }
template <class F> void fields(of<accepted>, F f) { f("operation", &accepted::operation); }
template <class F> void fields(of<refused>, F f) { f("failure", &refused::failure); }
template <class F> void fields(of<event>, F f) {
  using t = event;
  f("sequence", &t::sequence); f("kind", &t::kind); f("text", &t::text); f("operation", &t::operation);
  f("seats", &t::seats);
}

// ---- client and agent -------------------------------------------------------------------------------------------

template <class F> void fields(of<inference_request>, F f) {
  using t = inference_request;
  f("id", &t::id); f("model", &t::model); f("tokens", &t::tokens); f("steps", &t::steps);
  f("first_step", &t::first_step); f("hidden", &t::hidden);
}
template <class F> void fields(of<inference_output>, F f) {
  using t = inference_output;
  f("id", &t::id); f("step", &t::step); f("last", &t::last); f("hidden", &t::hidden);
}
template <class F> void fields(of<request_moved>, F f) {
  using t = request_moved;
  f("id", &t::id); f("front_end", &t::front_end); f("next_step", &t::next_step);
}
template <class F> void fields(of<request_refused>, F f) {
  f("id", &request_refused::id); f("failure", &request_refused::failure);
}
template <class F> void fields(of<cancel_request>, F f) { f("id", &cancel_request::id); }
template <class F> void fields(of<session_handover>, F f) {
  f("handover", &session_handover::handover); f("sessions", &session_handover::sessions);
}
template <class F> void fields(of<standby>, F f) { f("leader", &standby::leader); }
template <class F> void fields(of<handover_taken>, F f) {
  f("handover", &handover_taken::handover); f("ok", &handover_taken::ok);
}

// clang-format on

template <class T>
concept has_fields = requires { fields(of<T>{}, [](const char*, auto) {}); };

}  // namespace ballast::wire
