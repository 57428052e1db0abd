/* Ballast's planner for programs in any language: which rank holds which expert, and which part of its tokens each copy
 * takes. Plain arrays in and out; nothing is kept between calls, equal inputs give equal outputs on every host.
 *
 * Threads: every function may be called at any time from any thread. Options may be read by many calls at once, but not
 * changed meanwhile. Errors: what returns ballast_status says 0 or what went wrong, with one line in `error` (which may
 * be null); outputs are then untouched. No function throws or ends the process.
 *
 * A map is [layers][slots] logical experts, the slots of rank 0 first; -1 is an empty slot. Loads are token counts,
 * [layers][experts], or anything in proportion to them. "Peak" is the load of the busiest rank over the mean one.
 */
#ifndef BALLAST_POLICIES_H
#define BALLAST_POLICIES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BALLAST_POLICIES_API 1 /* grows with what is added; what is there stays */

typedef enum {
  BALLAST_OK = 0,
  BALLAST_INVALID_ARGUMENT = 1, /* can never be right, or a map that is not legal */
  BALLAST_NOT_FOUND = 2,        /* a policy or an option of that name; the text lists those there are */
  BALLAST_DOES_NOT_FIT = 3,     /* too few slots; the text has the numbers */
  BALLAST_OUT_OF_MEMORY = 4,
  BALLAST_INTERNAL = 5 /* a defect of this library */
} ballast_status;

typedef struct {
  int32_t status; /* ballast_status */
  char text[508]; /* one line, ended by a zero */
} ballast_error;

/* `size` is the caller's sizeof of the struct: members that a newer header adds count as zero for an older caller. */
typedef struct {
  size_t size;
  uint32_t layers, experts;
  uint32_t groups;       /* consecutive, equal runs of experts that `deepseek` and home copies keep together; else 1 */
  uint32_t ranks;        /* ranks to place on */
  const uint32_t* slots; /* [ranks] copies of experts that a rank holds, a layer */
  const uint32_t* nodes; /* [ranks] the node of each, or null: all on one */
  const double* speeds;  /* [ranks] relative, or null: all alike. Load is divided by it */
} ballast_shape;

/* What was seen, oldest first. The parts divide the last interval and sum to it. Parts and intervals may be missing
 * (count 0), but with them the next interval is balanced better. */
typedef struct {
  size_t size;
  const double* last;      /* [layers][experts]; null: even */
  const double* parts;     /* [part_count][layers][experts] */
  const double* intervals; /* [interval_count][layers][experts], before the last one */
  uint32_t part_count, interval_count;
} ballast_loads;

typedef struct {
  size_t size;
  uint64_t moves;               /* slots that hold an expert which was not on that rank before */
  double peak_before;           /* mean over layers, on the last interval, tokens split evenly; 0 without a legal map */
  double peak_after, peak_most; /* mean over layers, and the worst layer */
  char note[480];               /* what was asked for and could not be; empty if nothing */
} ballast_summary;

uint32_t ballast_policies_api(void);        /* BALLAST_POLICIES_API of the library */
const char* ballast_policies_version(void); /* of Ballast, like "0.1.0" */

/* A policy with its options: "economy" (few moves, from the current map: the usual choice), "quality" (better balance
 * for more moves), "fresh" (from nothing, whatever moves), "static" (moves nothing that is there) and "deepseek" (the
 * published heuristic). Null if it fails. Give it back with ballast_options_free, which takes null, too. */
typedef struct ballast_options ballast_options;
ballast_options* ballast_options_new(const char* policy, ballast_error* error);
void ballast_options_free(ballast_options* options);

/* By name, the members of plan_options (docs/PLANNING.md): write_price, price_per_drift, target_imbalance, gain_min,
 * changes_max, idle_ranks_max, power, home_copies, threads, snapshots.last and so on. Besides them redundant (copies
 * beyond one an expert, a layer; as many as fit) and solved_shares (1: a layout for shares that are solved for the load
 * served). For ballast_solve_shares: shares.gap, shares.even, threads. */
ballast_status ballast_options_set(ballast_options* options, const char* name, double value, ballast_error* error);

/* `current` is the map in use (null: none); experts may be missing in it or be twice on a rank. What stays on its rank
 * stays in its slot. `out` may be `current`. `summary` may be null. */
ballast_status ballast_plan(const ballast_shape* shape, const ballast_options* options, const ballast_loads* loads,
                            const int32_t* current, int32_t* out, ballast_summary* summary, ballast_error* error);

/* Which part of its expert's tokens every slot takes, so that the busiest rank has the least to do: `shares` is
 * [layers][slots], 0 for empty slots. No weight moves, so this may be done many times between two plans. `peaks` and
 * `bounds` are [layers] or null: what is reached, and what no shares can fall below. `options` may be null. */
ballast_status ballast_solve_shares(const ballast_shape* shape, const ballast_options* options, const int32_t* map,
                                    const double* loads, double* shares, double* peaks, double* bounds,
                                    ballast_error* error);

/* Whether every expert has a copy and none has two on a rank. */
ballast_status ballast_validate(const ballast_shape* shape, const int32_t* map, ballast_error* error);

/* The peak of every layer: `peaks` is [layers]. `shares` as above, or null: split evenly over the copies. */
ballast_status ballast_peaks(const ballast_shape* shape, const int32_t* map, const double* shares, const double* loads,
                             double* peaks, ballast_error* error);

#ifdef __cplusplus
}
#endif

#endif
