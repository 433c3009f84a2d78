#!/bin/sh
# Runs cmocka programs, shows what each prints, and ends with one line: N passed, N failed, N skipped.
# A program that dies counts as one failure. Exit status 1 when anything failed or nothing ran.
# One after the other; but those of tests/cuda, of one thread each, beside all others, one for two processors, and one more when the others are
# done; they are shown last. Of tests/cuda alone, which may be on a GPU, each has it for itself, unless BESIDE=yes says that there is none.
# Threads that wait give their processor away: tests share theirs with whatever else runs.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
passed=0 failed=0 skipped=0
logs=$(mktemp -d) && trap 'rm -rf "$logs"' EXIT
# Ended from outside, in a program that does not come to its end: which, and what it had said.
at_work=
ended() {
  [ -z "$at_work" ] || { echo "== ${at_work#"$BUILD"/tests/} was ended, having said:"; cat "$logs/$n"; }
  exit "$1"
}
trap 'ended 143' TERM
trap 'ended 130' INT
run() { "$1" >"$logs/$2" 2>&1; echo $? >"$logs/$2.status"; }
count() { sed -n "s/^\[ *$1 *\].* \([0-9][0-9]*\) test(s).*/\1/p" "$logs/$2" | awk '{n += $1} END {print n + 0}'; }
report() { # program, its log
  echo "== ${1#"$BUILD"/tests/}"
  status=$(cat "$logs/$2.status")
  grep -v '^\[ RUN      \]\|^\[       OK \]' "$logs/$2"
  p=$(count PASSED "$2") f=$(count FAILED "$2") s=$(count SKIPPED "$2")
  [ "$status" -eq 0 ] || [ "$f" -gt 0 ] || { echo "$1 ended with status $status"; f=1; }
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}
is_beside() { # of one thread, and others are there
  case $1 in */tests/cuda/*) [ -n "$beside" ] ;; *) false ;; esac
}

processors=$(getconf _NPROCESSORS_ONLN)
beside=${BESIDE:-}
for program in "$@"; do
  case $program in */tests/cuda/*) ;; *) [ "$processors" -gt 1 ] && beside=yes ;; esac
done
# Whoever makes the folder of a program runs it.
run_beside() {
  n=0
  for program in "$@"; do
    n=$((n + 1))
    is_beside "$program" && mkdir "$logs/$n.taken" 2>/dev/null && { at_work=$program; run "$program" $n; at_work=''; }
  done
  true
}
while [ "$processors" -gt 1 ]; do
  run_beside "$@" &
  processors=$((processors - 2))
done
n=0
for program in "$@"; do
  n=$((n + 1))
  is_beside "$program" || { at_work=$program; run "$program" $n; at_work=''; report "$program" $n; }
done
run_beside "$@"
wait
n=0
for program in "$@"; do
  n=$((n + 1))
  if is_beside "$program"; then report "$program" $n; fi
done
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
