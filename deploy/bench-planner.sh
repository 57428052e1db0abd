#!/usr/bin/env bash
# Builds the planner and measures it against its goals on recordings of expert loads: one row a goal and scenario. Exit
# status 0 only if all that were run are met. The recordings are not part of the repository; those of any engine work
# once they are in JSON Lines (ballast convert), under the names that tests/policies/planner_goals_traces.cpp gives them.
#   deploy/bench-planner.sh --traces FOLDER [--goal G6]... [--scenario A]... [--other-seeds] [--write-price X]
set -euo pipefail
here=$(pwd)
cd "$(dirname "$0")/.."

usage="usage: deploy/bench-planner.sh --traces FOLDER [--goal G6]... [--scenario A]... [--other-seeds] [--write-price X]"
traces="" rest=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --traces) shift; traces=${1:?--traces needs a folder} ;;
    --other-seeds) rest+=("$1") ;;
    --goal | --scenario | --write-price) rest+=("$1" "${2:?$1 needs a value}"); shift ;;
    *) echo "$usage" >&2; exit 2 ;;
  esac
  shift
done
[[ -n $traces ]] || { echo "$usage" >&2; exit 2; }
[[ $traces = /* ]] || traces=$here/$traces
if ! compgen -G "$traces/*.jsonl*" >/dev/null; then
  echo "bench-planner: no recordings (*.jsonl.gz) in $traces; name a folder that has some with --traces" >&2
  exit 2
fi

cmake --preset release >/dev/null
cmake --build --preset release --target planner_goals
exec build/release/tests/policies/planner_goals --traces "$traces" "${rest[@]}"
