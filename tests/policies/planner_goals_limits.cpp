#include "tests/policies/planner_goals_limits.hpp"

#include <algorithm>

#include "tests/policies/placement_bound.hpp"

namespace ballast::policies::goals {

namespace {

constexpr std::size_t samples = 24;

// Any price gives a bound: what is written in all is within its limit, so that what it costs can be taken off again.
class bound_search {
 public:
  bound_search(const plan_shape& shape, splits_t splits, const std::vector<sample>& from, double writes)
      : layer_(shape, splits), from_(from), writes_(writes) {}

  double best() {
    double price = 0.25 / std::max(writes_, 1.0), most = at(price);
    for (const double factor : {2.0, 0.5}) {
      for (double next = price * factor;; next *= factor) {
        const double found = at(next);
        if (!(found > most)) break;
        most = found;
        price = next;
      }
    }
    return most;
  }

 private:
  double at(double price) {
    double sum = 0;
    for (const auto& one : from_) sum += layer_.of(one.held.data(), one.next, price);
    return sum / static_cast<double>(from_.size()) - price * writes_;
  }

  priced_bound layer_;
  const std::vector<sample>& from_;
  double writes_;
};

}  // namespace

result<limits> limits_of(const scenario& s, const trace& t, way how, double moved) {
  how.samples = samples;
  const auto ours = replay(s, t, how);
  if (!ours) return fail(ours.error());
  how.samples = 0;
  how.foresight = true;
  const auto knowing = replay(s, t, how);
  if (!knowing) return fail(knowing.error());
  limits out;
  out.knowing = *knowing;
  out.layers = ours->samples.size();
  const auto shape = shape_of(s, t);
  double sum = 0;
  for (const auto& one : ours->samples) sum += bound_of_copies(shape, one.next);
  out.bound = sum / static_cast<double>(out.layers);
  if (moved >= 1) return out;
  const auto splits = how.shares == shares_t::even ? splits_t::even : splits_t::free;
  out.bound = std::max(out.bound, bound_search(shape, splits, ours->samples, moved * shape.slots()).best());
  return out;
}

}  // namespace ballast::policies::goals
