#!/bin/sh
# Runs cmocka programs one after the other, shows what each prints, and ends with one line: N passed, N failed, N skipped.
# A program that dies counts as one failure. Exit status 1 when anything failed or nothing ran.
# Threads that wait give their processor away: tests share theirs with whatever else runs.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
passed=0 failed=0 skipped=0
log=$(mktemp) && trap 'rm -f "$log"' EXIT
count() { sed -n "s/^\[ *$1 *\].* \([0-9][0-9]*\) test(s).*/\1/p" "$log" | awk '{n += $1} END {print n + 0}'; }
for program in "$@"; do
  echo "== ${program#"$BUILD"/tests/}"
  "$program" >"$log" 2>&1
  status=$?
  grep -v '^\[ RUN      \]\|^\[       OK \]' "$log"
  p=$(count PASSED) f=$(count FAILED) s=$(count SKIPPED)
  [ "$status" -eq 0 ] || [ "$f" -gt 0 ] || { echo "$program ended with status $status"; f=1; }
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
