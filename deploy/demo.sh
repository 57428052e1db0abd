#!/usr/bin/env bash
# Installs what is missing, builds the programs and runs the demonstration: serving, a live rebalance, scale up, scale
# down, a killed rank. Arguments go to `ballast demo` (try --help). Exit status 0 only if nothing was lost and every
# answer matched.
set -euo pipefail
cd "$(dirname "$0")/.."

./deploy/install-deps.sh
build=${BALLAST_BUILD_DIR:-build/programs}
cmake --preset release -B "$build" -DBALLAST_TESTS=OFF >"${TMPDIR:-/tmp}/ballast-configure.$$" 2>&1 ||
  { cat "${TMPDIR:-/tmp}/ballast-configure.$$" >&2; exit 1; }
rm -f "${TMPDIR:-/tmp}/ballast-configure.$$"
cmake --build "$build" --target ballast ballast-agent ballast-coordinator
exec "$build/bin/ballast" demo "$@"
