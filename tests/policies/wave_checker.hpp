// An independent account of what waves do to pages and tables: I1 (every expert has a replica in every table), I2 (an
// entry holds the expert that it is named for), I3 (nothing is written where a table in use points), and the pool's
// size.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>

#include "policies/waves.hpp"

namespace ballast::policies::testing {

class wave_checker {
 public:
  wave_checker(const placement& base, const placement& target, const std::vector<seat_info>& seats)
      : now_(base), target_(target), seats_(seats) {
    for (const auto& s : seats) info_[s.seat] = s;
    for (const auto& [at, expert] : entries_of(base)) content_[at] = expert;
  }

  // Empty if the wave is in order, else what is wrong.
  std::string check(const wave& w) {
    const auto before = entries_of(now_), after = entries_of(w.after);
    if (w.after.version != now_.version + 1) return "version does not count on";
    if (w.after.model != now_.model) return "another model";
    if (auto fault = stage(w); !fault.empty()) return fault;
    if (auto fault = publish(w, before, after); !fault.empty()) return fault;
    if (auto fault = shares(w.after); !fault.empty()) return fault;
    for (const auto& d : w.drops) content_.erase({d.seat, d.layer, d.slot});  // reclaimed: every seat is on `after`
    now_ = w.after;
    return {};
  }

  // The last table: the target's replicas and shares; slots may differ.
  std::string check_end() const {
    for (std::size_t l = 0; l < target_.layers.size(); ++l) {
      for (std::size_t e = 0; e < target_.layers[l].size(); ++e) {
        const auto &is = now_.layers[l][e], &goal = target_.layers[l][e];
        const bool same = std::equal(is.begin(), is.end(), goal.begin(), goal.end(), [](const auto& a, const auto& b) {
          return a.seat == b.seat && a.share == b.share;
        });
        if (!same) return at(l, e) + " did not arrive";
      }
    }
    return {};
  }

  const placement& now() const { return now_; }

 private:
  using entry = std::tuple<seat_id, std::uint32_t, std::uint32_t>;  // seat, layer, slot

  static std::string at(std::size_t layer, std::size_t expert) {
    return "layer " + std::to_string(layer) + " expert " + std::to_string(expert);
  }
  using table = std::vector<std::pair<entry, std::uint32_t>>;  // sorted; the expert of each named entry

  static table entries_of(const placement& p) {
    table out;
    for (std::uint32_t l = 0; l < p.layers.size(); ++l) {
      for (std::uint32_t e = 0; e < p.layers[l].size(); ++e) {
        for (const auto& r : p.layers[l][e]) out.push_back({{r.seat, l, r.slot}, e});
      }
    }
    std::sort(out.begin(), out.end());
    return out;
  }
  bool holds(std::uint32_t layer, std::uint32_t expert, seat_id seat) const {
    const auto& row = now_.layers[layer][expert];
    return std::any_of(row.begin(), row.end(), [&](const auto& r) { return r.seat == seat; });
  }

  std::string stage(const wave& w) {
    for (const auto& t : w.adds) {
      const entry to{t.seat, t.layer, t.slot};
      if (content_.count(to) != 0) return at(t.layer, t.expert) + " is written over a page in use";
      if (t.slot >= slot_entries(info_.at(t.seat).capacity)) return at(t.layer, t.expert) + " goes outside the table";
      if (holds(t.layer, t.expert, t.seat)) return at(t.layer, t.expert) + " is there already";
      content_[to] = t.expert;
      if (auto fault = check_sources(t); !fault.empty()) return fault;
    }
    std::map<seat_id, std::uint64_t> pages;
    for (const auto& [to, expert] : content_) ++pages[std::get<0>(to)];
    for (const auto& [seat, count] : pages) {
      const auto& room = info_.at(seat).capacity;
      if (count > now_.layers.size() * room.slots_per_layer + room.spare_pages) return "the pool is exceeded";
    }
    return {};
  }

  std::string check_sources(const transfer& t) const {
    const auto& row = now_.layers[t.layer][t.expert];
    if (t.sources.size() != row.size()) return at(t.layer, t.expert) + " does not name every source";
    bool far_seen = false;
    for (const auto s : t.sources) {
      if (!holds(t.layer, t.expert, s)) return at(t.layer, t.expert) + " has a source without it";
      const bool far = info_.at(s).node != info_.at(t.seat).node;
      if (far_seen && !far) return at(t.layer, t.expert) + " prefers a far source";
      far_seen = far;
    }
    return {};
  }

  // `after` is what was there, and the adds, without the drops; every table in use names right pages, and covers all
  // that was ever covered.
  std::string publish(const wave& w, const table& before, const table& after) {
    std::map<entry, std::uint32_t> expected(before.begin(), before.end());
    for (const auto& d : w.drops) {
      if (expected.erase({d.seat, d.layer, d.slot}) == 0) return "drops what is not there";
    }
    for (const auto& t : w.adds) expected[{t.seat, t.layer, t.slot}] = t.expert;
    if (table(expected.begin(), expected.end()) != after) return "the table is not what adds and drops make of it";
    for (const auto* named : {&before, &after}) {  // ranks may be one table behind
      for (const auto& [to, expert] : *named) {
        if (const auto found = content_.find(to); found == content_.end() || found->second != expert)
          return "a table names a wrong page";
      }
    }
    for (std::size_t l = 0; l < now_.layers.size(); ++l) {
      for (std::size_t e = 0; e < now_.layers[l].size(); ++e) {
        if (w.after.layers[l][e].empty() && !now_.layers[l][e].empty()) return at(l, e) + " loses its last replica";
      }
    }
    const auto experts = static_cast<std::uint32_t>(now_.layers[0].size());
    const auto legal = validate(w.after, static_cast<std::uint32_t>(now_.layers.size()), experts, seats_, false);
    if (!legal && legal.error().text.find("has no replica") == std::string::npos) return legal.error().text;
    return {};
  }

  std::string shares(const placement& after) const {
    for (std::size_t l = 0; l < after.layers.size(); ++l) {
      for (std::size_t e = 0; e < after.layers[l].size(); ++e) {
        const auto &is = after.layers[l][e], &goal = target_.layers[l][e];
        const bool arrived = std::equal(is.begin(), is.end(), goal.begin(), goal.end(),
                                        [](const auto& a, const auto& b) { return a.seat == b.seat; });
        for (std::size_t i = 0; i < is.size(); ++i) {
          if (is[i].share != (arrived ? goal[i].share : 1.0 / static_cast<double>(is.size())))
            return at(l, e) + " has odd shares";
        }
      }
    }
    return {};
  }

  placement now_;
  placement target_;
  std::vector<seat_info> seats_;
  std::map<seat_id, seat_info> info_;
  std::map<entry, std::uint32_t> content_;  // pages that hold weights somebody may read
};

}  // namespace ballast::policies::testing
