/* Several processes, each with a GPU of the shim, that meet by the stand-in of NCCL: collectives on their memory, whatever the order in
 * which streams run; and whole runs, which have the bits of as many processes of the reference, whether a step is recorded or not. (How far
 * those are from one process: tests/train/test_ranks.c.)
 *
 * Everything that computes is forked: this process runs no parallel loop and opens no GPU. */
#include "cuda/runs.h"
#include "cuda/shim_control.h"
#include "support/forked.h"

enum { STEPS = 3, MOST = 3 };

static int setup(void **state) {
  const char *build = getenv("BUILD");
  char libraries[FOLDER_PATH];
  snprintf(libraries, sizeof libraries, "%s/shim/lib", build ? build : "build");
  setenv("EDIY_NCCL", libraries, 1);
  return runs_setup(state);
}

/* ---- collectives --------------------------------------------------------------------------------------------------------------------- */

enum { BYTES = 300000 /* two pieces of the stand-in's, the last not whole */ };
static unsigned char byte_of(int from, int to, int i) { return (unsigned char)(7 * from + 31 * to + i % 251); }

/* Every byte of a gather, an exchange and a broadcast, one behind the other in the stream, looked at once at the end. */
static void meet_here(const struct ranks *r, void *context) {
  int *wrong = context;
  struct error err;
  shim_order = (enum shim_order)wrong[MOST];
  const struct backend *b = backend_cuda(0, NULL, &err);
  const struct ranks *k = b ? b->collectives(r, &err) : NULL;
  if (!k) {
    print_error("%s\n", err.text);
    abort();
  }
  size_t all = (size_t)(r->count * BYTES);
  unsigned char *host = malloc(all), *got = malloc(all);
  void *gathered, *from, *to, *told;
  if (!b->reserve(all, &gathered, &err) || !b->reserve(all, &from, &err) || !b->reserve(all, &to, &err) || !b->reserve(BYTES, &told, &err))
    abort();
  for (int i = 0; i < BYTES; i++) host[i] = byte_of(r->rank, 0, i);
  b->upload((char *)gathered + r->rank * BYTES, host, BYTES);
  b->upload(told, host, BYTES);
  for (int peer = 0; peer < r->count; peer++)
    for (int i = 0; i < BYTES; i++) host[peer * BYTES + i] = byte_of(r->rank, peer, i);
  b->upload(from, host, all);
  k->gather(gathered, BYTES);
  k->exchange(from, to, BYTES);
  k->broadcast(r->count - 1, told, BYTES);
  wrong[r->rank] = !b->status(&err);
  b->download(got, gathered, all);
  for (int peer = 0; peer < r->count; peer++)
    for (int i = 0; i < BYTES; i++) wrong[r->rank] += got[peer * BYTES + i] != byte_of(peer, 0, i);
  b->download(got, to, all);
  for (int peer = 0; peer < r->count; peer++)
    for (int i = 0; i < BYTES; i++) wrong[r->rank] += got[peer * BYTES + i] != byte_of(peer, r->rank, i);
  b->download(got, told, BYTES);
  for (int i = 0; i < BYTES; i++) wrong[r->rank] += got[i] != byte_of(r->count - 1, 0, i);
}

static void collectives_move_what_they_should(void **state) {
  (void)state;
  int *wrong = forked_shared((MOST + 1) * sizeof *wrong);
  for (wrong[MOST] = 0; wrong[MOST] < SHIM_ORDERS; wrong[MOST]++)
    for (int ranks = 2; ranks <= MOST; ranks++) {
      forked_run(ranks, meet_here, wrong);
      for (int k = 0; k < ranks; k++) assert_int_equal(wrong[k], 0);
    }
}

/* ---- runs ---------------------------------------------------------------------------------------------------------------------------- */

struct job {
  const char *out, *extra;
};

static void run_here(const struct ranks *r, void *context) {
  const struct job *job = context;
  runs_ranks = r;
  runs_on(backend_reference(), job->out, job->extra);
  if (strcmp(job->out, "drawn-graph") == 0 && shim_counts.graphs == 0) abort(); /* the collectives are in it */
}

static void run(int ranks, const char *out, const char *extra) { forked_run(ranks, run_here, &(struct job){out, extra}); }

/* A matched step; its passes as a graph from the second on. Begun on GPUs and resumed on the processors, too. */
static void runs_on_gpus_are_the_reference_s(void **state) {
  (void)state;
  device_needs_fused_reference();
  static const char extra[] = "teacher=byol/backbone.safetensors";
  char cuda[128], part[128];
  snprintf(cuda, sizeof cuda, "%s backend=cuda", extra);
  snprintf(part, sizeof part, "%s backend=cuda stop=1", extra);
  run(1, "byol", "lambda1=0 lambda2=0");
  for (int ranks = 2; ranks <= MOST; ranks++) {
    char name[2][32];
    snprintf(name[0], sizeof name[0], "reference%d", ranks), snprintf(name[1], sizeof name[1], "gpus%d", ranks);
    run(ranks, name[0], ranks == 2 ? extra : "teacher=byol/backbone.safetensors batch=6");
    run(ranks, name[1], ranks == 2 ? cuda : "teacher=byol/backbone.safetensors batch=6 backend=cuda");
    runs_agree(name[1], name[0], ranks == 2 ? STEPS : STEPS - 1);
  }
  run(2, "there", part);
  run(2, "there", extra);
  runs_agree("there", "reference2", STEPS);
}

/* Negatives among the images of all ranks, two micro-batches a step, with and without a graph. */
static void runs_with_drawn_regions_are_the_reference_s(void **state) {
  (void)state;
  device_needs_fused_reference();
  static const char extra[] = "accumulate=2 sampler=random rdem.negative=instance";
  char cuda[128];
  run(2, "drawn", extra);
  snprintf(cuda, sizeof cuda, "%s backend=cuda cuda.graph=no", extra);
  run(2, "drawn-plain", cuda);
  runs_agree("drawn-plain", "drawn", STEPS);
  snprintf(cuda, sizeof cuda, "%s backend=cuda", extra);
  run(2, "drawn-graph", cuda);
  runs_agree("drawn-graph", "drawn", STEPS);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(collectives_move_what_they_should),
                                     cmocka_unit_test(runs_on_gpus_are_the_reference_s),
                                     cmocka_unit_test(runs_with_drawn_regions_are_the_reference_s)};
  return cmocka_run_group_tests_name("cuda ranks", tests, setup, runs_teardown);
}
