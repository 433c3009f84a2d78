#!/bin/sh
# What other choices in products and norms would cost or save on this GPU: for each program of the folder VARIANTS, which `make cuda-variants`
# builds from the patches of tests/cuda/variants, the time of all convolutions in bf16 and the speed of whole steps, beside those of the program as it is,
# which comes first and last.
#
#     variants.sh OUT    a table; in OUT what each run said
#
# BIN        folder of ediy, linked with CUDA (.)
# VARIANTS   folder of NAME/ediy and NAME/why.txt ($BIN/variants)
# KEYS       of the step (backbone=resnet50 size=224 batch=64)
# SMALL=1    sizes with which the script itself can be tried
#
# SECONDS_LEFT: so long it takes at most (540): first convolutions by every program, then steps; what there is no time for is left out, and said. Exit
# status 77 where there are no variants, with the reason.
#
# Nothing is judged here: a choice that is made by these figures is held to the reference by the other parts before it stands.
set -u
SKIP=77
BIN=${BIN:-.} SMALL=${SMALL:-} SECONDS_LEFT=${SECONDS_LEFT:-540}
VARIANTS=${VARIANTS:-$BIN/variants}
KEYS=${KEYS:-backbone=resnet50 size=224 batch=64}
STEPS="steps=7 warmup=2" PEAKS=''
if [ -n "$SMALL" ]; then
  KEYS="backbone=small size=32 batch=2 projector.hidden=8 projector.out=4"
  STEPS="steps=1 warmup=0" PEAKS="product=32 copy=1 times=1"
fi
[ $# -eq 1 ] || { echo "usage: variants.sh OUT" >&2; exit 2; }
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 2
begun=$(date +%s)
left() { echo $((begun + SECONDS_LEFT - $(date +%s))); }
# at_most SECONDS: so much, or what is left
at_most() { if [ "$(left)" -lt "$1" ]; then left; else echo "$1"; fi; }
# shellcheck disable=SC1091  # checked by itself
. "$(dirname "$0")/within.sh"

names=''
for program in "$VARIANTS"/*/ediy; do
  [ ! -x "$program" ] || names="$names $(basename "$(dirname "$program")")"
done
[ -n "$names" ] || { echo "there are no variants in $VARIANTS: make cuda-variants builds them"; exit "$SKIP"; }
program() { if [ "${1%-again}" = as-it-is ]; then echo "$BIN/ediy"; else echo "$VARIANTS/$1/ediy"; fi; }

# run NAME KIND KEY...: ediy bench of a program, into OUT/NAME-KIND.txt; 1 where it fails or there is no time. One that hangs does not take the others'.
bad=0 MOST_OF_A_RUN=90
[ -z "$SMALL" ] || MOST_OF_A_RUN=540
run() {
  name=$1 kind=$2
  shift 2
  [ "$(left)" -ge 15 ] || { echo "$name, $kind: left out, there was no time"; status=124; return 1; }
  # shellcheck disable=SC2086  # keys are words
  within "$(at_most $MOST_OF_A_RUN)" "$(program "$name")" bench backend=cuda precision=bf16 $KEYS $PEAKS "$@" >"$out/$name-$kind.txt" 2>&1
  status=$?
  [ $status -ne 124 ] || { echo "$name, $kind: not finished in its time"; return 1; }
  if [ $status -ne 0 ]; then
    why=$(tail -n 1 "$out/$name-$kind.txt")
    case $why in *' has compute capability '*) ;; *) bad=1 ;; esac
    echo "$name, $kind: status $status: $why"
    return 1
  fi
}

echo "$KEYS, bf16; ms of all convolutions"
printf '%-20s | %-19s | %-19s | %-19s\n%-20s |' '' forward 'backward data' 'backward weights' variant
printf ' %9s %9s |' own wgmma own wgmma own wgmma
echo
for name in as-it-is $names as-it-is-again; do
  # What fails on a GPU ends the whole process: without wgmma there are still the figures of the other path.
  if ! run "$name" convolutions what=convolutions by=pipelined; then
    [ $status -ne 124 ] || continue
    run "$name" convolutions what=convolutions by=own || continue
  fi
  # The last row, without wgmma one number a direction.
  awk -v name="$name" '/^all layers/ {
    gsub(/\|/, " "); ways = (NF - 2) / 3; printf "%-20s |", name
    for (d = 0; d < 3; d++) printf " %9s %9s |", $(3 + d * ways), (ways > 1 ? $(4 + d * ways) : "-")
    print ""
  }' "$out/$name-convolutions.txt"
done
echo
echo "images/s of whole steps"
for way in own wgmma; do
  for name in as-it-is $names as-it-is-again; do
    # shellcheck disable=SC2086
    run "$name" "step-$way" cuda.conv=$way cuda.gemm=$way by=own $STEPS || continue
    printf '%-20s %-6s %s\n' "$name" $way "$(sed -n 's/^\([0-9.]* images.s .*\)/\1/p' "$out/$name-step-$way.txt")"
  done
done
echo
for name in $names; do echo "$name: $(grep . "$VARIANTS/$name/why.txt" | paste -sd' ' -)"; done
echo "took $(($(date +%s) - begun)) s"
exit $bad
