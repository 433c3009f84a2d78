#!/bin/sh
# What has to be seen on a machine with a GPU, one part after the other, each into a file of the folder OUT, with a count at the end.
#
#     gpu.sh OUT [part...]      all parts: tests oracle libraries wgmma steps bits train memcheck racecheck synccheck bench
#                               sanitizer: its three tools. initcheck is run when it is named (docs/cuda.md says why), and so are counters
#                               and variants
#
# BIN      folder of ediy and oracle, linked with CUDA, and of tests/cuda/test_* (.)
# SHIM     ediy linked with the shim ($BIN/shim/ediy)
# PTX      ediy linked with nvcc's PTX and the machine that runs it on the CPU ($BIN/ptx/ediy): what its bits in tf32 and bf16 should be
# RUNNER   run.sh of the tests ($BIN/run.sh)
# BENCH    bench.sh ($BIN/bench.sh); PEER, PYTHON, ROUNDS, KEYS as it says
# COUNTERS counters.sh ($BIN/counters.sh); RUNS, NCU, KEYS as it says
# CHOICES  variants.sh ($BIN/variants.sh); VARIANTS, KEYS as it says
# CLASSES  of precision, for the parts oracle, steps, bits and train (fp32 tf32 bf16)
# SMALL=1  sizes with which the script itself can be tried
# SECONDS_A_TOOL   for each of the sanitizer's tools (500): what it does not come to is named
# SECONDS_A_TEST   for each program of the part tests (90): one that hangs is named, and the others are run
# SECONDS_LEFT     for all parts of this call together (none: as long as they take): a part that is at work then is ended, and what would begin later is
#                  left out and named, so that the summary is there before the machine's own limit of a command ends everything
# PACK=1   OUT gets two files, whatever the parts leave: summary.txt, and results.tar.gz with all of it; running.txt is the part that is at work
#
# Relative paths are those of the folder in which this is started. Without a GPU a part is skipped with the reason; the tests skip one by one. A part
# that does not come to its end in its time is no failure, and not passed. Exit status 1 when anything failed or was not finished.
set -u
SKIP=77 UNFINISHED=75
BIN=$(cd "${BIN:-.}" && pwd)
SHIM=${SHIM:-$BIN/shim/ediy}
PTX=${PTX:-$BIN/ptx/ediy}
RUNNER=${RUNNER:-$BIN/run.sh}
BENCH=${BENCH:-$BIN/bench.sh}
COUNTERS=${COUNTERS:-$BIN/counters.sh}
CHOICES=${CHOICES:-$BIN/variants.sh}
PYTHON=${PYTHON:-python3}
SMALL=${SMALL:-}
CLASSES=${CLASSES:-fp32 tf32 bf16}
SECONDS_A_TOOL=${SECONDS_A_TOOL:-500} SECONDS_A_TEST=${SECONDS_A_TEST:-90} SECONDS_LEFT=${SECONDS_LEFT:-}

# The parts run in folders of their own. What is no file here may be a name that is looked for elsewhere.
absolute() {
  case $1 in
  '' | /*) echo "$1" ;;
  *) if [ -e "$1" ]; then echo "$PWD/$1"; else echo "$1"; fi ;;
  esac
}
PEER=$(absolute "${PEER:-}")
[ -z "$PEER" ] || [ -f "$PEER" ] || { echo "gpu.sh: PEER: there is no file $PEER" >&2; exit 2; }
SHIM=$(absolute "$SHIM") PTX=$(absolute "$PTX") RUNNER=$(absolute "$RUNNER") BENCH=$(absolute "$BENCH") COUNTERS=$(absolute "$COUNTERS") CHOICES=$(absolute "$CHOICES") PYTHON=$(absolute "$PYTHON")
EDIY_CUDNN=$(absolute "${EDIY_CUDNN:-}") EDIY_CUBLAS=$(absolute "${EDIY_CUBLAS:-}") EDIY_NCCL=$(absolute "${EDIY_NCCL:-}")
export BIN SHIM PTX RUNNER BENCH COUNTERS CHOICES SMALL PEER PYTHON CLASSES SECONDS_A_TOOL SECONDS_A_TEST EDIY_CUDNN EDIY_CUBLAS EDIY_NCCL

# cuDNN and cuBLASLt of Python's packages, where they are and nothing else is named: what PyTorch runs on there.
packages=$("$PYTHON" -c 'import nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null)
if [ -n "$packages" ]; then
  [ -n "$EDIY_CUDNN" ] || [ ! -d "$packages/cudnn/lib" ] || EDIY_CUDNN="$packages/cudnn/lib"
  [ -n "$EDIY_CUBLAS" ] || [ ! -d "$packages/cu13/lib" ] || EDIY_CUBLAS="$packages/cu13/lib"
fi

# shellcheck disable=SC1091  # checked by itself
. "$(dirname "$0")/within.sh"
# shellcheck disable=SC1091
. "$(dirname "$0")/parts.sh"

if [ "${1:-}" = --part ]; then
  work=$(mktemp -d) && cd "$work" || exit 2
  trap 'rm -rf "$work"' EXIT
  trap 'exit 143' TERM INT
  "part_$2"
  exit
fi

# ---- all of them ------------------------------------------------------------------------------------------------------------------------

[ $# -ge 1 ] || { echo "usage: gpu.sh OUT [part...]" >&2; exit 2; }
out=$1
shift
[ $# -gt 0 ] || set -- tests oracle libraries wgmma steps bits train sanitizer bench
parts=''
for part in "$@"; do
  case $part in
  sanitizer) parts="$parts memcheck racecheck synccheck" ;;
  tests | oracle | libraries | wgmma | steps | bits | train | memcheck | racecheck | initcheck | synccheck | bench | counters | variants) parts="$parts $part" ;;
  *) echo "gpu.sh: there is no part $part" >&2; exit 2 ;;
  esac
done
mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)
RESULTS=$out holder=''
leave() {
  [ -z "$holder" ] || { kill "$holder"; wait "$holder"; } 2>/dev/null
  [ -z "${PACK:-}" ] || { pack; rm -rf "$RESULTS"; }
}
trap leave EXIT
if [ -n "${PACK:-}" ]; then
  RESULTS=$(mktemp -d) || exit 2
  [ ! -e "$out/results.tar.gz" ] || tar xzf "$out/results.tar.gz" -C "$RESULTS" # of another call: this one adds to it
fi
export RESULTS # of a part that leaves more than its text
pack() { [ -z "${PACK:-}" ] || { tar czf "$out/results.new" -C "$RESULTS" . && mv "$out/results.new" "$out/results.tar.gz"; }; }
say() {
  echo "$1"
  [ -z "${PACK:-}" ] || echo "$1" >>"$out/summary.txt"
}

begun=$(date +%s) passed=0 failed=0 skipped=0 unfinished=0
{
  date -u
  "$BIN/ediy" --version
  if command -v nvidia-smi >/dev/null; then nvidia-smi; else echo "no nvidia-smi"; fi
  grep -m 1 'model name' /proc/cpuinfo
} >"$RESULTS/machine.txt" 2>&1
# The driver closes a GPU that no program has open, and takes seconds to open it for the next: one stays, and leaves how fast, hot and busy it was.
if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu,utilization.gpu,memory.used --format=csv -l 5 >"$RESULTS/load.csv" 2>&1 &
  holder=$!
fi
for part in $parts; do
  case $part in
  tests) limit=240 ;;
  oracle) limit=120 ;;
  bits | libraries) limit=200 ;; # the libraries are half a gigabyte, read for the first time
  bench | counters | variants) limit=570 ;;
  steps) limit=360 ;;
  wgmma) limit=300 ;;
  *check) limit=$((SECONDS_A_TOOL + 30)) ;;
  *) limit=240 ;;
  esac
  [ -z "$SMALL" ] || limit=$((limit * 4)) # on a CPU
  if [ -n "$SECONDS_LEFT" ]; then
    left=$((begun + SECONDS_LEFT - $(date +%s)))
    if [ $left -lt 40 ]; then # in less, little comes to an end
      unfinished=$((unfinished + 1))
      say "$(printf '%-10s left out, there was no time' "$part")"
      continue
    fi
    [ $left -ge $limit ] || limit=$left
  fi
  export PART_SECONDS=$limit
  text=$RESULTS/$part.txt
  [ -z "${PACK:-}" ] || text=$out/running.txt
  within "$limit" sh "$0" --part "$part" >"$text" 2>&1
  status=$?
  last=$(tail -n 1 "$text")
  case $status in
  0) passed=$((passed + 1)) result=passed ;;
  "$SKIP") skipped=$((skipped + 1)) result="skipped: $last" ;;
  "$UNFINISHED") unfinished=$((unfinished + 1)) result="not finished: $last" ;;
  124 | 137) unfinished=$((unfinished + 1)) result="not finished: it had $limit s; its last line: $last" ;;
  *) failed=$((failed + 1)) result="failed with status $status: $last" ;;
  esac
  case $part-$status in tests-0 | *check-0) result="$result ($last)" ;; esac
  [ -z "${PACK:-}" ] || mv "$text" "$RESULTS/$part.txt"
  pack
  say "$(printf '%-10s %s' "$part" "$result")"
done
say "parts: $passed passed, $failed failed, $skipped skipped, $unfinished not finished; details in $out${PACK:+/results.tar.gz}"
[ $((failed + unfinished)) -eq 0 ]
