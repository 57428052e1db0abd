// Recorded loads through the production cluster machine, in virtual time: seats report what their replicas would get by
// the table in use, the coordinator plans, re-solves shares and moves experts as it does on a running system.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "coordinator/cluster_machine.hpp"
#include "coordinator/cluster_parts.hpp"
#include "policies/formats/load_records.hpp"

namespace ballast::cluster::test {

struct replay_settings {
  coordinator_config coordinator;  // step_interval and window_size are set to an interval of the recording
  std::uint32_t seats = 8, nodes = 1;
  std::uint32_t slots = 36, spare_pages = 16;  // of a seat: a layer, and beyond
  std::uint32_t steps_per_record = 64;
  double step_ms = 20;
  std::uint64_t copy_ms = 50;   // a stage takes
  bool placed_once = false;     // a placement is planned, and made whatever it costs, at the end of the first interval
  bool sampled = false;         // whole tokens, drawn at random, as many as recorded; else exact parts of them
  std::uint32_t intervals = 0;  // 0: all
};

struct replay_interval {
  double imbalance = 1;  // mean over layers, of what the seats got in it
  double worst_layer = 1;
  std::uint64_t copies = 0;  // since the interval before
};

struct replay_result {
  std::vector<replay_interval> intervals;  // without the first, which nothing was known for
  double mean = 1, p95 = 1, worst = 1;     // of their imbalances
  double moved = 0;                        // slots a rebalance, as a part of all; rebalances that moved something
  std::uint64_t rebalances = 0, share_updates = 0, share_skips = 0, tables = 0;
  std::vector<std::string> decisions;
};

class replay {
 public:
  replay(const policies::load_recording& recording, const replay_settings& settings);
  replay_result run();

 private:
  void join();
  void take(const input_body& what);
  void perform(effect_body& e);
  void obey(const seat_command& c);
  void deliver();  // what is due by now
  void step_all(const load_matrix& tokens);
  void report(step_t last);
  void beat();
  load_matrix loads_of(const load_matrix& record, std::uint64_t step_in_record);
  void close_interval();
  void place_once();
  replay_result result() const;

  const policies::load_recording& recording_;
  replay_settings settings_;
  cluster_state state_;
  struct due {
    std::uint64_t at_ms;
    input_body what;
  };
  std::multimap<std::uint64_t, input_body> due_;
  std::map<seat_id, placement> in_use_, next_;  // by seat; `next_` from its next step on
  std::map<seat_id, load_matrix> unreported_;   // tokens its experts got
  std::map<seat_id, std::vector<double>> got_;  // in this interval: [layer]
  std::vector<replay_interval> intervals_;
  std::vector<std::string> decisions_;
  double now_ms_ = 0;
  step_t step_ = 0;
  std::uint64_t copies_ = 0, rebalances_ = 0, tables_ = 0, random_ = 1;
};

}  // namespace ballast::cluster::test
