#!/usr/bin/env bash
# What fits in six minutes on one GPU: the tests marked `cuda`, then the benchmarks, and one table of their ratios.
#
#   benchmarks/run_gpu.sh                            on the GPU that torch sees
#   benchmarks/run_gpu.sh --device cpu --quick       the same with tiny sizes, to see that everything here runs
#
# Leaves with the tests' exit code: a benchmark never fails on time, but is stopped where the six minutes end.
set -uo pipefail
cd "$(dirname "$0")/.."
device=cuda quick=""
while [ $# -gt 0 ]; do
  case "$1" in
    --device) device=${2:?--device needs a name}; shift 2 ;;
    --quick) quick=yes; shift ;;
    *) echo "usage: $0 [--device cuda|cpu] [--quick]" >&2; exit 2 ;;
  esac
done
export REALIGN_TEST_DEVICE=$device PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONWARNINGS=ignore
REALIGN_BENCH_TABLE=$(mktemp)
export REALIGN_BENCH_TABLE
trap 'rm -f "$REALIGN_BENCH_TABLE"' EXIT
seconds=360 testing=150
[ "$device" = cpu ] && seconds=1800 testing=900 # where nothing is measured that counts
deadline=$((SECONDS + seconds))

# run SECONDS COMMAND...: for so long, or until the time of all is over
run() {
  local left=$((deadline - SECONDS)) most=$1 status
  shift
  echo "+ $*"
  if [ "$left" -le 5 ]; then echo "! no time is left for it"; return 124; fi
  timeout --kill-after 10 "$((left < most ? left : most))" "$@"
  status=$?
  [ "$status" -eq 0 ] || echo "! ended with $status$([ "$status" -eq 124 ] && echo ', stopped by the clock')"
  return "$status"
}

mapfile -t files < <(grep -rl 'mark\.cuda' tests --include='test_*.py') # to collect all others takes half a minute
run "$testing" python -m pytest -q -m cuda -p no:cacheprovider "${files[@]}"
tests=$?
[ "$tests" -eq 5 ] && tests=0 # no test was chosen
if [ -n "$quick" ]; then
  training=(--tiny --batch 2 --steps 2 --rounds 1) guidance=(--tiny --steps 5 --rounds 1 --batches 1 2)
  denoising=(--tiny) texts=(--captions 32) metrics=(--n 300 --repeats 1)
else
  training=(--steps 30 --rounds 2) guidance=(--steps 20 --rounds 3)
  denoising=() texts=() metrics=(--n 4384 --repeats 3)
fi
run 90 python benchmarks/bench_training.py --device "$device" "${training[@]}"
run 60 python benchmarks/bench_guidance.py --device "$device" --only "latents, 49 x 16: .*(every step|default)" "${guidance[@]}"
run 30 python benchmarks/bench_denoising.py --device "$device" "${denoising[@]}"
run 30 python benchmarks/bench_text_cache.py --device "$device" "${texts[@]}"
run 20 python benchmarks/bench_generation_metrics.py --device "$device" "${metrics[@]}"
run 20 python benchmarks/bench_retrieval_metrics.py --device "$device" "${metrics[@]}"
echo
python benchmarks/table.py "$REALIGN_BENCH_TABLE" "$device"
echo "$SECONDS s in all; tests left with $tests"
exit "$tests"
