#!/bin/sh
# bundle/run OUT [part...]: everything of gpu.sh on a machine that has a GPU and its driver; OUT gets a summary and one archive (PACK= for a file a part).
# Relative paths, in variables too, are those of the folder in which this is started. FORCE_LIBC=1: with the C library of the bundle even where the
# machine's would do.
[ $# -ge 1 ] || { echo "usage: run OUT [part...]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd) || exit 2
if [ -n "${FORCE_LIBC:-}" ] || ! why=$("$here/ediy" --version 2>&1); then
  echo "with the bundle's C library: ${why:-asked for}"
  # ediy last: where it is done, all are. EDIY_RESTARTED: a program that started itself again would start the loader.
  for path in "$here/oracle" "$here/shim/ediy" "$here/ptx/ediy" "$here"/examples/* "$here"/tests/cuda/test_* "$here"/variants/*/ediy "$here/ediy"; do
    [ -e "$path" ] || continue
    program=${path#"$here"/}
    mkdir -p "$here/real/$(dirname "$program")"
    [ -e "$here/real/$program" ] || mv "$path" "$here/real/$program"
    own='' # a variant's own library comes first
    case $program in variants/*) own=$(dirname "$path")/lib: ;; esac
    # Folders of LD_LIBRARY_PATH, where a driver may be, come after the bundle's: the loader, called so, does not read the variable.
    # shellcheck disable=SC2016  # the wrapper expands them
    printf '#!/bin/sh\nexport EDIY_RESTARTED=1 OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"\nexec "%s" --library-path "%s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "%s" "$@"\n' \
      "$(echo "$here"/libc/ld-linux*)" "$here/libc:$own$here/lib" "$here/real/$program" >"$path"
    chmod +x "$path"
  done
fi
PACK=${PACK-1} BIN=$here exec sh "$here/gpu.sh" "$@"
