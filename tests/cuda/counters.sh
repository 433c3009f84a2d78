#!/bin/sh
# What each kernel of one training step does, by the GPU's own counters: Nsight Compute (ncu) runs every launch of it a few times, alone, with nothing in the
# caches. For finding out what a kernel waits for; how long a step takes is bench.sh's.
#
#     counters.sh OUT    for each of RUNS a table, kernels by their time; in OUT the tables as RUN.txt, what ncu wrote as RUN.csv
#
# BIN      folder of ediy, linked with CUDA (.)
# RUNS     CLASS-PATH: precision, and what computes convolutions and linear layers (bf16-wgmma bf16-own tf32-own fp32-own)
# KEYS     of the step (backbone=resnet50 size=224 batch=32)
# NCU      the program (ncu, on the path or in /usr/local/cuda*/bin or /opt/nvidia/nsight-compute)
# SMALL=1  sizes with which the script itself can be tried
#
# SECONDS_LEFT: so long it takes at most (540). Exit status 77 where the counters cannot be read here, with the reason.
#
# The columns: ms, % of the step's, launches; GB/s of device memory; % of the time in which that was busy (mem), of the sectors that the L2 could look up, of
# the cycles in which the L1 or shared memory could give data; % of the cycles in which a warp issued an instruction, of the tensor cores' time, of the warps
# that a multiprocessor holds; bank conflicts, % of accesses to shared memory; and what the warps wait for most, in cycles an instruction. Figures of several
# launches are weighted by their time.
set -u
SKIP=77
BIN=${BIN:-.} RUNS=${RUNS:-bf16-wgmma bf16-own tf32-own fp32-own} SMALL=${SMALL:-} SECONDS_LEFT=${SECONDS_LEFT:-540}
KEYS=${KEYS:-backbone=resnet50 size=224 batch=32}
[ -z "$SMALL" ] || KEYS="backbone=small size=32 batch=4 projector.hidden=16 projector.out=8"
[ $# -eq 1 ] || { echo "usage: counters.sh OUT" >&2; exit 2; }
mkdir -p "$1" && out=$(cd "$1" && pwd) && BIN=$(cd "$BIN" && pwd) || exit 2
begun=$(date +%s)
left() { echo $((begun + SECONDS_LEFT - $(date +%s))); }
# shellcheck disable=SC1091  # checked by itself
. "$(dirname "$0")/within.sh"

ncu=${NCU:-$(command -v ncu)}
for path in /usr/local/cuda*/bin/ncu /opt/nvidia/nsight-compute/*/ncu; do
  [ -n "$ncu" ] || [ ! -x "$path" ] || ncu=$path
done
[ -n "$ncu" ] || { echo "there is no ncu on the path, in /usr/local/cuda*/bin or in /opt/nvidia/nsight-compute"; exit "$SKIP"; }

# What is asked for, and which name of it this ncu and this GPU know. Single counters: the sums of many that are called throughput, and rare reasons to wait,
# would have each launch run several times more.
STALLS='long_scoreboard short_scoreboard barrier gmma mio_throttle lg_throttle math_pipe_throttle wait not_selected no_instruction'
wanted='gpu__time_duration.sum dram__bytes_read.sum dram__bytes_write.sum dram__cycles_active.avg.pct_of_peak_sustained_elapsed
lts__t_sectors.avg.pct_of_peak_sustained_elapsed l1tex__data_pipe_lsu_wavefronts.avg.pct_of_peak_sustained_elapsed smsp__issue_active.avg.pct_of_peak_sustained_active
sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active sm__warps_active.avg.pct_of_peak_sustained_active
l1tex__data_pipe_lsu_wavefronts_mem_shared.sum l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum'
for stall in $STALLS; do wanted="$wanted smsp__average_warps_issue_stalled_${stall}_per_issue_active.ratio"; done
"$ncu" --query-metrics >"$out/known.txt" 2>&1
metrics=''
for metric in $wanted; do
  if grep -q "^${metric%%.*} " "$out/known.txt"; then
    metrics="$metrics${metrics:+,}$metric"
  else
    case $metric in *_stalled_*) ;; *) echo "$metric: ncu does not know it here" ;; esac
  fi
done
case $metrics in gpu__time_duration.sum*) ;; *) echo "ncu knows no counters here: $(grep -m 1 -E 'ERROR|rror' "$out/known.txt")"; exit "$SKIP" ;; esac
rm "$out/known.txt"

# A step with everything in it: a teacher, regions, three losses. Only figures stay in OUT.
trap 'rm -rf "$out/run" "$out/scenes" "$out/teacher.safetensors"' EXIT
batch=$(echo "$KEYS" | sed -n 's/.*batch=\([0-9]*\).*/\1/p')
"$BIN/ediy" scenes out="$out/scenes" images="$batch" val=4 classes=4 >/dev/null &&
  "$BIN/ediy" export weights=random backbone="$(echo "$KEYS" | sed -n 's/.*backbone=\([a-z0-9]*\).*/\1/p')" out="$out/teacher.safetensors" >/dev/null || exit 1

# table CSV: of ncu's rows, one a launch
table() {
  awk -v stalls="$STALLS" '
    function number(name,   text) { text = name in column ? field[column[name]] : ""; gsub(/,/, "", text); return text + 0 }
    BEGIN { kinds = split(stalls, stall, " ") }
    !/^"/ { next }
    {
      line = $0; sub(/^"/, "", line); sub(/"\r?$/, "", line); count = split(line, field, /","/)
    }
    !heads { for (i = 1; i <= count; i++) { column[field[i]] = i; if (field[i] == "Kernel Name") name = i }; heads = NR; next }
    !name { next }
    NR == heads + 1 { next } # units
    {
      k = field[name]; ns = number("gpu__time_duration.sum")
      if (!(k in time)) order[++kernels] = k
      time[k] += ns; all += ns; launches[k]++; launched++
      bytes[k] += number("dram__bytes_read.sum") + number("dram__bytes_write.sum")
      dram[k] += ns * number("dram__cycles_active.avg.pct_of_peak_sustained_elapsed")
      l2[k] += ns * number("lts__t_sectors.avg.pct_of_peak_sustained_elapsed")
      l1[k] += ns * number("l1tex__data_pipe_lsu_wavefronts.avg.pct_of_peak_sustained_elapsed")
      issue[k] += ns * number("smsp__issue_active.avg.pct_of_peak_sustained_active")
      tensor[k] += ns * number("sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active")
      warps[k] += ns * number("sm__warps_active.avg.pct_of_peak_sustained_active")
      turns[k] += number("l1tex__data_pipe_lsu_wavefronts_mem_shared.sum")
      lost[k] += number("l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum")
      for (s = 1; s <= kinds; s++) waits[k, s] += ns * number("smsp__average_warps_issue_stalled_" stall[s] "_per_issue_active.ratio")
    }
    END {
      if (!launched || !all) exit 1
      for (i = 1; i <= kernels; i++) # by time: few enough to be sorted so
        for (j = i; j > 1 && time[order[j]] > time[order[j - 1]]; j--) { k = order[j]; order[j] = order[j - 1]; order[j - 1] = k }
      printf "%9s %6s %6s %7s %5s %5s %5s %6s %6s %5s %5s  %-44s %s\n", "ms", "%", "times", "GB/s", "mem", "L2", "L1", "issue", "tensor", "warps", "banks", "waits for", "kernel"
      for (i = 1; i <= kernels; i++) {
        k = order[i]; first = second = 1
        for (s = 2; s <= kinds; s++) if (waits[k, s] > waits[k, first]) first = s
        if (first == 1) second = 2
        for (s = 1; s <= kinds; s++) if (s != first && waits[k, s] > waits[k, second]) second = s
        printf "%9.3f %6.1f %6d %7.0f %5.0f %5.0f %5.0f %6.0f %6.0f %5.0f %5.0f  %-44s %s\n", time[k] / 1e6, 100 * time[k] / all, launches[k], bytes[k] / time[k], \
          dram[k] / time[k], l2[k] / time[k], l1[k] / time[k], issue[k] / time[k], tensor[k] / time[k], warps[k] / time[k], turns[k] ? 100 * lost[k] / turns[k] : 0, \
          sprintf("%s %.1f, %s %.1f", stall[first], waits[k, first] / time[k], stall[second], waits[k, second] / time[k]), substr(k, 1, 160)
      }
      printf "%9.3f ms in %d launches of %d kernels, one after the other\n", all / 1e6, launched, kernels
    }' "$1"
}

bad=0 done=0
for run in $RUNS; do
  class=${run%-*} path=${run#*-}
  [ "$(left)" -gt 30 ] || { echo "$run: left out, there was no time"; continue; }
  rm -rf "$out/run"
  # shellcheck disable=SC2086  # keys are words
  within "$(left)" "$ncu" --clock-control none --target-processes all --csv --page raw --print-units base --metrics "$metrics" --log-file "$out/$run.csv" \
    "$BIN/ediy" train $KEYS data="$out/scenes/train" teacher="$out/teacher.safetensors" out="$out/run" epochs=1 warmup=0 stop=1 workers=1 backend=cuda precision="$class" \
    cuda.conv="$path" cuda.gemm="$path" cuda.graph=no >"$out/$run.said" 2>&1
  status=$?
  cannot=$(cat "$out/$run.csv" "$out/$run.said" 2>/dev/null | grep -m 1 -E 'ERR_NVGPUCTRPERM|Failed to initialize the profiler')
  [ -z "$cannot" ] || { echo "$cannot"; exit "$SKIP"; }
  case $(cat "$out/$run.said") in *' has compute capability '*) echo "$run: $(tail -n 1 "$out/$run.said")"; rm -f "$out/$run.csv"; continue ;; esac
  if [ $status -eq 124 ]; then
    echo "$run: not finished, there was no time; launches so far:"
    table "$out/$run.csv" >"$out/$run.txt" 2>/dev/null && cat "$out/$run.txt"
  elif [ $status -ne 0 ] || ! table "$out/$run.csv" >"$out/$run.txt"; then
    bad=1
    echo "$run: status $status, no figures; what was said:"
    tail -n 5 "$out/$run.said"
    grep -v '^"' "$out/$run.csv" | tail -n 5
  else
    done=$((done + 1))
    echo "$run, $KEYS"
    cat "$out/$run.txt"
    echo
  fi
done
echo "$done runs, $(($(date +%s) - begun)) s"
[ $bad -eq 0 ] && [ $done -gt 0 ]
