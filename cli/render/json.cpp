#include <nlohmann/json.hpp>

#include "cli/render/render.hpp"

namespace ballast::json {
namespace {

using document = nlohmann::ordered_json;

// Names from other processes may hold any bytes: invalid UTF-8 is replaced, never thrown about.
std::string dump(const document& d) { return d.dump(-1, ' ', false, document::error_handler_t::replace); }

document seat_ids(const std::vector<seat_id>& ids) {
  document list = document::array();
  for (const auto id : ids) list.push_back(index_of(id));
  return list;
}

document document_of(const operation_status& op) {
  return {{"id", op.id},
          {"kind", op.kind},
          {"model", op.model},
          {"target", seat_ids(op.target)},
          {"phase", op.phase},
          {"outcome", op.outcome},
          {"reason", op.reason},
          {"awaited", seat_ids(op.awaited)},
          {"seconds", op.seconds},
          {"imbalance_before", op.imbalance_before},
          {"imbalance_predicted", op.imbalance_predicted},
          {"pages_copied", op.pages_copied},
          {"bytes_moved", op.bytes_moved},
          {"first_step", op.first_step},
          {"last_step", op.last_step}};
}

document document_of(const std::vector<operation_status>& operations) {
  document list = document::array();
  for (const auto& op : operations) list.push_back(document_of(op));
  return list;
}

document document_of(const seat_status& s) {
  return {{"seat", index_of(s.seat)}, {"incarnation", s.incarnation}, {"agent", s.agent}, {"node", s.node},
          {"state", s.state},         {"front_end", s.front_end},     {"step", s.step},   {"sessions", s.sessions},
          {"replicas", s.replicas},   {"step_ms", s.step_ms},         {"pages", s.pages}, {"corrupt", s.corrupt}};
}

document document_of(const std::vector<seat_status>& seats) {
  document list = document::array();
  for (const auto& seat : seats) list.push_back(document_of(seat));
  return list;
}

document document_of(const model_status& m) {
  return {{"name", m.name},
          {"version", m.version},
          {"imbalance_mean", m.imbalance_mean},
          {"imbalance_max", m.imbalance_max},
          {"imbalance_min", m.imbalance_min},
          {"imbalance_before", m.imbalance_before},
          {"imbalance_observed", m.imbalance_observed},
          {"imbalance_shares", m.imbalance_shares},
          {"share_updates", m.share_updates},
          {"share_skips", m.share_skips},
          {"window_steps", m.window_steps},
          {"hidden", m.hidden}};
}

document document_of(const refusal_counts& r) {
  return {{"process", r.process},       {"unknown_key", r.unknown_key}, {"handshake", r.handshake},
          {"unfinished", r.unfinished}, {"cut_off", r.cut_off},         {"malformed", r.malformed},
          {"forbidden", r.forbidden},   {"too_many", r.too_many},       {"replayed", r.replayed}};
}

}  // namespace

std::string of(const cluster_status& all) {
  document refused = document::array();
  for (const auto& r : all.refused) refused.push_back(document_of(r));
  document models = document::array();
  for (const auto& m : all.models) models.push_back(document_of(m));
  return dump({{"epoch", all.epoch},
               {"steps", all.steps},
               {"event_sequence", all.event_sequence},
               {"models", models},
               {"seats", document_of(all.seats)},
               {"operations", document_of(all.operations)},
               {"refused", refused}});
}

std::string of(const std::vector<operation_status>& operations) {
  return dump({{"operations", document_of(operations)}});
}

std::string of(const operation_status& operation) { return dump(document_of(operation)); }

std::string of(const rebalance_preview& p) {
  return dump({{"model", p.model},
               {"imbalance_before", p.imbalance_before},
               {"imbalance_after", p.imbalance_after},
               {"moves", p.moves},
               {"bytes", p.bytes},
               {"waves", p.waves},
               {"pays", p.pays},
               {"explanation", p.explanation}});
}

std::string of(const event& news) {
  document d = {
      {"sequence", news.sequence}, {"kind", news.kind}, {"text", news.text}, {"seats", document_of(news.seats)}};
  d["operation"] = news.operation.empty() ? document() : document_of(news.operation.front());
  return dump(d);
}

std::string of(const error& failure) {
  return dump({{"error", {{"code", to_string(failure.code)}, {"text", failure.text}}}});
}

std::string accepted(operation_id id) { return dump({{"operation", id}}); }

std::string quoted(const std::string& s) { return dump(document(s)); }

}  // namespace ballast::json
