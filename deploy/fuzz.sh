#!/usr/bin/env bash
# Fuzzes what reads bytes from outside, under the address and undefined-behaviour sanitizers: all targets, or those named, as
# many at a time as there are cores, each for so long or so many executions. Exits 0 only if nothing crashed, hung, leaked or broke a promise.
# New inputs are kept in build/fuzz/found, and what failed in build/fuzz/failed.
set -euo pipefail
cd "$(dirname "$0")/.."

bound=-max_total_time=60
targets=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --seconds) shift; bound=-max_total_time=${1:?--seconds needs a number} ;;
    --runs) shift; bound=-runs=${1:?--runs needs a number} ;;
    -*) echo "usage: deploy/fuzz.sh [--seconds N | --runs N] [TARGET...]" >&2; exit 2 ;;
    *) targets+=("$1") ;;
  esac
  shift
done

./deploy/install-deps.sh --fuzz
build=build/fuzz
mkdir -p "$build/found" "$build/failed"
cmake --preset fuzz >"$build/configure.log" 2>&1 || { cat "$build/configure.log" >&2; exit 1; }
cmake --build --preset fuzz -j "$(nproc)"
if [[ ${#targets[@]} -eq 0 ]]; then
  mapfile -t targets < <(cut -d ' ' -f 1 "$build/tests/fuzz/targets")
fi

# Short memory of what was freed and by whom: an execution frees a few MiB at most, and this halves its time. The input
# that failed, given to the target with ASAN_OPTIONS= , prints whole stacks.
export ASAN_OPTIONS=${ASAN_OPTIONS-detect_leaks=1:strict_string_checks=1:quarantine_size_mb=16:malloc_context_size=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
for target in "${targets[@]}"; do
  grep -q "^$target " "$build/tests/fuzz/targets" ||
    { echo "fuzz: no target $target; there are $(cut -d ' ' -f 1 "$build/tests/fuzz/targets" | xargs)" >&2; exit 2; }
done

# fuzz TARGET BUILD BOUND. Inputs are not weighed by how rare their features are (entropic): it takes four fifths of the time
# of the fastest targets and finds no more.
fuzz() {
  local target=$1 build=$2 bound=$3 corpus verdict=held executed
  read -r -a corpus < <(grep "^$target " "$build/tests/fuzz/targets" | cut -d ' ' -f 2-)
  mkdir -p "$build/found/$target"
  "$build/tests/fuzz/fuzz_$target" "$bound" -max_len=4096 -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 -entropic=0 \
    -artifact_prefix="$build/failed/$target-" "$build/found/$target" "${corpus[@]}" >"$build/$target.log" 2>&1 || verdict=FAILED
  executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$build/$target.log")
  echo "$target: $verdict, ${executed:-?} executions"
  [[ $verdict == held ]] || { tail -n 40 "$build/$target.log" >&2; return 1; }
}
export -f fuzz
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I '{}' bash -c 'fuzz "$@"' fuzz '{}' "$build" "$bound"
