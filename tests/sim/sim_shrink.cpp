#include "tests/sim/sim_shrink.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace ballast::sim {
namespace {

using numbers = std::vector<std::uint32_t>;

struct search {
  const schedule whole;
  const bug planted;
  const std::uint32_t runs_most;
  const std::chrono::steady_clock::time_point end;
  std::uint32_t tried = 0;

  bool spent() const { return tried >= runs_most || std::chrono::steady_clock::now() >= end; }
  bool fails(const part& p) {
    ++tried;
    return !run_schedule(only(whole, p), false, planted).ok;
  }
};

numbers without_run(const numbers& all, std::size_t from, std::size_t count) {
  numbers out(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(from));
  out.insert(out.end(), all.begin() + static_cast<std::ptrdiff_t>(std::min(all.size(), from + count)), all.end());
  return out;
}

// Leaves out runs of incidents, halves first, then ever shorter ones, as long as it goes on failing.
void drop_incidents(search& s, part& left) {
  for (std::size_t length = std::max<std::size_t>(1, left.keep->size() / 2);; length /= 2) {
    for (std::size_t from = 0; from < left.keep->size() && !s.spent();) {
      part fewer = left;
      fewer.keep = without_run(*left.keep, from, length);
      if (s.fails(fewer))
        left = fewer;
      else
        from += length;
    }
    if (length <= 1 || s.spent()) return;
  }
}

void drop_agents(search& s, part& left) {
  for (std::size_t step = std::max<std::size_t>(1, left.agents / 2); !s.spent();) {
    part fewer = left;
    fewer.agents = left.agents - std::min(left.agents - 1, step);
    if (fewer.agents < left.agents && s.fails(fewer)) {
      left = fewer;
    } else if (step > 1) {
      step /= 2;
    } else {
      return;
    }
  }
}

}  // namespace

shrunk shrink(std::uint64_t seed, bug planted, std::uint32_t runs_most, std::chrono::seconds patience) {
  search s{draw(seed), planted, runs_most, std::chrono::steady_clock::now() + patience};
  part left{numbers{}, s.whole.where.agents.size()};
  for (const auto& i : s.whole.incidents) left.keep->push_back(i.number);
  for (std::size_t size = ~std::size_t{0}; left.keep->size() + left.agents < size && !s.spent();) {
    size = left.keep->size() + left.agents;
    drop_agents(s, left);
    drop_incidents(s, left);
  }
  return {left, run_schedule(only(s.whole, left), true, planted), s.tried};
}

std::string arguments_of(std::uint64_t seed, const part& left, bug planted) {
  std::string out = fmt::format("--seed {}", seed);
  if (left.agents != ~std::size_t{0}) out += fmt::format(" --agents {}", left.agents);
  if (left.keep) out += left.keep->empty() ? " --keep none" : fmt::format(" --keep {}", fmt::join(*left.keep, ","));
  for (const auto& b : bugs)
    if (b.what == planted) out += fmt::format(" --bug {}", b.name);
  return out;
}

}  // namespace ballast::sim
