#!/bin/sh
# Times an E-DIY step (ResNet-50, 224 pixels, batch 16, float) beside a PyTorch script, turn by turn, and prints the medians and their
# ratios. The script takes --batch N --steps N --threads N and prints "X images/s median ... peak Y GB". It is run as it is, and once more
# with the C library's allocator told to keep what is freed and to use huge pages, which PyTorch's large tensors gain by on a CPU.
set -eu
threads=$(nproc)
"$PYTHON" -c 'import torch, torchvision' 2>/dev/null || { echo "bench-peer: $PYTHON has no torch and torchvision; name one that has: make bench-peer PYTHON=..."; exit 2; }
[ -f "$PEER" ] || { echo "bench-peer: $PEER is not there; name the PyTorch script: make bench-peer PEER=..."; exit 2; }
theirs() { "$@" "$PYTHON" "$PEER" --batch 16 --steps 3 --warmup 1 --threads "$threads" | sed -n 's/^\([0-9.]*\) images\/s median.*peak \([0-9.]*\) GB.*/\1 \2/p'; }
tuned='env MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456 GLIBC_TUNABLES=glibc.malloc.hugetlb=1'
ours='' stock='' with_pages=''
for round in $(seq "$ROUNDS"); do
  a=$("$BUILD/ediy" bench backbone=resnet50 size=224 batch=16 steps=3 | sed -n 's/^\([0-9.]*\) images\/s.*peak memory \([0-9.]*\) GB.*/\1 \2/p')
  b=$(theirs env)
  # shellcheck disable=SC2086  # words
  c=$(theirs $tuned)
  echo "round $round: ediy ${a% *} images/s, ${a#* } GB; PyTorch ${b% *} images/s, ${b#* } GB; with its allocator tuned ${c% *} images/s, ${c#* } GB"
  ours="$ours ${a% *}" stock="$stock ${b% *}" with_pages="$with_pages ${c% *}"
done
median() { echo "$1" | tr ' ' '\n' | sed '/^$/d' | sort -n | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
a=$(median "$ours") b=$(median "$stock") c=$(median "$with_pages")
echo "median: ediy $a images/s; PyTorch $b, ratio $(awk "BEGIN {printf \"%.2f\", $a / $b}"); with its allocator tuned $c, ratio $(awk "BEGIN {printf \"%.2f\", $a / $c}")"
