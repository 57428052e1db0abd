// The C interface: checks, copies, calls, and lets no exception out.
#include "policies/c_api/ballast_policies.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <limits>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "policies/c_api/named_options.hpp"
#include "policies/c_api/plain_arrays.hpp"

struct ballast_options {
  ballast::policies::c_api::named_options named;
};

namespace ballast::policies::c_api {

namespace {

ballast_status status_of(errc code) {
  switch (code) {
    case errc::not_found:
      return BALLAST_NOT_FOUND;
    case errc::does_not_fit:
      return BALLAST_DOES_NOT_FIT;
    default:
      return BALLAST_INVALID_ARGUMENT;
  }
}

template <std::size_t size>
void put_text(char (&into)[size], const char* text) {
  const auto length = std::min(size - 1, std::strlen(text));
  std::memcpy(into, text, length);
  std::memset(into + length, 0, size - length);
}

ballast_status report(ballast_error* into, ballast_status code, const char* text) {
  if (into != nullptr) {
    into->status = code;
    put_text(into->text, text);
  }
  return code;
}

// Runs one call; what goes wrong becomes a value.
template <class F>
ballast_status guarded(ballast_error* into, F&& call) noexcept {
  try {
    const status done = call();
    return done ? report(into, BALLAST_OK, "") : report(into, status_of(done.error().code), done.error().text.c_str());
  } catch (const std::bad_alloc&) {
    return report(into, BALLAST_OUT_OF_MEMORY, "not enough memory for arrays of this shape");
  } catch (const std::exception& e) {
    return report(into, BALLAST_INTERNAL, e.what());
  } catch (...) {
    return report(into, BALLAST_INTERNAL, "an exception of no known type");
  }
}

tl::unexpected<error> is_null(const char* what) { return fail(errc::invalid_argument, std::string(what) + " is null"); }

status check_loads(const cluster& c, const double* loads) {
  if (loads == nullptr) return is_null("loads");
  for (std::size_t k = 0; k < std::size_t{c.layers} * c.experts; ++k) {
    if (loads[k] >= 0 && loads[k] <= std::numeric_limits<double>::max()) continue;
    return fail(errc::invalid_argument, "loads: layer " + std::to_string(k / c.experts) + ", expert " +
                                            std::to_string(k % c.experts) + " is not a number >= 0");
  }
  return {};
}

result<placement> legal_placement(const cluster& c, const std::int32_t* map) {
  auto out = placement_of(c, map);
  if (!out) return out;
  if (auto ok = check_map(c, *out); !ok) return fail(ok.error());
  if (auto ok = validate(*out, c.layers, c.experts, c.seats); !ok) return fail(ok.error());
  return out;
}

std::uint64_t moves_between(const std::optional<placement>& before, const placement& after) {
  std::uint64_t moves = 0;
  for (std::size_t layer = 0; layer < after.layers.size(); ++layer) {
    for (std::size_t e = 0; e < after.layers[layer].size(); ++e) {
      for (const auto& r : after.layers[layer][e]) {
        const auto same = [&](const replica& old) { return old.seat == r.seat; };
        moves += !before || std::none_of(before->layers[layer][e].begin(), before->layers[layer][e].end(), same);
      }
    }
  }
  return moves;
}

void summarise(const cluster& c, const placement_problem& problem, const placement& planned,
               const std::vector<std::string>& notes, ballast_summary* into) {
  const auto peaks = [&, even = load_matrix(c.layers, std::vector<double>(c.experts, 1.0))](const placement& p) {
    return imbalance(p, problem.loads.empty() ? even : problem.loads, c.seats);
  };
  ballast_summary out{};
  std::memcpy(&out.size, into, sizeof out.size);
  out.moves = moves_between(problem.current, planned);
  if (problem.current && validate(*problem.current, c.layers, c.experts, c.seats))
    out.peak_before = peaks(*problem.current).mean;
  const auto after = peaks(planned);
  out.peak_after = after.mean;
  out.peak_most = after.max;
  put_text(out.note, notes.empty() ? "" : notes.front().c_str());
  std::memcpy(into, &out, std::min(out.size, sizeof out));
}

result<placement_problem> problem_of(const cluster& c, const named_options& options, const ballast_loads* given,
                                     const std::int32_t* current) {
  const auto loads = known(given);
  if (!loads) return fail(loads.error());
  if (loads->part_count > 0 && loads->parts == nullptr) return is_null("loads: parts");
  if (loads->interval_count > 0 && loads->intervals == nullptr) return is_null("loads: intervals");
  placement_problem problem;
  problem.layers = c.layers;
  problem.experts = c.experts;
  problem.groups = c.groups;
  problem.redundant = options.redundant;
  problem.seats = c.seats;
  problem.loads = matrix_of(c, loads->last);
  problem.history.parts = matrices_of(c, loads->parts, loads->part_count);
  problem.history.intervals = matrices_of(c, loads->intervals, loads->interval_count);
  problem.shares_follow = options.solved_shares;
  if (options.plan) {
    problem.options = options.solved_shares ? for_solved_shares(*options.plan) : *options.plan;
    problem.options->threads = options.threads;
  }
  if (current != nullptr) {
    auto placed = placement_of(c, current);
    if (!placed) return fail(placed.error());
    problem.current = std::move(*placed);
  }
  return problem;
}

}  // namespace

}  // namespace ballast::policies::c_api

using namespace ballast;
using namespace ballast::policies;
using namespace ballast::policies::c_api;

uint32_t ballast_policies_api(void) { return BALLAST_POLICIES_API; }

const char* ballast_policies_version(void) { return BALLAST_VERSION; }

ballast_options* ballast_options_new(const char* policy, ballast_error* error) {
  ballast_options* made = nullptr;
  guarded(error, [&]() -> status {
    if (policy == nullptr) return is_null("policy");
    auto named = named_options::of(policy);
    if (!named) return fail(named.error());
    made = new ballast_options{std::move(*named)};
    return {};
  });
  return made;
}

void ballast_options_free(ballast_options* options) { delete options; }

ballast_status ballast_options_set(ballast_options* options, const char* name, double value, ballast_error* error) {
  return guarded(error, [&]() -> status {
    if (options == nullptr || name == nullptr) return is_null(options == nullptr ? "options" : "name");
    return options->named.set(name, value);
  });
}

ballast_status ballast_plan(const ballast_shape* shape, const ballast_options* options, const ballast_loads* loads,
                            const int32_t* current, int32_t* out, ballast_summary* summary, ballast_error* error) {
  return guarded(error, [&]() -> status {
    if (options == nullptr || out == nullptr) return is_null(options == nullptr ? "options" : "out");
    const auto c = cluster_of(shape);
    if (!c) return fail(c.error());
    if (auto ok = check_room(*c); !ok) return ok;
    const auto problem = problem_of(*c, options->named, loads, current);
    if (!problem) return fail(problem.error());
    std::vector<std::string> notes;
    const auto planned = place(options->named.policy, *problem, &notes);
    if (!planned) return fail(planned.error());
    if (summary != nullptr) summarise(*c, *problem, *planned, notes, summary);
    write_map(*c, *planned, out);
    return {};
  });
}

ballast_status ballast_solve_shares(const ballast_shape* shape, const ballast_options* options, const int32_t* map,
                                    const double* loads, double* shares, double* peaks, double* bounds,
                                    ballast_error* error) {
  return guarded(error, [&]() -> status {
    if (shares == nullptr || loads == nullptr) return is_null(shares == nullptr ? "shares" : "loads");
    const auto c = cluster_of(shape);
    if (!c) return fail(c.error());
    auto placed = legal_placement(*c, map);
    if (!placed) return fail(placed.error());
    share_options how;
    if (options != nullptr) {
      how = options->named.shares;
      how.threads = options->named.threads;
    }
    const auto solved = solve_shares(std::move(*placed), matrix_of(*c, loads), c->seats, how);
    if (!solved) return fail(solved.error());
    write_shares(*c, solved->table, shares);
    for (std::uint32_t layer = 0; layer < c->layers; ++layer) {
      if (peaks != nullptr) peaks[layer] = solved->layers[layer].peak;
      if (bounds != nullptr) bounds[layer] = solved->layers[layer].bound;
    }
    return {};
  });
}

ballast_status ballast_validate(const ballast_shape* shape, const int32_t* map, ballast_error* error) {
  return guarded(error, [&]() -> status {
    const auto c = cluster_of(shape);
    if (!c) return fail(c.error());
    const auto placed = legal_placement(*c, map);
    return placed ? status{} : fail(placed.error());
  });
}

ballast_status ballast_peaks(const ballast_shape* shape, const int32_t* map, const double* shares, const double* loads,
                             double* peaks, ballast_error* error) {
  return guarded(error, [&]() -> status {
    if (peaks == nullptr) return is_null("peaks");
    const auto c = cluster_of(shape);
    if (!c) return fail(c.error());
    if (auto ok = check_loads(*c, loads); !ok) return ok;
    const auto placed = placement_of(*c, map, shares);
    if (!placed) return fail(placed.error());
    const auto report = imbalance(*placed, matrix_of(*c, loads), c->seats);
    std::copy(report.layers.begin(), report.layers.end(), peaks);
    return {};
  });
}
