#!/usr/bin/env bash
# Proves and measures the cuda backend on the GPUs of this machine: correctness first, then every figure that
# tests/gpu/RESULTS.md lists. Builds what it runs, unless --programs names a folder that holds it. Exit status 0 only if
# all tests passed; figures are printed, not judged: machines differ. --quick leaves out what takes longest: whole models of
# 48 layers (60 GB under TMPDIR) as processes, compute-sanitizer, variants of copying, and recorded loads.
#   deploy/gpu-check.sh [--programs FOLDER] [--cycles N] [--layers N] [--quick]
set -uo pipefail
cd "$(dirname "$0")/.."

programs="" cycles=200 layers=4 quick=""
while [[ $# -gt 0 ]]; do
  case $1 in
    --programs) shift; programs=${1:?--programs needs a folder} ;;
    --cycles) shift; cycles=${1:?--cycles needs a number} ;;
    --layers) shift; layers=${1:?--layers needs a number} ;;
    --quick) quick=1 ;;
    *) echo "usage: deploy/gpu-check.sh [--programs FOLDER] [--cycles N] [--layers N] [--quick]" >&2; exit 2 ;;
  esac
  shift
done

if [[ -z $programs ]]; then
  ./deploy/install-deps.sh
  cmake --preset release -DBALLAST_CUDA=ON && cmake --build --preset release || exit 1
  programs=build/check
  rm -rf "$programs" && mkdir -p "$programs"
  cp build/release/bin/* "$programs"
  find build/release/tests -type f \( -name 'cuda_*_test' -o -name 'cuda_*_bench' -o -name serving_test -o -name recorded_loads \) -exec cp {} "$programs" \;
fi
programs=$(cd "$programs" && pwd)
export BALLAST_BACKENDS=$programs NCCL_NVLS_ENABLE=${NCCL_NVLS_ENABLE:-0}
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
failed=0

gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU') || true
if [[ ${gpus:-0} -eq 0 ]]; then
  echo "gpu-check: nvidia-smi shows no GPU on this machine" >&2
  exit 1
fi
echo "== $(date -u +%F) $gpus x $(nvidia-smi --query-gpu=name --format=csv,noheader | head -1)"

# prove TEST FILTER: whole deployments run on the cuda backend, too.
prove() {
  if BALLAST_TEST_BACKEND=cuda timeout 90 "$programs/$1" --gtest_filter="$2" >"$log/$1" 2>&1; then
    echo "$1 $2: $(grep -E '^\[ +PASSED' "$log/$1"), $(grep -cE '^\[ +SKIPPED \].*ms\)' "$log/$1") skipped"
  else
    failed=1
    echo "$1 $2: FAILED"
    grep -E 'Failure|FAILED|no GPU|error' "$log/$1" | head -12
    tail -3 "$log/$1"
  fi
}

echo "== correctness: tokens by peer memory"
for test in cuda_pages_test cuda_transport_test cuda_step_test serving_test; do prove "$test" '-*nccl*'; done

run() { timeout 300 "$@" 2>&1 | grep -v 'stands on GPU' || { failed=1; echo "FAILED: $*"; }; }

two_processes() {
  echo "== figures: two agents as processes, $1 layers"
  timeout 400 python3 tests/gpu/two_processes.py "$programs" --layers "$1" --cycles "$2" || failed=1
}

# sanitize TOOL FILTER: the kernels of steps under one of compute-sanitizer's tools.
sanitize() {
  if ! command -v compute-sanitizer >/dev/null; then
    echo "$1: skipped, compute-sanitizer is not on PATH (it comes with the CUDA toolkit)"
  elif timeout 300 compute-sanitizer --tool "$1" --error-exitcode 9 --report-api-errors no \
    "$programs/cuda_step_test" --gtest_filter="$2" >"$log/$1" 2>&1; then
    echo "$1: $(tail -1 "$log/$1")"
  else
    failed=1
    echo "$1: FAILED"
    tail -3 "$log/$1"
  fi
}

echo "== figures: steps of 48 layers x 128 experts, hidden 2048, intermediate 768, bf16, top-8"
run "$programs/cuda_step_bench" 1 128 on 64 4096
if [[ $gpus -ge 2 ]]; then
  run "$programs/cuda_step_bench" 2 72 on 64 4096
  run "$programs/cuda_step_bench" 2 72 off 64
  run "$programs/cuda_step_bench" 2 72 on 64
fi
run "$programs/cuda_step_bench" commit
if [[ $gpus -ge 2 ]]; then
  echo "== figures: a quarter of all slots changes places"
  run "$programs/cuda_transfer_bench"
  settings=(0 8 1 12288 1 100 48 1 12288 1 50 48 1 12288 1)
  # Unpaced with room for all layers, without checksums, in small pieces, and by the clock alone.
  [[ -n $quick ]] || settings+=(0 48 1 12288 1 100 48 0 12288 1 100 48 1 3072 1 100 48 1 12288 0 50 48 1 12288 0)
  run "$programs/cuda_live_bench" "${settings[@]}"
  two_processes "$layers" "$cycles"
  [[ -n $quick ]] || two_processes 48 2
fi

echo "== correctness: tokens by NCCL"
prove cuda_exchange_test '*'
prove cuda_step_test '*nccl*'
timeout 90 tests/gpu/namespaces.sh "$programs" cuda 5 >"$log/namespaces" 2>&1
code=$?
tail -14 "$log/namespaces"
[[ $code -eq 0 || $code -eq 77 ]] || failed=1  # 77: it cannot run here, and says why

if [[ -z $quick ]]; then
  echo "== correctness: kernels under compute-sanitizer"
  sanitize memcheck '*bits*f8*:*hundredth*:*cuda_steps.tokens*'
  sanitize racecheck '*hundredth*'
  echo "== figures: imbalance of the next interval under recorded loads"
  run "$programs/recorded_loads" tests/data/qwen30-drift-s1-8l.jsonl.gz 2 72
  run "$programs/recorded_loads" tests/data/dsv3-shift-s1-4l.jsonl.gz 8 36
fi
exit "$failed"
