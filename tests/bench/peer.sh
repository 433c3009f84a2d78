#!/bin/sh
# Times an E-DIY step (ResNet-50, 224 pixels, batch 16, float) beside a PyTorch script, turn by turn, and prints both medians and their
# ratio. The script takes --batch N --steps N --threads N and prints "X images/s median ... peak Y GB".
set -eu
threads=$(nproc)
"$PYTHON" -c 'import torch, torchvision' 2>/dev/null || { echo "bench-peer: $PYTHON has no torch and torchvision; name one that has: make bench-peer PYTHON=..."; exit 2; }
[ -f "$PEER" ] || { echo "bench-peer: $PEER is not there; name the PyTorch script: make bench-peer PEER=..."; exit 2; }
ours='' theirs=''
for round in $(seq "$ROUNDS"); do
  a=$("$BUILD/ediy" bench backbone=resnet50 size=224 batch=16 steps=3 | sed -n 's/^\([0-9.]*\) images\/s.*peak memory \([0-9.]*\) GB.*/\1 \2/p')
  b=$("$PYTHON" "$PEER" --batch 16 --steps 3 --warmup 1 --threads "$threads" | sed -n 's/^\([0-9.]*\) images\/s median.*peak \([0-9.]*\) GB.*/\1 \2/p')
  echo "round $round: ediy ${a% *} images/s, ${a#* } GB; PyTorch ${b% *} images/s, ${b#* } GB"
  ours="$ours ${a% *}" theirs="$theirs ${b% *}"
done
median() { echo "$1" | tr ' ' '\n' | sed '/^$/d' | sort -n | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
a=$(median "$ours") b=$(median "$theirs")
echo "median: ediy $a images/s, PyTorch $b images/s, ratio $(awk "BEGIN {printf \"%.2f\", $a / $b}")"
