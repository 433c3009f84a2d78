#!/bin/sh
# bundle/run OUT [part...]: everything of gpu.sh on a machine that has a GPU and its driver. FORCE_LIBC=1: with the C library of the bundle even
# where the machine's would do.
cd "$(dirname "$0")" || exit 2
here=$PWD
case ${1:-} in
'') echo "usage: run OUT [part...]" >&2; exit 2 ;;
/*) ;;
*) out=$OLDPWD/$1 && shift && set -- "$out" "$@" ;;
esac
LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
if [ -n "${FORCE_LIBC:-}" ] || ! why=$(./ediy --version 2>&1); then
  echo "with the bundle's C library: ${why:-asked for}"
  export EDIY_RESTARTED=1 # a program that started itself again would start the loader
  for program in ediy oracle shim/ediy tests/cuda/test_*; do
    mkdir -p "real/$(dirname "$program")"
    [ -e "real/$program" ] || mv "$program" "real/$program"
    printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$(echo "$here"/libc/ld-linux*)" "$here/libc:$LD_LIBRARY_PATH" \
      "$here/real/$program" >"$program"
    chmod +x "$program"
  done
fi
BIN=$here exec sh gpu.sh "$@"
