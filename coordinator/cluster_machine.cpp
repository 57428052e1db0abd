#include "coordinator/cluster_machine.hpp"

#include <algorithm>

#include "coordinator/cluster_parts.hpp"

namespace ballast::cluster {
namespace {

// Every kind of message, answered or passed over on purpose.
struct reader {
  context& c;
  const std::string& peer;
  std::uint64_t id;

  void operator()(const hello& m) { on_hello(c, peer, id, m); }
  void operator()(const heartbeat& m) { on_heartbeat(c, peer, m); }
  void operator()(const seat_outcome& m) {
    if (living(c, peer, m.seat, m.incarnation)) on_outcome(c, m);
  }
  void operator()(const load_summary& m) {
    if (living(c, peer, m.seat, m.incarnation)) on_load_summary(c, m);
  }
  void operator()(const seat_trouble& m) {
    if (living(c, peer, m.seat, m.incarnation)) on_trouble(c, m);
  }
  void operator()(const get_status&) { c.out.push_back(effect::send{peer, id, status_of(c.s)}); }
  void operator()(const get_operations&) { c.out.push_back(effect::send{peer, id, operations_of(c.s)}); }
  void operator()(const scale_request& m) { on_request(c, peer, id, m); }
  void operator()(const rebalance_request& m) { on_request(c, peer, id, m); }
  void operator()(const abort_request& m) { on_request(c, peer, id, m); }
  void operator()(const refused&) {
  }  // an answer to something that was sent; nothing is ever refused for a reason that a retry does not meet
  template <class Other>
  void operator()(const Other& m) {
    c.out.push_back(effect::send{peer, id,
                                 refused{{errc::invalid_argument, std::string("the coordinator does not take `") +
                                                                      message_name(message_body{m}) + "` messages"}}});
  }
};

void handle(context& c, const input::message& m) { std::visit(reader{c, m.peer, m.content.id}, m.content.body); }

void handle(context& c, const input::connection& n) { on_connection(c, n.peer, n.open); }

void handle(context& c, const input::planned& p) {
  const auto asked = std::ranges::find_if(c.s.previews, [&](const preview_request& r) { return r.asked.id == p.id; });
  if (asked != c.s.previews.end()) {
    const preview_request request = std::move(*asked);
    c.s.previews.erase(asked);
    return on_preview(c, request, p.outcome);
  }
  if (c.s.shares_asked && c.s.shares_asked->id == p.id) return on_shares(c, p.outcome);
  if (c.s.running && c.op().asked && c.op().asked->id == p.id && !c.op().program.empty() &&
      c.op().program.front() == phase::planning)
    on_plan(c, p.outcome);
}

void handle(context& c, const input::tick& t) {
  c.s.now_ms = std::max(c.s.now_ms, t.now_ms);
  look_for_ended_agents(c);
  look_for_silent_seats(c);
  look_at_round(c);
}

}  // namespace

effects step(cluster_state& state, const input_body& what) {
  effects out;
  context c{state, out};
  std::visit([&](const auto& e) { handle(c, e); }, what);
  begin_next(c);
  look_at_balance(c);
  look_at_shares(c);
  return out;
}

}  // namespace ballast::cluster
