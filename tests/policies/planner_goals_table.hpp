// What the planner is to reach, scenario by scenario, beside the best of other planners. Their figures are as measured
// for each engine on the same recordings (DeepSeek EPLB, vLLM, SGLang, vllm-ascend with SwiftBalancer and FlashLB, the
// best evolved program): mean PAR of the next interval and moves of the best of them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace ballast::policies::goals {

struct peer {
  std::string scenario;
  double next_par, moves;
  std::string name;
};
inline const std::vector<peer>& best_peers() {
  static const std::vector<peer> all = {{"A", 1.107, 0.96, "DeepSeek EPLB, global"},
                                        {"A2", 1.142, 0.26, "FlashLB"},
                                        {"A4", 1.028, 0.88, "best of them"},
                                        {"B", 1.164, 0.42, "best of them"},
                                        {"C", 1.034, 0.84, "EPLB"},
                                        {"D", 1.010, 0.42, "best of them"},
                                        {"E", 1.012, 0.36, "EPLB"},
                                        {"F", 1.125, 0.29, "FlashLB"},
                                        {"G", 1.164, 0.33, "best of them"}};
  return all;
}

// A limit for one scenario; `moved` as a part of all slots.
struct par_goal {
  std::string scenario;
  double mean, max;
  double write_price = 0;
};
struct move_goal {
  std::string scenario;
  double factor, plus, moved;  // x <= factor * best peer's x + plus
  double write_price = 0;      // where it is not the policy's own
};
struct ms_goal {
  std::string scenario;
  double ms, par;  // par 0: whatever balance
};

inline constexpr double any = 1e9;

inline const std::vector<par_goal> g1 = {{"A", 1.002, 1.005}, {"B", 1.003, 1.02},  {"C", 1.001, any}, {"D", 1.001, any},
                                         {"E", 1.001, any},   {"F", 1.002, 1.005}, {"G", 1.003, 1.02}};
inline const std::vector<ms_goal> g2 = {{"A", 1.0, 1.007}, {"A", 2.5, 1.002}, {"B", 5, 1.003},
                                        {"E", 1, 1.001},   {"F", 4, 1.002},   {"G", 3, 1.003}};
inline const std::vector<move_goal> g3 = {{"A", 1, 0, 0.03}, {"A2", 1, 0, 0.03}, {"A4", 1, 0.005, 0.06},
                                          {"B", 1, 0, 0.05}, {"C", 1, 0, 0.01},  {"D", 1, 0, 0.01},
                                          {"E", 1, 0, 0.01}, {"F", 1, 0, 0.03},  {"G", 1, 0, 0.08}};
inline const std::vector<move_goal> g4 = {{"A", 0.8, 0, 0.1}, {"A2", 0.8, 0, 0.1}, {"B", 0.8, 0, 0.16},
                                          {"C", 0.8, 0, 0.1}, {"D", 0.8, 0, 0.1},  {"E", 0.8, 0, 0.1},
                                          {"F", 0.8, 0, 0.1}, {"G", 0.85, 0, 0.2}};
// The price is the one setting with which a deployment weighs balance against moves; here that of each scenario.
inline const std::vector<move_goal> g5 = {
    {"A", 1, 0, 0.015, 0.42}, {"B", 1, 0, 0.02, 0.52}, {"F", 1, 0, 0.015, 0.46}, {"G", 1, 0, 0.04, 0.315}};
inline const std::vector<par_goal> g6 = {{"A", 1.015, any},  {"B", 1.030, any}, {"C", 1.0005, any}, {"D", 1.0005, any},
                                         {"E", 1.0005, any}, {"F", 1.040, any}, {"G", 1.032, any}};
inline const std::vector<par_goal> g7 = {
    {"A", 1.06, 0.003, 0.03}, {"B", 1.09, 0.007, 0.008},   {"C", 1.001, 0},          {"D", 1.001, 0},
    {"E", 1.001, 0},          {"F", 1.095, 0.007, 0.0035}, {"G", 1.09, 0.007, 0.035}};  // max: moved
inline constexpr double g8_us_a_layer = 10, g8_gap = 1e-3;
inline const std::vector<std::array<ms_goal, 3>> g9 = {{{{"A", 8, 0}, {"A", 20, 0}, {"A", 50, 0}}},
                                                       {{{"F", 15, 0}, {"F", 35, 0}, {"F", 90, 0}}}};
inline const std::vector<par_goal> g10 = {{"A", 1.012, 1.07}, {"B", 1.026, 1.13}};
inline constexpr double g11_busiest = 2;

}  // namespace ballast::policies::goals
