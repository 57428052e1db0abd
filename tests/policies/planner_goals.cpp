// The planner's goals, measured: one row a goal and scenario, exit status 0 only if all that were run are met. Times
// are CPU time of this process, one thread, median. See deploy/bench-planner.sh.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <set>

#include "policies/placement.hpp"
#include "tests/policies/planner_goals_limits.hpp"
#include "tests/policies/planner_goals_table.hpp"

namespace ballast::policies::goals {
namespace {

struct choice {
  std::string folder;
  std::vector<std::string> goals, scenarios;
  bool other_seeds = false;
  double write_price = -1;  // of G3, G4, G5 and G7, to try others
};

class bench {
 public:
  explicit bench(const choice& what) : what_(what), traces_(what.folder) {}

  int run() {
    fmt::print(
        "G: no recording of 94 layers is at hand; two of 48 are stacked, which the peers were not measured on.\n");
    fmt::print("{:<4} {:<3} {:<58} {:<28} {}\n", "goal", "", "figure", "goal", "met");
    fresh();
    priced("G3", "economy", g3);
    priced("G4", "quality", g4);
    shares_once();
    shares_served();
    shares_kept();
    share_solve();
    plan_times();
    homes();
    always();
    if (wanted("peers", "A")) peers();
    fmt::print("\n{} of {} met{}\n", met_, rows_, rows_ == 0 ? ": nothing was run" : "");
    for (const auto& note : notes_) fmt::print("{}\n", note);
    return met_ == rows_ && rows_ > 0 && notes_.empty() ? 0 : 1;
  }

 private:
  using goal_list = std::vector<std::string>;
  static bool among(const goal_list& list, const std::string& name) {
    return list.empty() || std::find(list.begin(), list.end(), name) != list.end();
  }
  bool wanted(const std::string& goal, const std::string& name) {
    if (!among(what_.goals, goal) || !among(what_.scenarios, name)) return false;
    return !what_.other_seeds || !of(name).files[1].empty();
  }
  static const scenario& of(const std::string& name) {
    return *std::find_if(scenarios().begin(), scenarios().end(), [&](const auto& s) { return s.name == name; });
  }
  const trace* load(const std::string& name) {
    const auto t = traces_.of(of(name), what_.other_seeds);
    if (t) return *t;
    if (missing_.insert(t.error().text).second) notes_.push_back(t.error().text);
    return nullptr;
  }
  bool row(const std::string& goal, const std::string& name, const std::string& figure, const std::string& limit,
           bool met) {
    fmt::print("{:<4} {:<3} {:<58} {:<28} {}\n", goal, name, figure, limit, met ? "met" : "NOT MET");
    std::fflush(stdout);
    ++rows_;
    met_ += met;
    return met;
  }
  // Beside a goal for the next interval that was missed: how far it can be reached.
  void show_limits(const std::string& name, const way& how, double moved) {
    const auto* t = load(name);
    const auto found = t == nullptr ? result<limits>(fail(errc::not_found, "")) : limits_of(of(name), *t, how, moved);
    if (!found) return;
    fmt::print("         bound {:.4f} ({} layers; {}); had we known the next interval {:.4f}, moved {:.2f} %\n",
               found->bound, found->layers,
               moved < 1 ? fmt::format("any plan of {:.2g} % moves from our placements", 100 * moved) : "any plan",
               found->knowing.next_mean, 100 * found->knowing.moved);
    std::fflush(stdout);
  }
  void remember(const std::string& name, const std::string& policy, const figures& f) {
    for (const auto& fault : f.faults) faults_.push_back(name + " " + policy + ": " + fault);
    if (f.moved > 0 && policy != "fresh") busiest_.emplace_back(f.busiest, name + " " + policy);
  }
  std::optional<figures> figures_of(const std::string& name, const std::string& policy, const way& how) {
    const auto* t = load(name);
    if (t == nullptr) return std::nullopt;
    auto f = replay(of(name), *t, how);
    if (!f) {
      notes_.push_back(name + ": " + f.error().text);
      return std::nullopt;
    }
    remember(name, policy, *f);
    return *f;
  }
  // The best peer's excess; on other seeds that of our own run of the published heuristic.
  std::optional<double> peer_excess(const std::string& name) {
    if (!what_.other_seeds) {
      for (const auto& p : best_peers())
        if (p.scenario == name) return p.next_par - 1;
    }
    if (const auto found = reference_.find(name); found != reference_.end()) return found->second;
    const auto* t = load(name);
    if (t == nullptr) return std::nullopt;
    const auto f = replay_deepseek(of(name), *t, 1);
    return reference_[name] = f ? f->next_mean - 1 : 0;
  }

  void fresh() {
    auto options = *policy_options("fresh");
    for (const auto& g : g1) {
      if (!wanted("G1", g.scenario)) continue;
      const auto f = figures_of(g.scenario, "fresh", {options, {}, false, shares_t::even});
      if (f)
        row("G1", g.scenario, fmt::format("plan PAR {:.4f}, max {:.4f}", f->plan_mean, f->plan_max),
            g.max < any ? fmt::format("{:.4g} / {:.4g}", g.mean, g.max) : fmt::format("{:.4g}", g.mean),
            f->plan_mean <= g.mean && f->plan_max <= g.max);
    }
    for (const auto& g : g2) {
      if (!wanted("G2", g.scenario)) continue;
      std::optional<figures> best;  // the fastest that is good enough, of a few targets
      for (const double target : {1.0, g.par, 1 + (g.par - 1) * 1.2, 1 + (g.par - 1) * 1.5}) {
        options.target_imbalance = target;
        const auto f = figures_of(g.scenario, "fresh", {options, {}, false, shares_t::even});
        if (!f) break;
        if (!best || (f->plan_mean <= g.par && (best->plan_mean > g.par || f->plan_ms < best->plan_ms))) best = f;
      }
      if (best)
        row("G2", g.scenario, fmt::format("{:.2f} ms at plan PAR {:.4f}", best->plan_ms, best->plan_mean),
            fmt::format("{:.1f} ms at {:.4g}", g.ms, g.par), best->plan_ms <= g.ms && best->plan_mean <= g.par);
    }
  }

  void against_peer(const std::string& goal, const move_goal& g, const std::string& policy, const way& how) {
    const auto f = figures_of(g.scenario, policy, how);
    const auto excess = peer_excess(g.scenario);
    if (!f || !excess) return;
    const double limit = g.factor * *excess + g.plus;
    const bool met = row(goal, g.scenario,
                         fmt::format("next PAR {:.4f} ({:.2f} x peer), moved {:.2f} %", f->next_mean,
                                     (f->next_mean - 1) / *excess, 100 * f->moved),
                         fmt::format("{:.4f} at {:.2g} %", 1 + limit, 100 * g.moved),
                         f->next_mean - 1 <= limit && f->moved <= g.moved);
    if (!met) show_limits(g.scenario, how, g.moved);
  }
  double price(double usual) const { return what_.write_price >= 0 ? what_.write_price : usual; }
  void priced(const std::string& goal, const std::string& policy, const std::vector<move_goal>& list) {
    for (const auto& g : list) {
      if (!wanted(goal, g.scenario)) continue;
      way how{*policy_options(policy)};
      how.options.write_price = price(how.options.write_price);
      against_peer(goal, g, policy, how);
    }
  }

  void shares_once() {
    for (const auto& g : g5) {
      if (!wanted("G5", g.scenario)) continue;
      way how{*policy_options("economy"), {}, true, shares_t::once};
      how.options.write_price = price(g.write_price);
      how.options.price_per_drift = 10;  // the price decides alone
      against_peer("G5", g, "shares once", how);
    }
  }
  void shares_served() {
    for (const auto& g : g6) {
      if (!wanted("G6", g.scenario)) continue;
      const way how{for_solved_shares(*policy_options("fresh")), {}, true, shares_t::served};
      const auto f = figures_of(g.scenario, "fresh", how);
      if (f && !row("G6", g.scenario,
                    fmt::format("PAR {:.4f}, moved {:.0f} %, plan {:.0f} ms", f->next_mean, 100 * f->moved, f->plan_ms),
                    fmt::format("{:.5g}", g.mean), f->next_mean <= g.mean))
        show_limits(g.scenario, how, 1);
    }
  }
  void shares_kept() {
    for (const auto& g : g7) {
      if (!wanted("G7", g.scenario)) continue;
      way how{for_solved_shares(*policy_options("economy")), for_solved_shares(*policy_options("fresh")), true,
              shares_t::served};
      how.options.write_price = price(g.write_price);
      if (g.max == 0) how.options.start = plan_options::start_t::keep;
      const auto f = figures_of(g.scenario, "shares kept", how);
      if (f &&
          !row("G7", g.scenario,
               fmt::format("PAR {:.4f}, moved {:.2f} %, plan {:.0f} ms", f->next_mean, 100 * f->moved, f->plan_ms),
               fmt::format("{:.4g} at {:.1f} %", g.mean, 100 * g.max), f->next_mean <= g.mean && f->moved <= g.max))
        show_limits(g.scenario, how, g.max);
    }
  }
  void share_solve() {
    if (!wanted("G8", "A")) return;
    const auto* t = load("A");
    const auto f = t == nullptr ? result<share_figures>(fail(errc::not_found, "")) : time_shares(of("A"), *t);
    if (f)
      row("G8", "A", fmt::format("{:.2f} us a layer, certificate gap {:.1e}", f->us_a_layer, f->worst_gap),
          fmt::format("{} us, {:.0e}", g8_us_a_layer, g8_gap),
          f->us_a_layer <= g8_us_a_layer && f->worst_gap <= g8_gap);
  }

  void plan_times() {
    const std::array<std::string, 3> policies = {"economy", "quality", "fresh"};
    for (const auto& goals : g9) {
      for (std::size_t k = 0; k < policies.size(); ++k) {
        const auto& g = goals[k];
        if (!wanted("G9", g.scenario)) continue;
        if (const auto f = figures_of(g.scenario, policies[k], {*policy_options(policies[k])}))
          row("G9", g.scenario, fmt::format("{}: {:.1f} ms, next PAR {:.4f}", policies[k], f->plan_ms, f->next_mean),
              fmt::format("{:.0f} ms", g.ms), f->plan_ms <= g.ms);
      }
    }
  }
  void homes() {
    for (const auto& g : g10) {
      if (!wanted("G10", g.scenario)) continue;
      way how{*policy_options("fresh"), {}, false, shares_t::even};
      how.options.home_copies = true;
      if (const auto f = figures_of(g.scenario, "fresh", how))
        row("G10", g.scenario, fmt::format("home copies: plan PAR {:.4f}, max {:.4f}", f->plan_mean, f->plan_max),
            fmt::format("{:.4g} / {:.4g}", g.mean, g.max), f->plan_mean <= g.mean && f->plan_max <= g.max);
    }
  }
  // Of all that was run so far; shapes of every kind are a property test's (random_problems_run).
  void always() {
    if (!among(what_.goals, "G11") || rows_ == 0) return;
    row("G11", "all", faults_.empty() ? "legal, and no layer worse than before" : faults_.front(), "no fault",
        faults_.empty());
    for (const auto& [most, where] : busiest_)
      if (most > g11_busiest)
        row("G11", "", fmt::format("{}: busiest receiver {:.2f} x the mean", where, most), "2", false);
    if (!busiest_.empty()) {
      const auto& [most, where] = *std::max_element(busiest_.begin(), busiest_.end());
      row("G11", "all", fmt::format("busiest receiver {:.2f} x the mean ({})", most, where), "2", most <= g11_busiest);
    }
  }

  void peers() {
    fmt::print(
        "\nFor reference: the published heuristic, our own run of it (next PAR, moved, CPU ms); best peer as "
        "measured\n");
    for (const auto& p : best_peers()) {
      if (!among(what_.scenarios, p.scenario) || (what_.other_seeds && of(p.scenario).files[1].empty())) continue;
      const auto* t = load(p.scenario);
      if (t == nullptr) continue;
      std::string text;
      for (const auto groups : {t->groups, 1U}) {
        if (groups == 1 && !text.empty() && t->groups == 1) break;
        const auto f = replay_deepseek(of(p.scenario), *t, groups);
        if (f)
          text += fmt::format("{}: {:.3f}, {:.0f} %, {:.0f} ms  ", groups > 1 ? "hierarchical" : "global", f->next_mean,
                              100 * f->moved, f->plan_ms);
      }
      if (!what_.other_seeds) text += fmt::format("best: {:.3f}, {:.0f} % ({})", p.next_par, 100 * p.moves, p.name);
      fmt::print("     {:<3} {}\n", p.scenario, text);
    }
  }

  const choice& what_;
  trace_store traces_;
  std::size_t rows_ = 0, met_ = 0;
  std::vector<std::string> notes_, faults_;
  std::set<std::string> missing_;
  std::vector<std::pair<double, std::string>> busiest_;
  std::map<std::string, double> reference_;
};

}  // namespace
}  // namespace ballast::policies::goals

int main(int argc, char** argv) {
  ballast::policies::goals::choice what;
  CLI::App app("Measures the planner against its goals.");
  app.add_option("--traces", what.folder, "folder of the recordings")->required();
  app.add_option("--goal", what.goals, "only these: G1 ... G11, peers");
  app.add_option("--scenario", what.scenarios, "only these: A, A2, A4, B ... G");
  app.add_flag("--other-seeds", what.other_seeds,
               "the recordings with another seed; peer: our run of the published heuristic");
  app.add_option("--write-price", what.write_price, "price a write in G3, G4, G5 and G7");
  CLI11_PARSE(app, argc, argv);
  return ballast::policies::goals::bench(what).run();
}
