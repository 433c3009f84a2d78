# shellcheck shell=sh
# For gpu.sh, bench.sh, counters.sh and variants.sh, which read it.
#
# within SECONDS COMMAND...: ends it with all that it has started, after so many seconds (124) and when this script is ended: nothing of it is left
# on the GPU beside the next.
within() {
  limit=$1
  shift
  [ "$limit" -gt 0 ] || return 124
  timeout -k 5 "$limit" "$@" &
  inner=$!
  trap 'kill "$inner" 2>/dev/null; exit 143' TERM INT
  wait "$inner"
}
