#!/bin/sh
# What a training step costs on this GPU: every class of precision, by the kernels of the project (in bf16 by wgmma, too) and by NVIDIA's libraries; where its
# time goes, against the machine's own peaks; every convolution of the backbone; and beside it a PyTorch script, turn by turn, with the fastest of our kernels.
# First what is ours and PyTorch, in every class; then NVIDIA's libraries, for cuDNN takes half a minute a process to plan a network in bf16.
#
#     bench.sh OUT       a table; in OUT a file of each run as text and JSON, and bench.json of all of them
#
# BIN      folder of ediy, linked with CUDA (.)
# PEER     the PyTorch script (none; one that is not there is an error): takes --device --batch --steps --warmup --amp --compile --graph --fold-teacher, prints "X images/s median ... peak Y GB"
# PYTHON   what runs it (python3)
# ROUNDS   turns of ours and the fastest of theirs in bf16 (2); one in other classes, and one more of the libraries where they are faster than ours
# KEYS     of the step (backbone=resnet50 size=224 batch=64)
# BY       what peaks and convolutions are measured by, beside what is timed: a key of ediy bench (all); own where a run fails by all, for what fails on a GPU
#          ends the whole process
# BENCH_CLASSES  of precision, in the order in which there is time for them (bf16 tf32 fp32)
# SMALL=1  sizes with which the script itself can be tried
#
# PEER_NEEDS  Python that fails where the script cannot run
#
# SECONDS_LEFT: so long it takes at most (540): nothing new is begun that would not be done by then, and what is not is ended.
set -u
BIN=${BIN:-.} PEER=${PEER:-} PYTHON=${PYTHON:-python3} ROUNDS=${ROUNDS:-2} SMALL=${SMALL:-} SECONDS_LEFT=${SECONDS_LEFT:-540} BY=${BY:-all}
PEER_NEEDS=${PEER_NEEDS:-import torch, torchvision; assert torch.cuda.is_available(), 'PyTorch sees no GPU'}
KEYS=${KEYS:-backbone=resnet50 size=224 batch=64}
STEPS="steps=7 warmup=2" BENCH_CLASSES=${BENCH_CLASSES:-bf16 tf32 fp32}
if [ -n "$SMALL" ]; then
  KEYS="backbone=small size=32 batch=2 projector.hidden=8 projector.out=4 product=32 copy=1 times=1"
  STEPS="steps=1 warmup=0"
fi
[ $# -eq 1 ] || { echo "usage: bench.sh OUT" >&2; exit 2; }
[ -z "$PEER" ] || [ -f "$PEER" ] || { echo "bench.sh: PEER: there is no file $PEER" >&2; exit 2; }
out=$1
mkdir -p "$out" || exit 2
begun=$(date +%s)
left() { echo $((begun + SECONDS_LEFT - $(date +%s))); }
# in_time WHAT SECONDS: is there so much time left, as this takes at least?
in_time() { [ "$(left)" -ge "$2" ] || { echo "$1: left out, there was no time"; return 1; }; }
A_RUN=10 A_LIBRARY_RUN=45 # seconds; with cuDNN's plans
# Many times that: a run that hangs does not take the time of all others.
MOST_OF_A_RUN=90 MOST_OF_A_LIBRARY_RUN=150 MOST_OF_CONVOLUTIONS=240
# at_most SECONDS: so much, or what is left
at_most() { if [ "$(left)" -lt "$1" ]; then left; else echo "$1"; fi; }
[ -z "$SMALL" ] || A_RUN=1 A_LIBRARY_RUN=1 MOST_OF_A_RUN=540

# shellcheck disable=SC1091  # checked by itself
. "$(dirname "$0")/within.sh"

# number FILE KEY: of a JSON file with a key a line
number() { sed -n "s/^ *\"$2\": \([-+0-9.e]*\),*\$/\1/p" "$1" | head -n 1; }
median() { echo "$1" | tr ' ' '\n' | sed '/^$/d' | sort -n | awk '{v[NR] = $1} END {if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

# ours CLASS PATH NAME: one run into OUT/NAME.txt and .json
ours() {
  conv=$2 gemm=$2 most=$MOST_OF_A_RUN
  [ "$2" != library ] || conv=cudnn gemm=cublas most=$MOST_OF_A_LIBRARY_RUN
  # shellcheck disable=SC2086  # keys are words
  within "$(at_most $most)" "$BIN/ediy" bench backend=cuda precision="$1" cuda.conv=$conv cuda.gemm=$gemm by="$BY" $KEYS $STEPS json="$out/$3.json" >"$out/$3.txt" 2>&1
}

# ---- every class, by ours ------------------------------------------------------------------------------------------------------------------

# alone WHAT STATUS TEXT: whether to run it once more by own alone, as all that comes after it: a product that only the peaks are measured by may be what failed
alone() {
  case $2-$BY-$(tail -n 1 "$3") in 0-* | 124-* | *-own-* | *' has compute capability '* | *' needs the library '*) return 1 ;; esac
  echo "$1: $(tail -n 1 "$3"); once more, by=own"
  BY=own
}

# row CLASS PATH: a run, and its line of the table
row() {
  name=$1-$2
  ours "$1" "$2" "$name"
  status=$?
  if alone "$1, $2" $status "$out/$name.txt"; then
    ours "$1" "$2" "$name"
    status=$?
    [ $status -ne 0 ] || bad=1 # what is timed here is well, but not what it was to be beside
  fi
  if [ $status -ne 0 ]; then
    why=$(tail -n 1 "$out/$name.txt")
    [ $status -ne 124 ] || why="not finished in its time"
    printf '%-6s %-8s %s\n' "$1" "$2" "$why"
    case $2-$status-$why in library-* | *-124-* | wgmma-*' has compute capability '*) ;; *) bad=1 ;; esac # a library or this GPU may not have it
    rm -f "$out/$name.json"
    return
  fi
  # The floor of a step is the sum of its operations' floors.
  floor=$(sed '/"stages"/,$d' "$out/$name.json" | sed -n 's/^ *"floor_ms": \([-+0-9.e]*\),*$/\1/p' | awk '{s += $1} END {print s}')
  step=$(number "$out/$name.json" ms_per_step)
  printf '%-6s %-8s %12.1f %10.3f %10.2f %9.1f%% %9.1f   %s\n' "$1" "$2" "$(number "$out/$name.json" images_per_s)" "$step" \
    "$(awk "BEGIN {print $(number "$out/$name.json" peak_memory_bytes) / 1e9}")" "$(awk "BEGIN {print 100 * $floor / $step}")" \
    "$(number "$out/$name.json" planning_s)" "$(sed -n 's/^this GPU: //p' "$out/$name.txt")"
}
heading() {
  printf '%-6s %-8s %12s %10s %10s %10s %9s   %s\n' class path images/s ms/step 'GPU GB' 'of floor' 'planned s' 'peaks of the machine'
}

command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,power.limit --format=csv
echo "$KEYS"
bad=0
heading
for class in $BENCH_CLASSES; do
  in_time "$class, own" $A_RUN && row "$class" own
  [ "$class" != bf16 ] || { in_time "$class, wgmma" $A_RUN && row "$class" wgmma; }
done
echo

# ---- beside PyTorch ------------------------------------------------------------------------------------------------------------------------

# theirs CLASS MODE: one run; prints images/s and GB. The mode is words for the script.
theirs() {
  amp=$1
  [ "$amp" != fp32 ] || amp=none
  batch=$(echo "$KEYS" | sed -n 's/.*batch=\([0-9]*\).*/\1/p')
  # shellcheck disable=SC2086
  within "$(at_most 200)" "$PYTHON" "$PEER" --device cuda --batch "$batch" --steps 10 --warmup 2 --amp "$amp" --fold-teacher $2 >"$out/peer-last.txt" 2>&1
  echo "== $1 $2" >>"$out/peer.txt"
  cat "$out/peer-last.txt" >>"$out/peer.txt"
  sed -n 's/^\([0-9.]*\) images\/s median.*peak \([0-9.]*\) GB.*/\1 \2/p' "$out/peer-last.txt"
}

faster() { awk "BEGIN {exit !($1 > $2)}"; }

# fastest CLASS MODE...: the fastest of theirs, into $mode; all of them into $modes
fastest() {
  class=$1 best=0 mode='' modes=''
  shift
  for m in "$@"; do
    in_time "PyTorch $class $m" $A_RUN || continue
    line=$(theirs "$class" "$m")
    echo "PyTorch $class $m: ${line:-failed, see peer.txt} ${line:+(images/s, GB)}"
    [ -n "$line" ] || continue
    modes="$modes${modes:+, }{\"mode\": \"$m\", \"images_per_s\": ${line% *}, \"gb\": ${line#* }}"
    if faster "${line% *}" "$best"; then best=${line% *} mode=$m; fi
  done
  echo "$mode" >"$out/$class.mode" # for the libraries' turn
}

# compare CLASS PATH ROUNDS MODE: so many turns of ours and theirs; adds to $peer_json
compare() {
  class=$1 path=$2 rounds=$3 mode=$4 us='' them='' long=$A_RUN
  [ "$path" != library ] || long=$A_LIBRARY_RUN
  if [ -z "$mode" ] || [ ! -e "$out/$class-$path.json" ]; then return; fi
  for round in $(seq "$rounds"); do
    in_time "$class $path, round $round" $((long + A_RUN)) || break
    ours "$class" "$path" "$class-$path-round-$round" || break
    a=$(number "$out/$class-$path-round-$round.json" images_per_s) line=$(theirs "$class" "$mode")
    [ -n "$line" ] || break
    printf 'round %s: ediy %s %s %.1f images/s; PyTorch %s %s %s images/s, %s GB\n' "$round" "$class" "$path" "$a" "$class" "$mode" \
      "${line% *}" "${line#* }"
    us="$us $a" them="$them ${line% *}"
  done
  a=$(median "$us") b=$(median "$them")
  if [ -z "$a" ] || [ -z "$b" ]; then return; fi
  ratio=$(awk "BEGIN {printf \"%.3f\", $a / $b}")
  printf 'median: ediy %s %s %.1f images/s, PyTorch %s %s %.1f images/s, ratio %s\n' "$class" "$path" "$a" "$class" "$mode" "$b" "$ratio"
  peer_json="$peer_json${peer_json:+, }{\"precision\": \"$class\", \"path\": \"$path\", \"mode\": \"$mode\", \"ediy_images_per_s\": $a, \
\"torch_images_per_s\": $b, \"ratio\": $ratio, \"modes\": [$modes]}"
}

# rate CLASS PATH: images/s of the first run, 0 without one
rate() { if [ -e "$out/$1-$2.json" ]; then number "$out/$1-$2.json" images_per_s; else echo 0; fi; }
# ours_fastest CLASS: the path of our kernels that is fastest
ours_fastest() { if faster "$(rate "$1" wgmma)" "$(rate "$1" own)"; then echo wgmma; else echo own; fi; }

peer_json='' with_peer=''
if [ -z "$PEER" ]; then
  echo "no peer: PEER names no script"
elif ! why=$("$PYTHON" -c "$PEER_NEEDS" 2>&1); then
  echo "no peer: $(echo "$why" | tail -n 1)"
else
  with_peer=yes
  TORCHINDUCTOR_CACHE_DIR=$(mktemp -d) # what one turn has compiled serves the next
  export TORCHINDUCTOR_CACHE_DIR
  trap 'rm -rf "$TORCHINDUCTOR_CACHE_DIR"' EXIT
  for class in $BENCH_CLASSES; do
    case $class in
    bf16) fastest bf16 "--graph" "--compile default" "--compile default --graph" && compare bf16 "$(ours_fastest bf16)" "$ROUNDS" "$mode" ;;
    *) fastest "$class" "--graph" && compare "$class" own 1 "$mode" ;; # compiling for each class would take the time of the rest
    esac
  done
fi
echo

# ---- every class, by NVIDIA's libraries ------------------------------------------------------------------------------------------------------

heading
for class in $BENCH_CLASSES; do
  in_time "$class, library" $A_LIBRARY_RUN && row "$class" library
done
for class in $BENCH_CLASSES; do
  if [ -z "$with_peer" ] || [ ! -e "$out/$class-library.json" ]; then continue; fi
  if faster "$(rate "$class" "$(ours_fastest "$class")")" "$(rate "$class" library)"; then continue; fi
  modes=''
  compare "$class" library 1 "$(cat "$out/$class.mode")"
done
rm -f "$out"/*.mode
echo

# ---- where the time goes, and every convolution -----------------------------------------------------------------------------------------------

# convolutions CLASS: into OUT/convolutions-CLASS.txt and .json
convolutions() {
  # shellcheck disable=SC2086
  within "$(at_most $MOST_OF_CONVOLUTIONS)" "$BIN/ediy" bench backend=cuda what=convolutions precision="$1" by="$BY" $KEYS json="$out/convolutions-$1.json" \
    >"$out/convolutions-$1.txt" 2>&1
}

for class in $BENCH_CLASSES; do
  for path in own wgmma library; do
    [ ! -e "$out/$class-$path.json" ] || { cat "$out/$class-$path.txt"; echo; }
  done
done
for class in $BENCH_CLASSES; do
  in_time "convolutions in $class" $A_LIBRARY_RUN || continue
  convolutions "$class"
  status=$?
  alone "convolutions in $class" $status "$out/convolutions-$class.txt" && { convolutions "$class"; status=$?; }
  [ $status -eq 0 ] || rm -f "$out/convolutions-$class.json"
  [ $status -ne 124 ] || echo "not finished in its time" >>"$out/convolutions-$class.txt"
  case $class-$status in fp32-0 | fp32-124) ;; fp32-*) bad=1 ;; esac
  echo "$class: $(cat "$out/convolutions-$class.txt")"
  echo
done

{
  printf '{\n"runs": ['
  comma=''
  for class in $BENCH_CLASSES; do
    for path in own wgmma library; do
      [ ! -e "$out/$class-$path.json" ] || { printf '%s\n' "$comma"; cat "$out/$class-$path.json"; comma=,; }
    done
  done
  printf '],\n"convolutions": ['
  comma=''
  for class in $BENCH_CLASSES; do
    [ ! -e "$out/convolutions-$class.json" ] || { printf '%s\n{"precision": "%s", "of": ' "$comma" "$class"; cat "$out/convolutions-$class.json"; printf '}'; comma=,; }
  done
  printf '],\n"peer": [%s]\n}\n' "$peer_json"
} >"$out/bench.json"
echo "took $(($(date +%s) - begun)) s; all figures are in $out/bench.json"
exit $bad
