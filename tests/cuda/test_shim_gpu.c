/* The scripts that run on a machine with a GPU, gpu.sh and bundle.sh: what they make of paths, of what does not end, of a tool's findings
 * and of an old C library. Programs and compute-sanitizer are scripts here that say what they were given. */
#define _GNU_SOURCE /* realpath */
#include <unistd.h>

#include "cuda/shim_programs.h"

static void name_file(const char *variable, const char *file) {
  char absolute[PATH_MAX];
  assert_non_null(realpath(file, absolute));
  setenv(variable, absolute, 1);
}

/* A bundle whose programs are scripts, and in front of the path a compute-sanitizer: it finds something in test_norm, and does not end with
 * test_slow. */
static int enter(void **state) {
  name_file("GPU", "tests/cuda/gpu.sh"), name_file("PARTS", "tests/cuda/parts.sh"), name_file("BUNDLE", "tests/cuda/bundle.sh"),
      name_file("BENCH_SCRIPT", "tests/cuda/bench.sh");
  name_file("COUNTERS_SCRIPT", "tests/cuda/counters.sh"), name_file("VARIANTS_SCRIPT", "tests/cuda/variants.sh");
  name_file("WITHIN", "tests/cuda/within.sh"), name_file("RUNNER", "tests/run.sh");
  shim_programs_name("EDIY", "shim/ediy");
  program_enter(state);
  static const char *const unset[] = {"PEER",     "EDIY_CUDNN", "EDIY_CUBLAS", "EDIY_NCCL", "PACK",  "FORCE_LIBC", "SECONDS_LEFT",
                                      "COUNTERS", "NCU",        "RUNS",        "KEYS",      "SMALL", "CHOICES",    "VARIANTS"};
  for (size_t i = 0; i < sizeof unset / sizeof unset[0]; i++) unsetenv(unset[i]);
  assert_runs("mkdir -p bundle/tests/cuda bundle/shim bundle/lib bundle/libc tools lib\n"
              "cp $GPU bundle/gpu.sh && cp $PARTS bundle/parts.sh && cp $WITHIN bundle/within.sh && cp $BUNDLE bundle/run\n"
              "for p in ediy oracle shim/ediy tests/cuda/test_norm tests/cuda/test_conv tests/cuda/test_slow tests/cuda/test_train; do\n"
              "printf '#!/bin/sh\\necho \"$0 restarted=${EDIY_RESTARTED:-no} $*\"\\n' >bundle/$p; chmod +x bundle/$p; done\n"
              "printf '#!/bin/sh\\n[ \"$1\" = --library-path ] || exit 99\\necho \"$2\" >\"$CALLS.path\"\\nshift 2\\nexec \"$@\"\\n' "
              ">bundle/libc/ld-linux.so\n"
              "echo 'echo \"PEER=$PEER EDIY_CUDNN=$EDIY_CUDNN EDIY_NCCL=$EDIY_NCCL PYTHON=$PYTHON ld=${LD_LIBRARY_PATH:-none}\"; \n"
              "echo \"seconds=$SECONDS_LEFT\"; mkdir -p $1; echo 1 >$1/one.json; $BIN/ediy of bench' >bundle/bench.sh\n"
              "cat >tools/compute-sanitizer <<'end'\n#!/bin/sh\necho \"$*\" >>\"$CALLS\"\nfor program; do :; done\n"
              "case $program in\n"
              "*norm) echo '========= Invalid read'; exit 9 ;;\n"
              "*slow) sh -c 'sleep 6; touch \"$CALLS.went-on\"'; exit 0 ;;\n"
              "esac\nend\n"
              "chmod +x tools/* bundle/libc/*");
  setenv("PYTHON", "true", 1); /* that has no packages */
  assert_runs("touch peer.py");
  char path[3 * PATH_MAX], here[PATH_MAX];
  assert_non_null(getcwd(here, sizeof here));
  snprintf(path, sizeof path, "%s/tools:%s", here, getenv("PATH"));
  setenv("PATH", path, 1);
  snprintf(path, sizeof path, "%s/calls", here);
  setenv("CALLS", path, 1);
  return 0;
}

/* What ncu writes (version 2022.3 and later), a row a launch. This one knows no figure of shared memory, and counts three launches of two
 * kernels. */
static void write_ncu(void) {
  assert_runs("cp $COUNTERS_SCRIPT bundle/counters.sh && cat >tools/ncu <<'end'\n#!/bin/sh\n"
              "case $1 in --query-metrics) cat <<list\n"
              "Metric Name                Metric Type\n"
              "gpu__time_duration         Counter\ndram__bytes_read           Counter\ndram__bytes_write          Counter\n"
              "dram__cycles_active        Counter\nlts__t_sectors             Counter\nl1tex__data_pipe_lsu_wavefronts Counter\n"
              "smsp__issue_active         Counter\nsm__pipe_tensor_cycles_active Counter\nsm__warps_active           Counter\n"
              "smsp__average_warps_issue_stalled_barrier_per_issue_active Ratio\n"
              "smsp__average_warps_issue_stalled_wait_per_issue_active Ratio\n"
              "list\nexit;; esac\n"
              "echo \"$*\" >>\"$CALLS.ncu\"\n[ -z \"${NCU_SAYS:-}\" ] || { echo \"$NCU_SAYS\"; exit 1; }\n"
              "while [ \"$1\" != --log-file ]; do shift; done\nlog=$2; shift 2; \"$@\" || exit\ncat >$log <<rows\n"
              "==PROF== Profiling \"tensor_gemm\" - 0: 0%%....100%% - 6 passes\n"
              "\"ID\",\"Kernel Name\",\"Grid Size\",\"dram__bytes_read.sum\",\"dram__bytes_write.sum\","
              "\"dram__cycles_active.avg.pct_of_peak_sustained_elapsed\",\"gpu__time_duration.sum\","
              "\"smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio\","
              "\"smsp__average_warps_issue_stalled_wait_per_issue_active.ratio\"\n"
              "\"\",\"\",\"\",\"byte\",\"byte\",\"%%\",\"nsecond\",\"inst\",\"inst\"\n"
              "\"0\",\"void norm(int, float)\",\"(1, 1, 1)\",\"100,000\",\"50,000\",\"40\",\"1,000\",\"1\",\"2\"\n"
              "\"1\",\"void gemm<A, B>(A)\",\"(1, 1, 1)\",\"200,000\",\"100,000\",\"10\",\"1,000\",\"3\",\"5\"\n"
              "\"2\",\"void gemm<A, B>(A)\",\"(9, 1, 1)\",\"600,000\",\"300,000\",\"50\",\"3,000\",\"3\",\"1\"\n"
              "rows\nexit ${NCU_ENDS:-0}\nend\nchmod +x tools/ncu");
}

/* Figures of a kernel are weighted by its launches' times, the longest kernel is first, and what ncu does not know is left out and said. */
static void counters_are_added_up_by_kernel(void **state) {
  (void)state;
  write_ncu();
  assert_runs("mkdir -p out/counters/scenes && touch out/counters/teacher.safetensors"); /* these programs make none */
  assert_runs("RUNS='bf16-own tf32-own' PACK= sh bundle/run out counters");
  const struct outcome *o = assert_runs("cat out/counters.txt");
  program_expect(0, "l1tex__data_pipe_lsu_wavefronts_mem_shared.sum: ncu does not know it here\n", o);
  program_expect(0, "\n    0.004   80.0      2     300    40     0     0      0      0     0     0  barrier 3.0, wait 2.0 ", o);
  program_expect(0, "void gemm<A, B>(A)\n    0.001   20.0      1     150    40 ", o);
  program_expect(0, "wait 2.0, barrier 1.0 ", o);
  program_expect(0, "void norm(int, float)\n    0.005 ms in 3 launches of 2 kernels, one after the other\n", o);
  assert_runs(
      "grep -q -- '--clock-control none .*sm__warps_active.avg.pct_of_peak_sustained_active,smsp__average_warps_issue_stalled_barrier.* "
      "precision=tf32 cuda.conv=own cuda.gemm=own cuda.graph=no' $CALLS.ncu");
  assert_int_equal(program_run("grep wavefronts_mem_shared $CALLS.ncu")->status, 1); /* not asked for */
  o = assert_runs(
      "mkdir out/counters/scenes; touch out/counters/teacher.safetensors; NCU_ENDS=124 RUNS=bf16-own PACK= sh bundle/run out counters; cat "
      "out/counters.txt"); /* ended: the launches until then */
  program_expect(0, "bf16-own: not finished, there was no time; launches so far:\n", o);
  program_expect(0, "0.005 ms in 3 launches of 2 kernels, one after the other\n0 runs, ", o);
  assert_runs("test -e out/counters/bf16-own.csv && test -e out/counters/tf32-own.txt && test ! -e out/counters/scenes && "
              "test ! -e out/counters/teacher.safetensors && rm -r out");
}

/* Where they cannot be read nothing has failed; a program that fails is one. */
static void counters_that_cannot_be_read_are_skipped(void **state) {
  (void)state;
  write_ncu();
  assert_runs("mkdir -p out/counters/scenes && touch out/counters/teacher.safetensors");
  const struct outcome *o = assert_runs("NCU_SAYS='==ERROR== ERR_NVGPUCTRPERM - no permission' PACK= sh bundle/run out counters");
  program_expect(0, "counters   skipped: ==ERROR== ERR_NVGPUCTRPERM - no permission\n", o);
  assert_runs("test ! -e out/counters/scenes && test ! -e out/counters/teacher.safetensors");
  o = program_run("NCU_SAYS='==ERROR== another' PACK= RUNS=fp32-own sh bundle/run out counters");
  program_expect(1, "counters   failed with status 1: 0 runs, ", o);
  assert_runs("grep -q '^==ERROR== another' out/counters.txt");
  assert_runs("echo exit 1 >tools/ncu");
  program_expect(0, "counters   skipped: ncu knows no counters here", assert_runs("PACK= sh bundle/run out counters"));
  assert_runs("rm -r out tools/ncu");
}

static void a_peer_that_is_not_there_is_an_error(void **state) {
  (void)state;
  static const char *const commands[] = {"PEER=none.py sh bundle/run out bench", "PEER=none.py BIN=bundle sh $GPU out bench",
                                         "PEER=none.py BIN=bundle sh $BENCH_SCRIPT out"};
  for (int i = 0; i < 3; i++) {
    const struct outcome *o = program_run("%s", commands[i]);
    if (o->status != 2 || program_lines(o->err) != 1 || !strstr(o->err, "PEER: there is no file none.py") || o->out[0])
      fail_msg("%s: %d, %s%s", commands[i], o->status, o->out, o->err);
  }
  assert_runs("test ! -e out");
  assert_int_equal(program_run("sh bundle/run out tests none")->status, 2); /* nor is there such a part */
  assert_runs("test ! -e out");
}

/* What is no file stays as it is: a name to be looked for. Nothing is told to other programs by LD_LIBRARY_PATH. */
static void paths_are_of_the_folder_where_it_begins(void **state) {
  (void)state;
  assert_runs(
      "PEER=peer.py EDIY_CUDNN=lib EDIY_NCCL=libnccl.so.2 PYTHON=sh sh bundle/run out bench && mkdir x && tar xzf out/results.tar.gz -C x");
  assert_runs("grep -q \"^PEER=$PWD/peer.py EDIY_CUDNN=$PWD/lib EDIY_NCCL=libnccl.so.2 PYTHON=sh ld=none$\" x/bench.txt");
  assert_runs("rm -r x out");
}

/* And a second call with the same folder adds to them. */
static void all_results_are_in_one_archive(void **state) {
  (void)state;
  const struct outcome *o = assert_runs("sh bundle/run out bench");
  assert_non_null(strstr(o->out, "parts: 1 passed, 0 failed, 0 skipped, 0 not finished"));
  assert_int_equal(program_run("sh bundle/run out oracle")->status, 1); /* this oracle is none */
  assert_string_equal(assert_runs("ls out")->out, "results.tar.gz\nsummary.txt\n");
  assert_runs("mkdir x && tar xzf out/results.tar.gz -C x");
  assert_string_equal(assert_runs("cd x && find . -type f | sort")->out, "./bench.txt\n./bench/one.json\n./machine.txt\n./oracle.txt\n");
  assert_int_equal(program_lines(assert_runs("cat out/summary.txt")->out), 4);
  assert_runs("PACK= sh bundle/run plain bench");
  assert_runs("test -e plain/bench.txt && test -e plain/bench/one.json && test ! -e plain/results.tar.gz; status=$?; rm -r x out plain; "
              "exit $status");
}

/* The others are run, and what it had said is there. */
static void a_test_that_hangs_is_named(void **state) {
  (void)state;
  assert_runs("mkdir -p hang/tests/cuda && cp bundle/gpu.sh bundle/parts.sh bundle/within.sh bundle/run bundle/ediy hang\n"
              "for t in a b c; do printf '#!/bin/sh\\necho \"[  PASSED  ] 2 test(s).\"\\n' >hang/tests/cuda/test_$t; done\n"
              "printf 'echo \"[ RUN      ] stuck\"\\nsh -c \"sleep 6; touch $CALLS.went-on\"\\n' >>hang/tests/cuda/test_b\n"
              "chmod +x hang/tests/cuda/*");
  const struct outcome *o = program_run("SECONDS_A_TEST=3 PACK= sh hang/run out tests");
  program_expect(1, "tests      not finished: 4 passed, 0 failed, 0 skipped; not finished: test_b\n", o);
  assert_runs("grep -q '^\\[ RUN      \\] stuck' out/tests.txt && grep -q '^== test_c' out/tests.txt");
  assert_runs("sleep 6; test ! -e $CALLS.went-on");
  assert_runs("sed -i s/PASSED/FAILED/ hang/tests/cuda/test_c");
  o = program_run("SECONDS_A_TEST=3 PACK= sh hang/run out tests");
  program_expect(1, "tests      failed with status 1: 2 passed, 2 failed, 0 skipped; not finished: test_b\n", o);
  assert_runs("rm hang/tests/cuda/test_b && sed -i s/FAILED/PASSED/ hang/tests/cuda/test_c");
  program_expect(0, "tests      passed (4 passed, 0 failed, 0 skipped)\n", program_run("PACK= sh hang/run out tests"));
  assert_runs("rm -r out hang");
}

/* Where a command may take so long and no longer, the summary is there before. */
static void what_there_is_no_time_for_is_left_out(void **state) {
  (void)state;
  const struct outcome *o = program_run("SECONDS_LEFT=39 sh bundle/run out bench racecheck");
  program_expect(1,
                 "bench      left out, there was no time\nracecheck  left out, there was no time\n"
                 "parts: 0 passed, 0 failed, 0 skipped, 2 not finished",
                 o);
  assert_runs("test $(wc -l <out/summary.txt) = 3 && rm -r out");
  o = assert_runs("SECONDS_LEFT=50 PACK= sh bundle/run out bench");
  assert_runs("grep -q 'seconds=1[0-9]$\\|seconds=20$' out/bench.txt && rm -r out"); /* 30 less than the part has */
  o = assert_runs("PACK= sh bundle/run out bench");
  assert_runs("grep -q 'seconds=540$' out/bench.txt && rm -r out");
}

/* A finding is a failure; what was not reached or not ended is named, and neither that nor passed; and it does not go on beside what
 * follows. */
static void a_tool_s_findings_are_counted_and_what_it_did_not_reach(void **state) {
  (void)state;
  const struct outcome *o = program_run("SECONDS_A_TOOL=3 PACK= sh bundle/run out memcheck");
  program_expect(
      1, "memcheck   failed with status 1: memcheck: 1 programs clean; found something in test_norm; not finished: test_slow test_train\n",
      o);
  assert_runs("grep -q '^memcheck test_norm: status 9' out/memcheck.txt && grep -q '^========= Invalid read' out/memcheck.txt");
  assert_runs("mv bundle/tests/cuda/test_norm norm");
  o = program_run("SECONDS_A_TOOL=3 PACK= sh bundle/run out sanitizer");
  program_expect(1, "\nparts: 0 passed, 0 failed, 0 skipped, 3 not finished", o);
  program_expect(1, "racecheck  not finished: racecheck: 1 programs clean; not finished: test_slow\n", o);
  assert_runs("sleep 6; test ! -e $CALLS.went-on");
  assert_runs("mv bundle/tests/cuda/test_slow slow");
  o = assert_runs("PACK= sh bundle/run out sanitizer");
  program_expect(0, "memcheck   passed (memcheck: 2 programs clean)\nracecheck  passed (racecheck: 1 programs clean)\nsynccheck", o);
  /* a step in memcheck alone, which is not told of memory that was refused */
  assert_runs("grep -q -- '--tool memcheck .*--report-api-errors no .*test_train' $CALLS");
  assert_int_equal(program_run("grep -e 'racecheck.*test_train' -e 'racecheck.*api-errors' $CALLS")->status, 1);
  assert_runs("mv norm bundle/tests/cuda/test_norm && mv slow bundle/tests/cuda/test_slow && rm -r out");
}

/* A part that is ended takes what it started with it. */
static void nothing_goes_on_after_a_script_is_ended(void **state) {
  (void)state;
  assert_runs("echo >$CALLS; sh bundle/run out racecheck >said 2>&1 & pid=$!; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.2; ! grep -q slow "
              "$CALLS || break; done\n"
              "kill $pid; wait $pid; test $? = 143");
  assert_runs("sleep 6; test ! -e $CALLS.went-on");
  assert_runs("test -e out/results.tar.gz && rm -r out");
}

/* A row of convolutions and a line of steps for each variant, between two of the program as it is; without wgmma, those of the others. */
static void variants_are_beside_the_program_as_it_is(void **state) {
  (void)state;
  assert_runs("cp $VARIANTS_SCRIPT bundle/variants.sh && mv bundle/ediy ediy.kept");
  program_expect(0, "variants   skipped: there are no variants in ", assert_runs("PACK= sh bundle/run out variants"));
  assert_runs("mkdir -p bundle/variants/one/lib bundle/variants/two && printf 'a\\nreason\\n\\n' | tee bundle/variants/one/why.txt "
              ">bundle/variants/two/why.txt\n"
              "cat >bundle/ediy <<'end'\n#!/bin/sh\n"
              "[ \"$1\" != --version ] || exit 0\n"
              "case $0 in *one*) n=5 ;; *two*) n=7 ;; *) n=3 ;; esac\n"
              "case $* in *convolutions*by=pipelined*) echo \"all layers    |    $n.1 ${WAYS-1$n.1} |   $n.2 ${WAYS-1$n.2} |    $n.3 "
              "${WAYS-1$n.3}\" ;;\n"
              "*cuda.conv=wgmma*) [ -z \"${WAYS+none}\" ] || { echo 'cuda.conv=wgmma: GPU 0 has compute capability 8.0'; exit 2; }; echo "
              "\"${n}9 images/s (1 to 2)\" ;;\n"
              "*cuda.conv=own*steps=7*) echo \"${n}8 images/s (1 to 2)\" ;; *) exit 3 ;; esac\nend\n"
              "chmod +x bundle/ediy && cp bundle/ediy bundle/variants/one && cp bundle/ediy bundle/variants/two");
  program_expect(0, "variants   passed\n", assert_runs("PACK= sh bundle/run out variants"));
  const struct outcome *o = assert_runs("tr -s ' ' <out/variants.txt");
  program_expect(0, "\nas-it-is | 3.1 13.1 | 3.2 13.2 | 3.3 13.3 |\none | 5.1 15.1 | 5.2 15.2 | 5.3 15.3 |\ntwo | 7.1 17.1 |", o);
  program_expect(0, "\nas-it-is-again | 3.1 13.1 |", o);
  program_expect(0, "\nas-it-is own 38 images/s (1 to 2)\none own 58 images/s (1 to 2)\n", o);
  program_expect(0, "\ntwo wgmma 79 images/s (1 to 2)\nas-it-is-again wgmma 39 images/s (1 to 2)\n", o);
  program_expect(0, "\none: a reason\n", o);
  assert_runs("WAYS= PACK= sh bundle/run out variants && tr -s ' ' <out/variants.txt >few.txt");
  o = assert_runs("cat few.txt");
  program_expect(0, "\none | 5.1 - | 5.2 - | 5.3 - |\n", o);
  program_expect(0, "\none, step-wgmma: status 2: cuda.conv=wgmma: GPU 0 has compute capability 8.0\n", o);
  /* What cannot do wgmma at all still has the other path's figures. */
  assert_runs(
      "sed -i.kept 's/.convolutions.by=pipelined./*by=pipelined*) echo fault; exit 3 ;; *convolutions*by=own*/' bundle/variants/two/ediy");
  o = program_run("WAYS= PACK= sh bundle/run out variants; tr -s ' ' <out/variants.txt");
  program_expect(0, "\ntwo, convolutions: status 3: fault\ntwo | 7.1 - | 7.2 - | 7.3 - |\n", o);
  program_expect(1, "variants   failed with status 1: took ",
                 program_run("echo 'exit 4' >bundle/variants/two/ediy; PACK= sh bundle/run out variants"));
  /* With another C library a variant still has its own library first. */
  assert_runs("cp bundle/ediy bundle/variants/two && cp -r bundle other && FORCE_LIBC=1 PACK= sh other/run out variants && tr -s ' ' "
              "<out/variants.txt >forced.txt");
  assert_runs("grep -q '^two | 7.1 17.1 ' forced.txt && other/variants/one/ediy convolutions by=pipelined >made.txt && "
              "grep -q \"^$PWD/other/libc:$PWD/other/variants/one/lib:$PWD/other/lib$\" $CALLS.path");
  assert_runs("rm -r out other bundle/variants && mv ediy.kept bundle/ediy");
}

/* A program that keeps the GPU open is there before the first part and gone after the last, and what it says is among the results. */
static void the_gpu_is_kept_open(void **state) {
  (void)state;
  assert_runs(
      "cat >tools/nvidia-smi <<'end'\n#!/bin/sh\ncase $* in *' -l 5') echo clocks; echo $$ >$CALLS.holder; exec sleep 60 ;; esac\nend\n"
      "chmod +x tools/nvidia-smi");
  assert_runs(
      "sh bundle/run out bench && mkdir x && tar xzf out/results.tar.gz -C x && grep clocks x/load.csv && ! kill -0 $(cat $CALLS.holder)");
  assert_runs(
      "PACK= sh bundle/run plain bench && grep clocks plain/load.csv && ! kill -0 $(cat $CALLS.holder); status=$?; rm -r x out plain "
      "tools/nvidia-smi; exit $status");
}

/* Twice, too: the programs of the second call are those of the first. */
static void an_old_c_library_is_replaced_once(void **state) {
  (void)state;
  const struct outcome *o = assert_runs("FORCE_LIBC=1 PACK= sh bundle/run out bench");
  program_expect(0, "with the bundle's C library: asked for\nbench      passed\n", o);
  assert_runs("grep -q \"^$PWD/bundle/real/ediy restarted=1 of bench$\" out/bench.txt");
  for (int again = 0; again < 2; again++) {
    assert_string_equal(strtok((char *)(intptr_t)assert_runs("%s PACK= sh bundle/run out bench", again ? "FORCE_LIBC=1" : "")->out, " "),
                        again ? "with" : "bench");
    assert_runs("grep -q \"^$PWD/bundle/real/ediy restarted=1 of bench$\" out/bench.txt");
    assert_runs("bundle/shim/ediy | grep -q '^'$PWD'/bundle/real/shim/ediy restarted=1' && bundle/tests/cuda/test_conv >made.txt");
  }
  assert_runs("bundle/ediy >made.txt && grep -q \"^$PWD/bundle/libc:$PWD/bundle/lib$\" $CALLS.path"); /* and a driver is still found */
  assert_runs("LD_LIBRARY_PATH=/driver bundle/ediy >made.txt && grep -q \"^$PWD/bundle/libc:$PWD/bundle/lib:/driver$\" $CALLS.path");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_peer_that_is_not_there_is_an_error),
                                     cmocka_unit_test(paths_are_of_the_folder_where_it_begins),
                                     cmocka_unit_test(all_results_are_in_one_archive),
                                     cmocka_unit_test(a_test_that_hangs_is_named),
                                     cmocka_unit_test(what_there_is_no_time_for_is_left_out),
                                     cmocka_unit_test(a_tool_s_findings_are_counted_and_what_it_did_not_reach),
                                     cmocka_unit_test(nothing_goes_on_after_a_script_is_ended),
                                     cmocka_unit_test(counters_are_added_up_by_kernel),
                                     cmocka_unit_test(counters_that_cannot_be_read_are_skipped),
                                     cmocka_unit_test(variants_are_beside_the_program_as_it_is),
                                     cmocka_unit_test(the_gpu_is_kept_open),
                                     cmocka_unit_test(an_old_c_library_is_replaced_once)};
  return cmocka_run_group_tests_name("scripts for a GPU machine", tests, enter, program_leave);
}
