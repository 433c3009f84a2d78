/* Speed of the convolutions of ResNet-50, shape by shape and for the whole network, in GFLOP/s (2 a multiply-add, gathering of
 * patches included in the time).
 *
 *     bench_conv [BATCH [SECONDS]]      images (8); time for each of the three directions of a shape (0.1)
 *
 * Each number is the median of the calls made in that time, three at least. The total weights each shape by how often the network has
 * it; backward data leaves the first convolution out, which training never needs. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "bench/resnet50_convs.h"
#include "op/conv.h"

enum { FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS, DIRECTIONS, CALLS = 200 };

struct work {
  struct conv g;
  real *x, *w, *y, *scratch;
};

static void call(const struct work *k, int direction) {
  switch (direction) {
  case FORWARD: conv_forward(&k->g, k->x, k->w, k->y, k->scratch); break;
  case BACKWARD_DATA: conv_backward_data(&k->g, k->y, k->w, k->x, false, k->scratch); break;
  default: conv_backward_weights(&k->g, k->x, k->y, k->w, k->scratch);
  }
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median_time(const struct work *k, int direction, double seconds) {
  double times[CALLS], total = 0;
  int n = 0;
  call(k, direction); /* touches the memory */
  while (n < CALLS && (n < 3 || total < seconds)) {
    double start = omp_get_wtime();
    call(k, direction);
    total += times[n++] = omp_get_wtime() - start;
  }
  qsort(times, (size_t)n, sizeof times[0], ascending);
  return times[n / 2];
}

/* Values do not matter to the speed, as long as none is subnormal and not all are 0. */
static void fill(real *x, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; i++) x[i] = (real)(i % 1009) / 1009 - (real)0.5;
}

static bool bench(int batch, double seconds, struct error *err) {
  double flops[DIRECTIONS] = {0}, time[DIRECTIONS] = {0};
  printf("ResNet-50, %d images, %d threads, %s; GFLOP/s\n   C    K  size      count  forward     data  weights\n", batch,
         omp_get_max_threads(), REAL_SUFFIX);
  for (int i = 0; i < RESNET50_CONVS; i++) {
    const struct resnet50_conv *s = &resnet50_convs[i];
    struct work k;
    if (!conv_make(&k.g, batch, s->size, s->size, s->c, s->k, s->kernel, s->kernel, s->stride, s->kernel / 2, err)) return false;
    ptrdiff_t nx = k.g.n * k.g.h * k.g.w * k.g.c, nw = k.g.k * k.g.r * k.g.s * k.g.c, ny = k.g.n * k.g.p * k.g.q * k.g.k;
    ptrdiff_t nscratch = conv_scratch(&k.g, omp_get_max_threads());
    struct arena arena;
    if (!arena_create(&arena,
                      arena_bytes(nx, sizeof(real)) + arena_bytes(nw, sizeof(real)) + arena_bytes(ny, sizeof(real)) +
                          arena_bytes(nscratch, sizeof(real)),
                      err))
      return false;
    k.x = arena_take(&arena, nx, sizeof(real)), k.w = arena_take(&arena, nw, sizeof(real));
    k.y = arena_take(&arena, ny, sizeof(real)), k.scratch = arena_take(&arena, nscratch, sizeof(real));
    double work = 2.0 * (double)(k.g.n * k.g.p * k.g.q) * (double)nw;
    printf("%4d %4d  %dx%d/%d %3d   x%d", s->c, s->k, s->kernel, s->kernel, s->stride, s->size, s->count);
    for (int d = 0; d < DIRECTIONS; d++) {
      if (d == BACKWARD_DATA && i == 0) {
        printf("        -");
        continue;
      }
      fill(k.x, nx), fill(k.w, nw), fill(k.y, ny);
      double t = median_time(&k, d, seconds);
      flops[d] += work * s->count;
      time[d] += t * s->count;
      printf("%9.1f", work / t * 1e-9);
      fflush(stdout);
    }
    printf("\n");
    arena_destroy(&arena);
  }
  printf("%-21s", "whole network");
  for (int d = 0; d < DIRECTIONS; d++) printf("%9.1f", flops[d] / time[d] * 1e-9);
  printf("\n%-21s", "ms an image");
  for (int d = 0; d < DIRECTIONS; d++) printf("%9.2f", time[d] / batch * 1e3);
  printf("\n");
  return true;
}

int main(int argc, char **argv) {
  int batch = argc > 1 ? atoi(argv[1]) : 8;
  double seconds = argc > 2 ? atof(argv[2]) : 0.1;
  struct error err = {0};
  if (batch > 0 && argc <= 3 && bench(batch, seconds, &err)) return 0;
  fprintf(stderr, "bench_conv: %s\n", err.text[0] ? err.text : "usage: bench_conv [BATCH [SECONDS]]");
  return EXIT_BAD_INPUT;
}
