#!/bin/sh
# What a training step costs on this GPU: every class of precision, by the kernels of the project and by NVIDIA's libraries; where its time goes, against the
# machine's own peaks; every convolution of the backbone; and beside it a PyTorch script, turn by turn.
#
#     bench.sh OUT       a table; in OUT a file of each run as text and JSON, and bench.json of all of them
#
# BIN      folder of ediy, linked with CUDA (.)
# PEER     the PyTorch script (none): takes --device --batch --steps --warmup --amp --compile --graph --fold-teacher, prints "X images/s median ... peak Y GB"
# PYTHON   what runs it (python3)
# ROUNDS   turns of the faster of ours and the fastest of theirs in bf16 (2); in other classes one
# KEYS     of the step (backbone=resnet50 size=224 batch=64)
# BENCH_CLASSES  of precision, in the order in which there is time for them (bf16 tf32 fp32)
# SMALL=1  sizes with which the script itself can be tried
#
# PEER_NEEDS  Python that fails where the script cannot run
#
# SECONDS_LEFT: after so many seconds nothing new is begun (500), so that what was measured is reported in time.
set -u
BIN=${BIN:-.} PEER=${PEER:-} PYTHON=${PYTHON:-python3} ROUNDS=${ROUNDS:-2} SMALL=${SMALL:-} SECONDS_LEFT=${SECONDS_LEFT:-500}
PEER_NEEDS=${PEER_NEEDS:-import torch, torchvision; assert torch.cuda.is_available(), 'PyTorch sees no GPU'}
KEYS=${KEYS:-backbone=resnet50 size=224 batch=64}
STEPS="steps=7 warmup=2" BENCH_CLASSES=${BENCH_CLASSES:-bf16 tf32 fp32}
if [ -n "$SMALL" ]; then
  KEYS="backbone=small size=32 batch=2 projector.hidden=8 projector.out=4 product=32 copy=1"
  STEPS="steps=1 warmup=0"
fi
[ $# -eq 1 ] || { echo "usage: bench.sh OUT" >&2; exit 2; }
out=$1
mkdir -p "$out" || exit 2
begun=$(date +%s)
in_time() { [ $(($(date +%s) - begun)) -lt "$SECONDS_LEFT" ] || { echo "$1: left out, there was no time"; return 1; }; }

# number FILE KEY: of a JSON file with a key a line
number() { sed -n "s/^ *\"$2\": \([-+0-9.e]*\),*\$/\1/p" "$1" | head -n 1; }
median() { echo "$1" | tr ' ' '\n' | sed '/^$/d' | sort -n | awk '{v[NR] = $1} END {if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

# ours CLASS PATH NAME: one run into OUT/NAME.txt and .json
ours() {
  conv=own gemm=own
  [ "$2" = own ] || conv=cudnn gemm=cublas
  # shellcheck disable=SC2086  # keys are words
  "$BIN/ediy" bench backend=cuda precision="$1" cuda.conv=$conv cuda.gemm=$gemm $KEYS $STEPS json="$out/$3.json" >"$out/$3.txt" 2>&1
}

# ---- every class, both ways ----------------------------------------------------------------------------------------------------------------

command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,power.limit --format=csv
echo "$KEYS"
bad=0
printf '%-6s %-8s %12s %10s %10s %10s   %s\n' class path images/s ms/step 'GPU GB' 'of floor' 'peaks of the machine'
for class in $BENCH_CLASSES; do
  for path in own library; do
    in_time "$class, $path" || continue
    name=$class-$path
    if ! ours "$class" $path "$name"; then
      printf '%-6s %-8s %s\n' "$class" $path "$(tail -n 1 "$out/$name.txt")"
      [ $path = library ] || bad=1
      rm -f "$out/$name.json"
      continue
    fi
    # The floor of a step is the sum of its operations' floors.
    floor=$(sed '/"stages"/,$d' "$out/$name.json" | sed -n 's/^ *"floor_ms": \([-+0-9.e]*\),*$/\1/p' | awk '{s += $1} END {print s}')
    step=$(number "$out/$name.json" ms_per_step)
    printf '%-6s %-8s %12.1f %10.3f %10.2f %9.1f%%   %s\n' "$class" $path "$(number "$out/$name.json" images_per_s)" "$step" \
      "$(awk "BEGIN {print $(number "$out/$name.json" peak_memory_bytes) / 1e9}")" "$(awk "BEGIN {print 100 * $floor / $step}")" \
      "$(sed -n 's/^this GPU: //p' "$out/$name.txt")"
  done
done
echo

# ---- beside PyTorch ------------------------------------------------------------------------------------------------------------------------

# theirs CLASS MODE: one run; prints images/s and GB. The mode is words for the script.
theirs() {
  amp=$1
  [ "$amp" != fp32 ] || amp=none
  batch=$(echo "$KEYS" | sed -n 's/.*batch=\([0-9]*\).*/\1/p')
  # shellcheck disable=SC2086
  timeout 200 "$PYTHON" "$PEER" --device cuda --batch "$batch" --steps 10 --warmup 2 --amp "$amp" --fold-teacher $2 >"$out/peer-last.txt" 2>&1
  echo "== $1 $2" >>"$out/peer.txt"
  cat "$out/peer-last.txt" >>"$out/peer.txt"
  sed -n 's/^\([0-9.]*\) images\/s median.*peak \([0-9.]*\) GB.*/\1 \2/p' "$out/peer-last.txt"
}

faster() { awk "BEGIN {exit !($1 > $2)}"; }

# compare CLASS ROUNDS MODE...: the fastest of theirs beside the faster of ours, so many turns of each; adds to $peer_json
compare() {
  class=$1 rounds=$2 best=0 mode='' modes='' us='' them='' path=own
  shift 2
  for m in "$@"; do
    in_time "PyTorch $class $m" || continue
    line=$(theirs "$class" "$m")
    echo "PyTorch $class $m: ${line:-failed, see peer.txt} ${line:+(images/s, GB)}"
    [ -n "$line" ] || continue
    modes="$modes${modes:+, }{\"mode\": \"$m\", \"images_per_s\": ${line% *}, \"gb\": ${line#* }}"
    if faster "${line% *}" "$best"; then best=${line% *} mode=$m; fi
  done
  if [ -e "$out/$class-library.json" ]; then
    if [ ! -e "$out/$class-own.json" ]; then
      path=library
    elif faster "$(number "$out/$class-library.json" images_per_s)" "$(number "$out/$class-own.json" images_per_s)"; then
      path=library
    fi
  fi
  for round in $(seq "$rounds"); do
    [ -n "$mode" ] || break
    in_time "$class, round $round" || break
    ours "$class" $path "$class-round-$round" || break
    a=$(number "$out/$class-round-$round.json" images_per_s) line=$(theirs "$class" "$mode")
    [ -n "$line" ] || break
    printf 'round %s: ediy %s %s %.1f images/s; PyTorch %s %s %s images/s, %s GB\n' "$round" "$class" $path "$a" "$class" "$mode" \
      "${line% *}" "${line#* }"
    us="$us $a" them="$them ${line% *}"
  done
  a=$(median "$us") b=$(median "$them")
  if [ -z "$a" ] || [ -z "$b" ]; then return; fi
  ratio=$(awk "BEGIN {printf \"%.3f\", $a / $b}")
  printf 'median: ediy %s %s %.1f images/s, PyTorch %s %s %.1f images/s, ratio %s\n' "$class" $path "$a" "$class" "$mode" "$b" "$ratio"
  peer_json="$peer_json${peer_json:+, }{\"precision\": \"$class\", \"path\": \"$path\", \"mode\": \"$mode\", \"ediy_images_per_s\": $a, \
\"torch_images_per_s\": $b, \"ratio\": $ratio, \"modes\": [$modes]}"
}

peer_json=''
if [ -z "$PEER" ]; then
  echo "no peer: PEER names no script"
elif [ ! -f "$PEER" ]; then
  echo "no peer: there is no $PEER"
elif ! why=$("$PYTHON" -c "$PEER_NEEDS" 2>&1); then
  echo "no peer: $(echo "$why" | tail -n 1)"
else
  export TORCHINDUCTOR_CACHE_DIR="$out/inductor" # what one turn has compiled serves the next
  for class in $BENCH_CLASSES; do
    case $class in
    bf16) compare bf16 "$ROUNDS" "--graph" "--compile default" "--compile default --graph" ;;
    *) compare "$class" 1 "--graph" ;; # compiling for each class would take the time of the rest
    esac
  done
fi
echo

# ---- where the time goes, and every convolution -----------------------------------------------------------------------------------------------

for class in $BENCH_CLASSES; do
  for path in own library; do
    [ ! -e "$out/$class-$path.json" ] || { cat "$out/$class-$path.txt"; echo; }
  done
done
for class in $BENCH_CLASSES; do
  in_time "convolutions in $class" || continue
  # shellcheck disable=SC2086
  "$BIN/ediy" bench backend=cuda what=convolutions precision="$class" $KEYS json="$out/convolutions-$class.json" >"$out/convolutions-$class.txt" 2>&1 || {
    [ "$class" != fp32 ] || bad=1
    rm -f "$out/convolutions-$class.json"
  }
  echo "$class: $(cat "$out/convolutions-$class.txt")"
  echo
done

{
  printf '{\n"runs": ['
  comma=''
  for class in $BENCH_CLASSES; do
    for path in own library; do
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
