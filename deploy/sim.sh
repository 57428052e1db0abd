#!/usr/bin/env bash
# Builds the cluster simulator and runs it on all cores: whole clusters on virtual time, one schedule a seed. Exit status
# 0 only if every schedule holds; a failing one is made small and printed with the command that replays it.
#   deploy/sim.sh --seeds A..B [--jobs N] [--failures N] [--bug NAME] [--list-bugs]
#   deploy/sim.sh --seed N [--agents N] [--keep 3,17,20] [--verbose]
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ $# -eq 0 ]]; then
  echo "usage: deploy/sim.sh --seeds A..B [--jobs N] [--failures N] [--bug NAME], or --seed N [--keep 3,17,20]" >&2
  exit 2
fi
cmake --preset release >/dev/null
cmake --build --preset release --target sim_run
# A schedule makes and frees many small things: more of them kept at hand spares a third of the time.
export GLIBC_TUNABLES=${GLIBC_TUNABLES-glibc.malloc.tcache_count=2000:glibc.malloc.tcache_max=4096}
exec build/release/tests/sim/sim_run "$@"
