/* ediy train under mpirun: the bits of the forked ranks that tests/train/test_ranks.c holds to one process; and however a run ends, it ends
 * on every rank, with one line. Skipped where there is no MPI.
 *
 * Everything of the library that computes is forked: this process runs no parallel loop. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "train/trainer.h"

#include "support/forked.h"
#include "support/mpirun.h"

#include "support/cmocka.h"

static const char keys[] =
    "data=../scenes/train epochs=2 warmup=0 batch=12 backbone=small stem=cifar size=16 lr=4 tau0=0.9 workers=1 "
    "projector.hidden=8 projector.out=4 log.every=1 threads=1 checkpoint.every=1 sampler=random rdem.negative=instance";

static int setup(void **state) {
  if (!mpirun_enter("mpi/ediy", state)) return 0;
  assert_runs("ediy scenes out=scenes images=30 val=10 size=24 && mkdir forked mpi");
  return 0;
}

/* ---- bits ---------------------------------------------------------------------------------------------------------------------------- */

static void train_here(const struct ranks *r, void *context) {
  static struct config c;
  struct train_callbacks callbacks = {NULL, NULL, NULL, NULL, r};
  struct train_result result;
  struct error err;
  char *argv[32], *text = strdup(context);
  int n = 0;
  for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) argv[n++] = word;
  if (chdir("forked") != 0 || !config_from_arguments(&c, n, argv, &err) || !train(&c, &callbacks, &result, &err)) abort();
}

static void mpi_has_the_bits_of_forked_ranks(void **state) {
  (void)state;
  mpirun_needed();
  for (int ranks = 2; ranks <= 4; ranks++) {
    char all[1024];
    snprintf(all, sizeof all, "%s out=run%d", keys, ranks);
    forked_run(ranks, train_here, all);
    assert_runs("cd mpi && %s && %s %d ediy train %s", mpirun_settings, mpirun, ranks, all);
    assert_runs("cmp forked/run%d/checkpoint-00000004.safetensors mpi/run%d/checkpoint-00000004.safetensors", ranks, ranks);
    assert_runs("cmp forked/run%d/backbone.safetensors mpi/run%d/backbone.safetensors", ranks, ranks);
  }
}

/* The program with MPI, started by hand or as the one rank, is the program without. */
static void one_rank_is_one_process(void **state) {
  (void)state;
  mpirun_needed();
  char all[1024];
  snprintf(all, sizeof all, "%s out=alone", keys);
  forked_run(1, train_here, all);
  assert_runs("cd mpi && ediy train %s", all);
  assert_runs("cmp forked/alone/backbone.safetensors mpi/alone/backbone.safetensors && rm -r mpi/alone");
  assert_runs("cd mpi && %s && %s 1 ediy train %s", mpirun_settings, mpirun, all);
  assert_runs("cmp forked/alone/backbone.safetensors mpi/alone/backbone.safetensors");
}

/* ---- how runs end -------------------------------------------------------------------------------------------------------------------- */

static void what_is_wrong_is_said_once(void **state) {
  (void)state;
  mpirun_needed();
  mpirun_refused("twelve", "cd mpi && %s && %s 3 ediy train %s out=wrong batch=twelve", mpirun_settings, mpirun, keys);
  mpirun_refused("cannot be cut into 3 equal parts", "cd mpi && %s && %s 3 ediy train %s out=wrong batch=10", mpirun_settings, mpirun,
                 keys);
  mpirun_refused("nowhere", "cd mpi && %s && %s 2 ediy train %s out=wrong data=nowhere", mpirun_settings, mpirun, keys);
  mpirun_refused("rank 0 of 2: ", "cd mpi && %s && touch file && %s 2 ediy train %s out=file", mpirun_settings, mpirun, keys);
  mpirun_refused("is not finite", "cd mpi && %s && %s 2 ediy train %s out=wild lr=1e9 trust=1e9", mpirun_settings, mpirun, keys);
}

/* Several copies of one process, by a launcher that MPI does not know of, or for a program without MPI: each would train alone. */
static void copies_are_refused(void **state) {
  (void)state;
  mpirun_needed();
  static const char *const by[] = {"PMI_SIZE=3 PMI_RANK", "SLURM_STEP_NUM_TASKS=3 SLURM_PROCID"};
  for (int i = 0; i < 2; i++) {
    assert_refused("3 processes were started together", "cd mpi && %s=0 ediy train %s out=copy", by[i], keys);
    const struct outcome *o = program_run("cd mpi && %s=1 ediy train %s out=copy", by[i], keys);
    assert_int_equal(o->status, 2);
    assert_string_equal(o->err, "");
  }
  assert_runs("cd mpi && SLURM_NTASKS=3 SLURM_PROCID=0 ediy train %s out=script stop=1", keys); /* what a batch script starts itself */
}

/* A run that would take hours, of which something becomes: in the third step, or when it has ended, the shell goes on. Its last words are
 * in a file. */
#define ENDLESS                                                                                                                            \
  "cd mpi && rm -rf long && %s && { %s %d ediy train %s out=long epochs=100000 >long.out 2>long.err & } && "                               \
  "until grep -qs '\"step\": 3,' long/log.jsonl || ! kill -0 $!; do sleep 0.1; done; "

static void a_signal_ends_all_with_a_checkpoint(void **state) {
  (void)state;
  mpirun_needed();
  assert_runs(ENDLESS "kill -USR1 $(pgrep -P $!) && wait $! && grep -q 'stopped after step' long.out", mpirun_settings, mpirun, 2, keys);
  /* and goes on, on another number of ranks */
  assert_runs(
      "cd mpi && %s && %s %d ediy train %s out=long epochs=100000 stop=$(($(sed -n 's/.*after step \\([0-9]*\\) .*/\\1/p' long.out) + 1))",
      mpirun_settings, mpirun, 3, keys);
}

static void a_rank_that_dies_ends_the_others(void **state) {
  (void)state;
  mpirun_needed();
  const struct outcome *o =
      program_run(ENDLESS "mpi=$(pgrep -P $!) && set -- $(pgrep -P $mpi) && kill -9 $2 && ! wait $! && ! grep -qs ediy /proc/$1/cmdline",
                  mpirun_settings, mpirun, 2, keys);
  assert_int_equal(o->status, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(mpi_has_the_bits_of_forked_ranks),    cmocka_unit_test(one_rank_is_one_process),
      cmocka_unit_test(what_is_wrong_is_said_once),          cmocka_unit_test(copies_are_refused),
      cmocka_unit_test(a_signal_ends_all_with_a_checkpoint), cmocka_unit_test(a_rank_that_dies_ends_the_others)};
  return cmocka_run_group_tests_name("mpi", tests, setup, mpirun_leave);
}
