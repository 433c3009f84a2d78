/* What writing every tensor of a training step costs: steps that nobody watches beside steps that are dumped, in full and in digests.
 *
 *     bench_dump FOLDER [any key of ediy train]      FOLDER: for the dumps, must not exist; about 3.5 GB for ResNet-50 with two images
 *
 * Three rounds of three steps, turn by turn; times are those of whole dumps less those of dumps that are three steps shorter. */
#define _GNU_SOURCE /* nftw */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "oracle/dump_steps.h"

enum { STEPS = 3, ROUNDS = 3 };

static struct step_source source;
static struct step_backend backend;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *at) {
  (void)s, (void)type, (void)at;
  return remove(path);
}

static bool time_plain(double *seconds, struct error *err) {
  struct step_runner *r;
  bool ok = step_runner_open(&r, &source, &backend, err);
  ok = ok && step_runner_step(r, NULL, NULL, err); /* memory is touched for the first time */
  double start = now();
  for (int i = 0; ok && i < STEPS; i++) ok = step_runner_step(r, NULL, NULL, err);
  *seconds = (now() - start) / STEPS;
  step_runner_close(r);
  return ok;
}

static bool time_dumped(const char *folder, enum dump_kind kind, double *seconds, struct error *err) {
  double took[2];
  for (int i = 0; i < 2; i++) {
    const struct dump_steps_options o = {.kind = kind, .steps = i == 0 ? 1 : 1 + STEPS};
    struct dump_steps_result result;
    double start = now();
    if (!dump_steps(&source, &backend, &o, folder, &result, err)) return false;
    took[i] = now() - start;
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
  }
  *seconds = (took[1] - took[0]) / STEPS;
  return true;
}

static int by_value(const void *a, const void *b) {
  return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static double median(double x[ROUNDS]) {
  qsort(x, ROUNDS, sizeof *x, by_value);
  return x[ROUNDS / 2];
}

int main(int count, char **arguments) {
  struct error err;
  double plain[ROUNDS], full[ROUNDS], digest[ROUNDS];
  if (count < 2) return fprintf(stderr, "usage: bench_dump FOLDER [key=value...]\n"), 2;
  bool ok = access(arguments[1], F_OK) != 0 || fail(&err, "%s: is there already", arguments[1]);
  ok = ok && step_source_open(&source, count - 2, arguments + 2, STEP_FORMULA, 0, &err) && step_backend_named("ref32", &backend, &err);
  for (int i = 0; ok && i < ROUNDS; i++) {
    ok = time_plain(&plain[i], &err) && time_dumped(arguments[1], DUMP_FULL, &full[i], &err) &&
         time_dumped(arguments[1], DUMP_DIGEST, &digest[i], &err);
    if (ok) printf("a step %.2f s, dumped in full %.2f s, in digests %.2f s\n", plain[i], full[i], digest[i]);
    fflush(stdout);
  }
  if (!ok) return fprintf(stderr, "bench_dump: %s\n", err.text), 2;
  double step = median(plain);
  printf("medians: dumped in full %.2f, in digests %.2f times a step\n", median(full) / step, median(digest) / step);
  step_source_close(&source);
  return 0;
}
