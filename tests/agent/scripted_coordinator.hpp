// A coordinator that does what a test tells it to: agents join it, and every command and its outcome is in view.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "messages/link.hpp"
#include "messages/messages.hpp"
#include "tests/support/inbox.hpp"
#include "tests/support/tiny_model.hpp"

namespace ballast::test {

struct scripted_coordinator {
  struct seat_state {
    std::string peer;
    hello greeting;
    incarnation_t incarnation = 1;
    std::uint64_t sequence = 0;
  };
  link_context& context;
  inbox<std::pair<std::string, envelope>> received;
  std::unique_ptr<link> wire;
  std::map<std::uint32_t, seat_state> seats;
  std::map<std::pair<std::uint32_t, std::uint64_t>, seat_outcome> outcomes;
  std::vector<load_summary> loads;
  std::vector<seat_trouble> troubles;

  scripted_coordinator(link_context& c, const std::string& address) : context(c) {
    link_options o;
    o.kind = link_kind::router;
    o.bind = true;
    o.address = address;
    o.name = "script";
    o.on_connection = [](const std::string&, bool) {};
    wire = *link::open(context, o, [this](const std::string& peer, envelope m) { received.put({peer, std::move(m)}); });
  }

  void read_one() {
    auto [peer, message] = received.take();
    if (auto* outcome = std::get_if<seat_outcome>(&message.body)) outcomes[{index_of(outcome->seat), outcome->sequence}] = *outcome;
    if (auto* summary = std::get_if<load_summary>(&message.body)) loads.push_back(*summary);
    if (auto* trouble = std::get_if<seat_trouble>(&message.body)) troubles.push_back(*trouble);
    if (auto* greeting = std::get_if<hello>(&message.body)) {
      for (const auto& [seat, known] : seats)
        if (known.peer == peer) return;  // a repeat: its welcome is on the way
      admit(peer, *greeting);
    }
  }
  void admit(const std::string& peer, const hello& greeting) {
    const auto seat = static_cast<std::uint32_t>(seats.size());
    seats[seat] = {peer, greeting};
    (void)wire->send(peer, {0, "script", welcome{{{0, seat_id{seat}, 1}}, 20, 4}});
  }
  // The next one that is not of `process`.
  std::pair<std::string, hello> hello_of_other_than(std::uint64_t process) {
    for (;;) {
      const auto [peer, message] = received.take();
      const auto* greeting = std::get_if<hello>(&message.body);
      if (greeting && greeting->process != process) return {peer, *greeting};
    }
  }
  void await_seats(std::size_t n) {
    while (seats.size() < n) read_one();
  }
  std::uint64_t send(std::uint32_t seat, command_body body) {
    auto& s = seats[seat];
    const auto sequence = ++s.sequence;
    EXPECT_TRUE(wire->send(s.peer, {0, "script", seat_command{seat_id{seat}, s.incarnation, sequence, 1, std::move(body)}}));
    return sequence;
  }
  seat_outcome await(std::uint32_t seat, std::uint64_t sequence) {
    while (!outcomes.contains({seat, sequence})) read_one();
    return outcomes[{seat, sequence}];
  }
  // One round: `body(seat)` to each seat, then all outcomes, which must be good.
  template <class Body>
  std::map<std::uint32_t, seat_outcome> round(const std::vector<std::uint32_t>& to, Body body) {
    std::map<std::uint32_t, std::uint64_t> sent;
    for (const auto seat : to) sent[seat] = send(seat, body(seat));
    std::map<std::uint32_t, seat_outcome> out;
    for (const auto& [seat, sequence] : sent) {
      out[seat] = await(seat, sequence);
      EXPECT_TRUE(out[seat].ok) << "seat " << seat << ": " << out[seat].failure.text;
    }
    return out;
  }
  void build_comm(epoch_t epoch, const std::vector<std::uint32_t>& members) {
    const auto opened = round(members, [&](auto) { return command::open_comm{epoch}; });
    std::vector<comm_member> all;
    for (const auto seat : members) all.push_back({seat_id{seat}, 1, opened.at(seat).contribution});
    round(members, [&](auto) { return command::connect_comm{epoch, all}; });
  }
  page_source source(std::uint32_t seat) const { return {seat_id{seat}, seats.at(seat).greeting.ranks[0].page_address}; }
};

// Expert e lives on seats[e % n], in slot e / n.
inline placement spread(const std::vector<std::uint32_t>& seats, version_t version, const model_spec& spec = tiny_spec()) {
  placement p{0, version, {}};
  for (std::uint32_t layer = 0; layer < spec.shape.layers; ++layer) {
    layer_placement l;
    for (std::uint32_t e = 0; e < spec.shape.experts; ++e)
      l.push_back({{seat_id{seats[e % seats.size()]}, static_cast<std::uint32_t>(e / seats.size()), 1.0}});
    p.layers.push_back(std::move(l));
  }
  return p;
}

inline std::vector<stage_item> items_of(const placement& p, std::uint32_t seat, const std::vector<page_source>& sources = {}) {
  std::vector<stage_item> items;
  for (std::uint32_t layer = 0; layer < p.layers.size(); ++layer)
    for (std::uint32_t e = 0; e < p.layers[layer].size(); ++e)
      for (const auto& r : p.layers[layer][e])
        if (index_of(r.seat) == seat) items.push_back({p.model, layer, e, r.slot, sources});
  return items;
}

}  // namespace ballast::test
