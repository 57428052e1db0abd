// One plan made offline, and how it looks as text and as JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/offline/moves.hpp"
#include "cli/offline/topology.hpp"
#include "policies/formats/read_recorded.hpp"

namespace ballast::offline {

struct spread {
  double mean = 1, p95 = 1, max = 1;
};
spread spread_of(std::vector<double> values);  // empty: ones

struct plan_input {
  policies::recorded_file recording;
  topology on;
  std::string policy;
  std::optional<policies::expert_map> from;  // placement in use
  std::uint32_t threads = 1;
  bool solve_shares = false;       // for the loads planned from; else even
  std::uint64_t bundle_bytes = 0;  // 0: not known
};

struct plan_report {
  std::string policy, before_is;  // "the given placement", "the recorded placement", "an even layout"
  placement before, after;
  topology on;
  policies::load_meta meta;
  std::uint64_t records = 0;
  spread before_sum, after_sum;      // on the loads planned from
  spread before_parts, after_parts;  // on the parts of them, each by itself: layers and parts together
  std::uint32_t parts = 0;
  std::optional<spread> observed;  // what ranks really got, where the recording says so
  move_count moves;
  std::uint64_t bundle_bytes = 0;
  std::vector<std::string> notes;
};

// Error: invalid_argument where they have other shapes, with both.
status check_same_model(const policies::expert_map& map, const policies::load_meta& meta);

// Errors: those of place() and check_same_model().
result<plan_report> make_plan(const plan_input& input);

std::string text_of(const plan_report& report);
std::string json_of(const plan_report& report);  // one document

}  // namespace ballast::offline
