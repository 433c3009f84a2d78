# shellcheck shell=sh disable=SC2153,SC2154  # what gpu.sh assigns
# The parts of gpu.sh, which reads this: part_NAME is run in an empty folder of its own, with the variables that gpu.sh names and PART_SECONDS, the time it
# has. Its exit status is 0, SKIP (what it says last is the reason), UNFINISHED, or another for a failure.

# Skips the part where there is no GPU to run it on, or no driver for it; whatever else is wrong is left for the part to find.
needs_gpu() {
  why=$("$BIN/ediy" train backend=cuda data=none out=none sampler=random 2>&1 |
    grep -E '^ediy: cuda: (this machine has no NVIDIA driver|the NVIDIA driver is for|no GPU is visible)')
  [ -z "$why" ] || { echo "$why"; exit "$SKIP"; }
}

# seconds_of MOST: what a part with a limit of its own may take, so that what is left of the part's time is enough to say what it found.
seconds_of() { if [ "$1" -le $((PART_SECONDS - 30)) ]; then echo "$1"; else echo $((PART_SECONDS - 30)); fi; }

# ---- the parts: they run in a folder of their own ----------------------------------------------------------------------------------------

# Those programs of the tests, one after the other, and what they say in all.
run_tests() {
  passed=0 failed=0 skipped=0 hung=''
  export BUILD="$BIN"
  for program; do
    echo "== ${program##*/}" # first: where this part is ended, it is the last line
    within "$SECONDS_A_TEST" sh "$RUNNER" "$program" >log 2>&1
    case $? in 124 | 137) hung="$hung ${program##*/}" ;; esac
    counts=$(sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' log)
    sed '/^== .*[^:]$/d; /^$/d; $ {/^[0-9]* passed, [0-9]* failed, [0-9]* skipped$/d}' log
    # shellcheck disable=SC2086  # three words
    [ -z "$counts" ] || { set -- $counts; passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3)); }
  done
  echo "$passed passed, $failed failed, $skipped skipped${hung:+; not finished:$hung}"
  if [ $failed -gt 0 ] || [ $passed -eq 0 ]; then return 1; fi
  [ -z "$hung" ] || exit "$UNFINISHED"
}

# wgmma has a part of its own: a kernel that fails fails all that the program does after it.
part_tests() {
  export EDIY_TEST_WGMMA=no
  run_tests "$BIN"/tests/cuda/test_*
}

# The oracle's name of a class of the backend.
backend_of() {
  case $1 in fp32) echo cuda ;; *) echo "cuda:$1" ;; esac
}

# What cases declare: the longest sum that is one chain of additions is that of a head with 2048 inputs. (dw of the stem is cut into chunks of 523 positions. How
# a library cuts its sums it does not say; none has more terms forward.)
CHAIN=2048

# Every operation, judged in its class, with what is written beside results and whether a second call gives the same bits. What is judged as fp32
# and was computed in less must be found.
part_oracle() {
  needs_gpu
  mkdir cases
  for op in conv linear norm relu maxpool avgpool match loss lars ema; do
    for fill in normal int offset; do
      case $op-$fill in match-offset | loss-offset | lars-offset) continue ;; esac # hang on rounding, are too near to zero to say anything, or say nothing
      "$BIN/oracle" case make op=$op fill=$fill out=cases/$op-$fill.safetensors >/dev/null || return 1
    done
  done
  if [ -z "$SMALL" ]; then # a stem, a 3x3 of stage 3 and a head of ResNet-50: what tiny cases cannot have is many tiles
    "$BIN/oracle" case make op=conv n=4 h=112 w=112 c=3 k=64 r=7 stride=2 pad=3 out=cases/stem.safetensors >/dev/null || return 1
    "$BIN/oracle" case make op=conv n=4 h=28 w=28 c=128 k=128 r=3 stride=2 pad=1 out=cases/stage.safetensors >/dev/null || return 1
    "$BIN/oracle" case make op=linear m=128 i=2048 o=1024 out=cases/head.safetensors >/dev/null || return 1
  fi
  for class in $CLASSES; do
    echo "$class"
    "$BIN/oracle" case cases chain=$CHAIN backend="$(backend_of "$class")" || return 1
    [ "$class" = fp32 ] || ! "$BIN/oracle" case cases chain=$CHAIN backend="$(backend_of "$class")" precision=fp32 >/dev/null || return 1
    rm -f cases/*-offset.safetensors # of numbers that differ by less than their roundoff the other classes leave nothing
  done
  # A kernel in CUDA that is handed over as a function, its arrays on the GPU between guards: right, and reading a row too far.
  [ -x "$BIN/examples/kernel" ] || { echo "no $BIN/examples: they need nvcc"; return 0; }
  "$BIN/examples/kernel" || return 1
  "$BIN/examples/kernel_too_far"
  [ $? -eq 1 ]
}

# Whole steps, tensor by tensor, in each class: the same bits when repeated; each operation right from the step's own tensors, as it ran within the step;
# and in fp32 every value of the reference. Were one another, how far right implementations drift says how bad that is.
part_steps() {
  needs_gpu
  set -- "backbone=resnet18 size=64 batch=8" "backbone=resnet50 size=64 batch=8 rdem.negative=instance region.predictor=mlp"
  [ -z "$SMALL" ] || set -- "backbone=small stem=cifar size=16 batch=4 projector.hidden=8 projector.out=4"
  for keys in "$@"; do
    for class in $CLASSES; do
      echo "$class, $keys"
      for again in 1 2; do
        # shellcheck disable=SC2086
        "$BIN/oracle" dump out=gpu$again backend="$(backend_of "$class")" projector.hidden=512 projector.out=64 $keys || return 1
      done
      "$BIN/oracle" check gpu1 gpu2 && "$BIN/oracle" replay gpu1 || return 1
      if [ "$class" = fp32 ]; then
        # shellcheck disable=SC2086
        "$BIN/oracle" dump out=reference projector.hidden=512 projector.out=64 $keys && "$BIN/oracle" replay gpu1 backend=cuda || return 1
        if ! "$BIN/oracle" check reference gpu1; then
          # shellcheck disable=SC2086
          "$BIN/oracle" dump out=truth backend=ref64 drift=4 projector.hidden=512 projector.out=64 $keys && "$BIN/oracle" check truth gpu1
          return 1
        fi
      fi
      rm -rf truth reference gpu1 gpu2
    done
  done
}

# keys for a run of three steps, and a teacher for it
BATCH=8
[ -z "$SMALL" ] || BATCH=4
FEW="data=../s/train backbone=small stem=cifar size=16 batch=$BATCH epochs=1 warmup=0 projector.hidden=8 projector.out=4 workers=1 log.every=1"

# The tensors of a file, behind the header, which names the keys of the run.
tensors_of() {
  tail -c +$(($(od -A n -t u8 -N 8 "$1") + 9)) "$1"
}

# Three steps on the GPU, three by the same kernels on the CPU, and three of the reference: the order of every sum is fixed, so every bit is the same.
part_bits() {
  needs_gpu
  "$BIN/ediy" scenes out=s images=$((3 * BATCH)) val=8 classes=2 size=24 >/dev/null || return 1
  mkdir teach gpu shim reference
  # shellcheck disable=SC2086  # keys are words
  (cd teach && "$BIN/ediy" train $FEW lambda1=0 lambda2=0 out=run 2>/dev/null) || return 1
  # shellcheck disable=SC2086
  for accumulate in 1 2; do
    for where in gpu shim; do
      program=$BIN/ediy
      [ $where = gpu ] || program=$SHIM
      (cd $where && "$program" train $FEW accumulate=$accumulate backend=cuda teacher=../teach/run/backbone.safetensors out=run$accumulate) ||
        return 1
    done
    cmp gpu/run$accumulate/checkpoint-00000003.safetensors shim/run$accumulate/checkpoint-00000003.safetensors || return 1
    # shellcheck disable=SC2086
    (cd reference && "$BIN/ediy" train $FEW accumulate=$accumulate teacher=../teach/run/backbone.safetensors out=run$accumulate) || return 1
    for where in gpu reference; do tensors_of $where/run$accumulate/checkpoint-00000003.safetensors >$where.tensors || return 1; done
    cmp gpu.tensors reference.tensors || return 1
    echo "accumulate=$accumulate: the checkpoints after 3 steps are the same bytes, and the reference's"
  done
  repeats || return 1
  flows || return 1
  predicted || return 1 # last: the machine of the PTX is the slowest of them
}

# The same losses of every step to the last digit, as a graph and operation by operation, with views from the GPU and from the workers; and how long each took.
flows() {
  keys="preset=sanity data=s/train batch=$BATCH epochs=4 sampler=random log.every=1 warmup=1 backend=cuda"
  [ -z "$SMALL" ] || keys="$keys size=8 epochs=1"
  for flow in cuda.graph=yes cuda.graph=no augment.on=cpu accumulate=2 "accumulate=2 cuda.graph=no augment.on=cpu"; do
    out=flow$(echo "$flow" | tr -d ' ')
    begun=$(date +%s%N)
    # shellcheck disable=SC2086
    "$BIN/ediy" train $keys $flow out="$out" 2>said || { cat said; return 1; }
    ended=$(date +%s%N)
    grep 'cuda.graph:' said && return 1 # a line that says that it could not be recorded
    sed 's/.*\("loss": [^,]*\).*/\1/' "$out/log.jsonl" >"$out.txt"
    case $flow in accumulate*) like=flowaccumulate=2.txt ;; *) like=flowcuda.graph=yes.txt ;; esac
    cmp "$out.txt" "$like" || return 1
    echo "$flow: $(wc -l <"$out.txt") losses as in $like, $(((ended - begun) / 1000000)) ms with start"
  done
}

# How tensor cores add was measured of some (tests/cuda/ptx/tensor_core.h): by that, the same PTX run on the CPU has the GPU's bits. Others than these do
# not make the part fail: what a sum may be off by is known, and how it is taken is not promised.
predicted() {
  [ -x "$PTX" ] || { echo "tf32 and bf16: no bits to compare with: there is no $PTX"; return 0; }
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>&1 | head -1)
  case $capability in
  8.0) core=a100 ;;
  9.0) core=h100 ;;
  10.0) core=b200 ;;
  *) echo "tf32 and bf16: no bits to compare with: how the tensor cores of compute capability $capability add is not known here"; return 0 ;;
  esac
  for class in $CLASSES; do
    [ "$class" != fp32 ] || continue # has been compared with the shim
    mkdir "predicted-$class"
    # shellcheck disable=SC2086
    (cd "predicted-$class" && EDIY_PTX_CORE=$core EDIY_PTX_RACES=0 "$PTX" train $FEW backend=cuda precision="$class" teacher=../teach/run/backbone.safetensors out=run) ||
      return 1
    if cmp "$class"1/run/checkpoint-00000003.safetensors "predicted-$class"/run/checkpoint-00000003.safetensors; then
      echo "$class: the checkpoint after 3 steps has the bytes that $core's arithmetic gives by the same PTX on the CPU"
    else
      echo "$class: the checkpoint after 3 steps has NOT the bytes that $core's arithmetic gives by the same PTX on the CPU"
    fi
  done
}

# In a class a run is compared with itself, too.
repeats() {
  # shellcheck disable=SC2086
  for class in $CLASSES; do
    for again in 1 2; do
      mkdir "$class$again"
      (cd "$class$again" && "$BIN/ediy" train $FEW backend=cuda precision="$class" teacher=../teach/run/backbone.safetensors out=run) || return 1
    done
    cmp "$class"1/run/checkpoint-00000003.safetensors "$class"2/run/checkpoint-00000003.safetensors || return 1
    echo "$class: the checkpoints of two runs are the same bytes"
  done
}

# Two columns of losses beside each other. In fp32 they are the same, every one. Else rounding alone is between the first two; how far later ones
# drift apart is reported. In half precision the first may be eight roundoffs apart: sixty layers one after the other, each off by one, independently.
beside() {
  case $1 in tf32) most=3.9e-3 ;; bf16) most=3.1e-2 ;; *) most=0 ;; esac
  awk -v most=$most '
    { match($0, /"step": [0-9]+/); step = substr($0, RSTART + 8, RLENGTH - 8) + 0
      match($0, /"loss": [^,]+/); loss = substr($0, RSTART + 8, RLENGTH - 8) + 0 }
    NR == FNR { cpu[step] = loss; next }
    { gpu[step] = loss; last = step }
    END {
      for (s = 1; s <= last; s++) {
        d = cpu[s] ? (gpu[s] - cpu[s]) / cpu[s] : 1
        if (d != 0) others++
        if (s <= 5 || s % 10 == 0 || s == last) printf "step %4d   cpu %.6f   gpu %.6f   %+.2e\n", s, cpu[s], gpu[s], d
        if (s > last - 20) { a += cpu[s]; b += gpu[s]; n++ }
      }
      d = (gpu[1] - cpu[1]) / cpu[1]
      if (n) printf "mean of the last %d: cpu %.6f, gpu %.6f, %+.2e\n", n, a / n, b / n, (b - a) / a
      if (last < 1 || !(d <= most && d >= -most)) { print "step 1 is off by more than rounding"; exit 1 }
      if (most == 0 && others) { print others " steps have another loss than the reference'"'"'s"; exit 1 }
    }' cpu/log.jsonl "$1"/log.jsonl
}

# 200 steps of E-DIY on scenes, on the CPU and on the GPU in each class; then a run that was begun on the GPU goes on in other classes and on the CPU.
part_train() {
  needs_gpu
  epochs=25 images=256
  keys="preset=sanity data=s/train batch=32 log.every=1 warmup=0"
  [ -z "$SMALL" ] || epochs=2 images=8 keys="$keys batch=4 size=16 projector.hidden=16 projector.out=8"
  "$BIN/ediy" scenes out=s images=$images val=8 classes=8 size=48 >/dev/null || return 1
  # shellcheck disable=SC2086
  "$BIN/ediy" train $keys lambda1=0 lambda2=0 epochs=1 out=teacher 2>/dev/null || return 1
  # shellcheck disable=SC2086
  "$BIN/ediy" train $keys epochs=$epochs teacher=teacher/backbone.safetensors out=cpu 2>/dev/null || return 1
  # shellcheck disable=SC2086
  for class in $CLASSES; do
    echo "$class"
    "$BIN/ediy" train $keys epochs=$epochs teacher=teacher/backbone.safetensors out="$class" backend=cuda precision="$class" 2>/dev/null || return 1
    beside "$class" && mkdir -p "$RESULTS/train" && "$BIN/ediy" show curves run="$class" beside=cpu out="$RESULTS/train/$class.png" || return 1
  done
  stop=0
  # shellcheck disable=SC2086
  for class in $CLASSES; do
    stop=$((stop + 1))
    "$BIN/ediy" train $keys epochs=2 teacher=teacher/backbone.safetensors out=half backend=cuda precision="$class" stop=$stop 2>/dev/null || return 1
  done
  # shellcheck disable=SC2086
  "$BIN/ediy" train $keys epochs=2 teacher=teacher/backbone.safetensors out=half backend=reference 2>/dev/null
}

# ---- compute-sanitizer: a part a tool ----------------------------------------------------------------------------------------------------

# Whole steps, runs and libraries: last, and by memcheck alone; the others would take longer over them than over all operations.
WHOLE="test_flow test_step test_features test_libraries test_train"

# Programs of the tests, operations first.
sanitized() {
  for program in "$BIN"/tests/cuda/test_*; do
    case " $WHOLE " in *" ${program##*/} "*) ;; *) echo "${program##*/}" ;; esac
  done
  for name in $WHOLE; do
    if [ "$1" = memcheck ] && [ -e "$BIN/tests/cuda/$name" ]; then echo "$name"; fi
  done
}

# What a tool finds, and a test that fails under it, is a failure; what it does not come to in its time is neither that nor passed.
sanitize() {
  tool=$1 seconds=$(seconds_of "$SECONDS_A_TOOL") options='' begun=$(date +%s) clean=0 bad='' unfinished=''
  sanitizer=$(command -v compute-sanitizer)
  for path in /usr/local/cuda*/bin/compute-sanitizer "$packages"/*/bin/compute-sanitizer; do
    [ -n "$sanitizer" ] || [ ! -x "$path" ] || sanitizer=$path
  done
  [ -n "$sanitizer" ] || { echo "there is no compute-sanitizer on the path, in /usr/local/cuda*/bin or in Python's packages"; exit "$SKIP"; }
  needs_gpu
  [ "$tool" = memcheck ] || export EDIY_TEST_WGMMA=no # what the others know of multiplications that go on by themselves is not known here
  # A request for memory that is refused is part of a test; in the zone behind an allocation nothing else lies.
  [ "$tool" != memcheck ] || options="--report-api-errors no --padding 64"
  for name in $(sanitized "$tool"); do
    left=$((begun + seconds - $(date +%s)))
    [ $left -gt 0 ] || { unfinished="$unfinished $name"; continue; }
    since=$(date +%s)
    # shellcheck disable=SC2086  # options are words
    within "$left" "$sanitizer" --tool "$tool" --target-processes all $options --error-exitcode 9 "$BIN/tests/cuda/$name" >log 2>&1
    status=$?
    if grep -q 'Device not supported' log; then
      echo "compute-sanitizer does not support this device"
      exit "$SKIP"
    fi
    took="$(($(date +%s) - since)) s"
    case $status in
    0) clean=$((clean + 1)) && echo "$tool $name: nothing found, $took" ;;
    124 | 137) unfinished="$unfinished $name" && echo "$tool $name: not finished after $took" ;;
    *)
      bad="$bad $name"
      echo "$tool $name: status $status, $took"
      grep -m 40 '=========' log
      tail -n 4 log
      ;;
    esac
  done
  echo "$tool: $clean programs clean${bad:+; found something in$bad}${unfinished:+; not finished:$unfinished}"
  [ -z "$bad" ] || return 1
  [ -z "$unfinished" ] || exit "$UNFINISHED"
}
part_memcheck() { sanitize memcheck; }
part_racecheck() { sanitize racecheck; }
part_initcheck() { sanitize initcheck; }
part_synccheck() { sanitize synccheck; }

# Cases of convolution and linear layer, some of ResNet-50's sizes, into cases
product_cases() {
  mkdir cases
  for fill in normal int; do
    "$BIN/oracle" case make op=conv fill=$fill out=cases/conv-$fill.safetensors >/dev/null &&
      "$BIN/oracle" case make op=linear fill=$fill out=cases/linear-$fill.safetensors >/dev/null || return 1
  done
  if [ -z "$SMALL" ]; then
    "$BIN/oracle" case make op=conv n=4 h=112 w=112 c=3 k=64 r=7 stride=2 pad=3 out=cases/stem.safetensors >/dev/null || return 1
    "$BIN/oracle" case make op=conv n=4 h=28 w=28 c=128 k=128 r=3 stride=2 pad=1 out=cases/stage.safetensors >/dev/null || return 1
    "$BIN/oracle" case make op=conv n=4 h=28 w=28 c=128 k=128 r=3 stride=1 pad=1 out=cases/three.safetensors >/dev/null || return 1
    "$BIN/oracle" case make op=conv n=4 h=14 w=14 c=1024 k=256 r=1 stride=1 pad=0 out=cases/one.safetensors >/dev/null || return 1
    "$BIN/oracle" case make op=linear m=128 i=2048 o=1024 out=cases/head.safetensors >/dev/null || return 1
  fi
}

# What cuDNN and cuBLASLt compute, judged in each class, where they are.
part_libraries() {
  needs_gpu
  product_cases || return 1
  for backend in cuda:libraries cuda:tf32:libraries cuda:bf16:libraries; do
    echo "$backend"
    "$BIN/oracle" case cases chain=$CHAIN backend=$backend >said 2>&1
    status=$?
    cat said
    ! grep -q 'needs the library' said || exit "$SKIP"
    [ $status -eq 0 ] || return 1
  done
}

# Products by wgmma, where the GPU has it: the tests of products once more; judged in bf16, alone and in a whole step, the same when repeated; and whether what
# is trained has the bits that mma gives, which it may not have: how either adds is not promised.
part_wgmma() {
  needs_gpu
  product_cases || return 1
  "$BIN/oracle" case cases chain=$CHAIN backend=cuda:bf16:wgmma >said 2>&1
  status=$?
  cat said
  ! grep -q 'wgmma: GPU .* has compute capability' said || exit "$SKIP"
  [ $status -eq 0 ] || return 1
  [ -n "$SMALL" ] || run_tests "$BIN"/tests/cuda/test_tensor_* "$BIN"/tests/cuda/test_conv_norm || return 1
  keys="backbone=resnet50 size=64 batch=32 rdem.negative=instance region.predictor=mlp projector.hidden=512 projector.out=64"
  [ -z "$SMALL" ] || keys="backbone=small stem=cifar size=16 batch=4 projector.hidden=8 projector.out=4"
  for again in 1 2; do
    # shellcheck disable=SC2086
    "$BIN/oracle" dump out=gpu$again backend=cuda:bf16:wgmma $keys || return 1
  done
  "$BIN/oracle" check gpu1 gpu2 && "$BIN/oracle" replay gpu1 || return 1
  "$BIN/ediy" scenes out=s images=$((3 * BATCH)) val=8 classes=2 size=24 >/dev/null || return 1
  for way in own wgmma; do
    mkdir $way
    # shellcheck disable=SC2086
    (cd $way && "$BIN/ediy" train $FEW lambda1=0 lambda2=0 backend=cuda precision=bf16 cuda.conv=$way cuda.gemm=$way out=run) || return 1
    tensors_of $way/run/backbone.safetensors >$way.tensors || return 1
  done
  if cmp own.tensors wgmma.tensors; then
    echo "wgmma: what 3 steps have trained has the bytes that mma gives"
  else
    echo "wgmma: what 3 steps have trained has NOT the bytes that mma gives"
  fi
}

part_bench() {
  needs_gpu
  SECONDS_LEFT=$(seconds_of 540) sh "$BENCH" "$RESULTS/bench"
}

# What every kernel of a step does, by the counters of the GPU: for whoever makes it faster.
part_counters() {
  needs_gpu
  SECONDS_LEFT=$(seconds_of 540) sh "$COUNTERS" "$RESULTS/counters"
}

# What other choices in the products would do to their speed, where programs with them were built.
part_variants() {
  needs_gpu
  SECONDS_LEFT=$(seconds_of 540) sh "$CHOICES" "$RESULTS/variants"
}
