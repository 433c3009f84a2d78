/* ediy train backend=cuda under mpirun, on the shim's GPUs and the stand-in of NCCL: it runs, twice to the same bytes; and what fails on
 * one rank's GPU ends all ranks, with one line. Skipped where there is no MPI. */
#define _GNU_SOURCE /* realpath */
#include "support/mpirun.h"

static const char keys[] =
    "data=s/train backbone=small stem=cifar size=16 batch=4 epochs=1 warmup=0 lambda1=0 lambda2=0 projector.hidden=8 "
    "projector.out=4 log.every=1 checkpoint.every=1 workers=1 threads=1";

static int setup(void **state) {
  const char *build = getenv("BUILD");
  char name[PATH_MAX], absolute[PATH_MAX];
  snprintf(name, sizeof name, "%s/shim/lib", build ? build : "build");
  if (realpath(name, absolute)) setenv("EDIY_NCCL", absolute, 1);
  if (mpirun_enter("mpi/shim/ediy", state)) assert_runs("ediy scenes out=s images=12 val=2 classes=2 size=24");
  return 0;
}

static void a_run_repeats_and_goes_on_on_the_processors(void **state) {
  (void)state;
  mpirun_needed();
  for (int k = 0; k < 2; k++)
    assert_runs("%s && mkdir run%d && cd run%d && %s 2 ediy train data=../%s out=r backend=cuda stop=2", mpirun_settings, k, k, mpirun,
                keys + strlen("data="));
  assert_runs("cmp run0/r/checkpoint-00000002.safetensors run1/r/checkpoint-00000002.safetensors");
  assert_runs("cd run0 && ediy train data=../%s out=r", keys + strlen("data="));
}

static void without_nccl_it_is_said_once(void **state) {
  (void)state;
  mpirun_needed();
  mpirun_refused("EDIY_NCCL=nowhere does not lead to libnccl.so.2", "%s && EDIY_NCCL=nowhere %s 2 ediy train %s backend=cuda out=none",
                 mpirun_settings, mpirun, keys);
  mpirun_refused("rank 0 of 2: backend=cuda over several ranks: ncclGetUniqueId: unhandled cuda error",
                 "%s && EDIY_STANDIN_FAIL=ncclGetUniqueId %s 2 ediy train %s backend=cuda out=none", mpirun_settings, mpirun, keys);
}

/* The others wait inside NCCL, where no word reaches them. */
static void a_rank_whose_gpu_fails_ends_all(void **state) {
  (void)state;
  mpirun_needed();
  mpirun_refused("rank 1 of 2: backend=cuda over several ranks: ncclCommInitRank: invalid usage",
                 "%s && EDIY_STANDIN_FAIL=ncclCommInitRank EDIY_STANDIN_RANK=1 %s 2 ediy train %s backend=cuda out=none", mpirun_settings,
                 mpirun, keys);
  /* Two commands with a colon between them would be plainer, but end mpirun 5.0.7 itself. Open MPI names the rank first, MPICH second. */
  mpirun_refused("rank 1 of 2: cuda: GPU 0: ",
                 "%s && %s 2 sh -c 'case $OMPI_COMM_WORLD_RANK$PMI_RANK in 1) export EDIY_SHIM_REFUSE=byol EDIY_SHIM_AFTER=3 ;; esac; "
                 "exec ediy train %s backend=cuda out=late'",
                 mpirun_settings, mpirun, keys);
  assert_runs("test -e late/checkpoint-00000001.safetensors");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_run_repeats_and_goes_on_on_the_processors),
                                     cmocka_unit_test(without_nccl_it_is_said_once), cmocka_unit_test(a_rank_whose_gpu_fails_ends_all)};
  return cmocka_run_group_tests_name("cuda over mpi", tests, setup, mpirun_leave);
}
