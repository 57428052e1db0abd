#!/usr/bin/env bash
# Installs what is missing, builds, and runs the whole test suite through ctest: as released, then under the address and
# undefined-behaviour sanitizers. `--tsan` adds the thread sanitizer, `--only PRESET` runs one of them.
set -euo pipefail
cd "$(dirname "$0")/.."

presets=(release asan)
while [[ $# -gt 0 ]]; do
  case $1 in
    --tsan) presets+=(tsan) ;;
    --only) shift; presets=("${1:?--only needs release, debug, asan or tsan}") ;;
    *) echo "usage: deploy/test.sh [--tsan] [--only PRESET]" >&2; exit 2 ;;
  esac
  shift
done

./deploy/install-deps.sh --browser

jobs=$(nproc)  # one test more at a time: many wait for processes and timers
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:strict_string_checks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-suppressions=$PWD/deploy/tsan.supp:halt_on_error=0:second_deadlock_stack=1}

# why_skipped LOG: each reason once, with how many tests it kept from running; ctest tells only that they did not.
why_skipped() {
  [[ -r $1 ]] || return 0
  awk 'reason { count[$0]++; reason = 0 } /: Skipped$/ { reason = 1 } END { for (r in count) print count[r] " x " r }' "$1" | sort -rn
}

# What the thread sanitizer leaves no time or memory for: it looks into every report in CAF's frames before it drops it
# (deploy/tsan.supp), and whole deployments under load miss their deadlines.
too_slow_for_tsan='^(matrix/|serving\.(shares|grows)|cluster_test_restored|secured_link\.events_go)'

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
failed=0
for preset in "${presets[@]}"; do
  echo "== $preset: build"
  cmake --preset "$preset" >"$results/configure" 2>&1 || { cat "$results/configure" >&2; exit 1; }
  cmake --build --preset "$preset" -j "$jobs"
  echo "== $preset: tests"
  left_out=()
  [[ $preset != tsan ]] || left_out=(--exclude-regex "$too_slow_for_tsan")
  ctest --preset "$preset" -j "$((jobs + 1))" --no-tests=error "${left_out[@]}" | tee "$results/$preset" || failed=1
  echo "== $preset: why tests were skipped"
  why_skipped "build/$preset/Testing/Temporary/LastTest.log"
done

echo "== summary"
for preset in "${presets[@]}"; do
  echo "-- $preset"
  # ctest's own last lines: from the count of passed tests to the end.
  sed -n '/tests passed/,$p' "$results/$preset"
done
# Last, what failed tests printed: each from its own line up to where the next test starts.
failed_test='^ *[0-9]*\/[0-9]* Test .*\*\*\*\(Failed\|Timeout\|Exception\)'
next_test='^ *Start  *[0-9]*:'
for preset in "${presets[@]}"; do
  sed -n "/$failed_test/,/$next_test/{/$next_test/!p}" "$results/$preset"
done
exit "$failed"
