// What is kept of every struct of the cluster state, field by field, in the manner of messages/codec_fields_impl.hpp,
// whose lists hold what commands and reports are made of. A field that is not named here begins anew with a restart.
#pragma once

#include "coordinator/cluster_state.hpp"
#include "coordinator/store.hpp"
#include "messages/codec_fields_impl.hpp"

namespace ballast::wire {

// clang-format off: a list reads better as rows than with one field a line.

template <class F>
void fields(of<cluster::seat_record>, F f) {
  using t = cluster::seat_record;
  f("id", &t::id);
  f("agent", &t::agent);
  f("local_rank", &t::local_rank);
  f("node", &t::node);
  f("incarnation", &t::incarnation);
  f("state", &t::state);
  f("offer", &t::offer);
  f("last_sequence", &t::last_sequence);
}
template <class F>
void fields(of<cluster::agent_record>, F f) {
  using t = cluster::agent_record;
  f("node", &t::node);
  f("peer", &t::peer);
  f("front_end", &t::front_end);
  f("process", &t::process);
  f("former", &t::former);
  f("seats", &t::seats);
}
template <class F>
void fields(of<cluster::model_record>, F f) {
  using t = cluster::model_record;
  f("description", &t::description);
  f("current", &t::current);
  f("publishing", &t::publishing);
  f("last_version", &t::last_version);
  f("decided_at", &t::decided_at);
  f("imbalance_before", &t::imbalance_before);
  f("was_paying", &t::was_paying);
}
template <class F>
void fields(of<cluster::order>, F f) {
  using t = cluster::order;
  f("id", &t::id);
  f("kind", &t::kind);
  f("models", &t::models);
  f("target", &t::target);
  f("ranks", &t::ranks);
  f("join_first", &t::join_first);
  f("forced", &t::forced);
  f("for_latest", &t::for_latest);
  f("budget_ms", &t::budget_ms);
  f("reason", &t::reason);
}
template <class F>
void fields(of<cluster::awaited_answer>, F f) {
  using t = cluster::awaited_answer;
  f("seat", &t::seat);
  f("sequence", &t::sequence);
  f("failures", &t::failures);
  f("body", &t::body);
}
template <class F>
void fields(of<cluster::round>, F f) {
  using t = cluster::round;
  f("awaited", &t::awaited);
  f("answers", &t::answers);
  f("deadline_ms", &t::deadline_ms);
}
// Of the running operation. Its round and its plan are rows of their own; the question that a plan is awaited for is
// asked anew.
template <class F>
void fields(of<cluster::operation>, F f) {
  using t = cluster::operation;
  f("what", &t::what);
  f("program", &t::program);
  f("unsettled", &t::unsettled);
  f("joiners", &t::joiners);
  f("leavers", &t::leavers);
  f("old_members", &t::old_members);
  f("new_members", &t::new_members);
  f("growing", &t::growing);
  f("epoch", &t::epoch);
  f("old_epoch", &t::old_epoch);
  f("switch_uncertain", &t::switch_uncertain);
  f("committed", &t::committed);
  f("undoing", &t::undoing);
  f("stop_after_wave", &t::stop_after_wave);
  f("reason", &t::reason);
  f("model", &t::model);
  f("wave", &t::wave);
  f("old_tables", &t::old_tables);
  f("old_wanted", &t::old_wanted);
  f("attempts", &t::attempts);
  f("pause_until_ms", &t::pause_until_ms);
  f("settling", &t::settling);
  f("deadline_ms", &t::deadline_ms);
  f("began_ms", &t::began_ms);
  f("moving_since_ms", &t::moving_since_ms);
  f("report", &t::report);
}
template <class F>
void fields(of<policies::transfer>, F f) {
  using t = policies::transfer;
  f("layer", &t::layer);
  f("expert", &t::expert);
  f("seat", &t::seat);
  f("slot", &t::slot);
  f("sources", &t::sources);
}
template <class F>
void fields(of<policies::drop>, F f) {
  using t = policies::drop;
  f("layer", &t::layer);
  f("seat", &t::seat);
  f("slot", &t::slot);
}
template <class F>
void fields(of<policies::wave>, F f) {
  using t = policies::wave;
  f("adds", &t::adds);
  f("drops", &t::drops);
  f("after", &t::after);
}
template <class F>
void fields(of<cluster::model_plan>, F f) {
  using t = cluster::model_plan;
  f("model", &t::model);
  f("base", &t::base);
  f("target", &t::target);
  f("table", &t::table);
  f("staged", &t::staged);
  f("dropped", &t::dropped);
  f("waves", &t::waves);
  f("imbalance_before", &t::imbalance_before);
  f("imbalance_after", &t::imbalance_after);
  f("imbalance_staying", &t::imbalance_staying);
  f("copies", &t::copies);
  f("layers_left", &t::layers_left);
}
template <class F>
void fields(of<cluster::plan>, F f) {
  f("id", &cluster::plan::id);
  f("models", &cluster::plan::models);
}
template <class F>
void fields(of<cluster::cluster_state>, F f) {
  using t = cluster::cluster_state;
  f("nodes", &t::nodes);
  f("agreed_batch_tokens", &t::agreed_batch_tokens);
  f("members", &t::members);
  f("held", &t::held);
  f("epoch", &t::epoch);
  f("last_epoch", &t::last_epoch);
  f("last_operation", &t::last_operation);
  f("wanted", &t::wanted);
  f("served_before", &t::served_before);
  f("rest_until_ms", &t::rest_until_ms);
}

template <class F>
void fields(of<journal_record>, F f) {
  using t = journal_record;
  f("at_ms", &t::at_ms);
  f("operation", &t::operation);
  f("members", &t::members);
  f("epoch", &t::epoch);
  f("last_epoch", &t::last_epoch);
  f("versions", &t::versions);
}

// clang-format on

}  // namespace ballast::wire
