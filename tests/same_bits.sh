#!/bin/sh
# same_bits.sh EDIY EDIY...: the same teacher, run and evaluations by each of these programs, which have to leave the same bytes. One that this
# machine cannot run is named and left out.
set -eu
first='' status=0
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
for program; do
  here=$folder/$(echo "$program" | tr / _)
  name=$program program=$(realpath "$program")
  mkdir "$here" && cd "$here"
  if ! "$program" --version >version 2>&1; then
    echo "$name: not run: this machine cannot"
    cd - >/dev/null
    continue
  fi
  "$program" scenes out=scenes images=200 val=100 >/dev/null
  "$program" train preset=demo lambda1=0 lambda2=0 data=scenes/train seed=1 epochs=2 out=teacher >/dev/null 2>log
  "$program" train preset=demo teacher=teacher/backbone.safetensors data=scenes/train seed=1 epochs=2 out=run >/dev/null 2>log
  for how in knn linear; do "$program" eval $how weights=run/backbone.safetensors train=scenes/train test=scenes/val >"said-by-$how" 2>log; done
  cd - >/dev/null
  same='the first'
  [ -z "$first" ] || same='the same bytes'
  for file in teacher/backbone.safetensors run/backbone.safetensors said-by-knn said-by-linear; do
    [ -z "$first" ] || cmp "$first/$file" "$here/$file" || same='other bytes' status=1
  done
  echo "$name: $same ($(cat "$here/version"))"
  first=${first:-$here}
done
exit $status
