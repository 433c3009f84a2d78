/* Compiled with -ffp-contract=fast (Makefile): here a * b + c is meant to be one fused instruction. */
#include "program/peak.h"

#include <omp.h>
#include <stdlib.h>

#include "base/vector.h"

typedef float vector __attribute__((vector_size(VECTOR_BYTES)));

/* Ten accumulators cover the latency of a fused multiply-add (4 or 5 cycles, two a cycle) and fit in 16 registers. */
enum { ACCUMULATORS = 10, LANES = VECTOR_BYTES / 4, ROUNDS = 4000000, RUNS = 4 };

static float multiply_add(long rounds) {
  vector a[ACCUMULATORS], x;
  for (int l = 0; l < LANES; l++) x[l] = 1e-7f; /* a stays far from zero and from denormals */
  for (int i = 0; i < ACCUMULATORS; i++) a[i] = x + (float)(i + 1);
  for (long r = 0; r < rounds; r++) {
#pragma GCC unroll 10
    for (int i = 0; i < ACCUMULATORS; i++) a[i] -= a[i] * x; /* the sum is where it was: on 64-bit ARM nothing else is one instruction */
  }
  float sum = 0;
  for (int i = 0; i < ACCUMULATORS; i++)
    for (int l = 0; l < LANES; l++) sum += a[i][l];
  return sum;
}

double peak_flops(void) {
  double best = 0;
  volatile float sink = 0; /* read at the end, so that the sums are not left out */
  for (int run = 0; run < RUNS; run++) {
    double total = 0;
#pragma omp parallel reduction(+ : total)
    {
      double start = omp_get_wtime();
      float sum = multiply_add(ROUNDS);
      total = 2.0 * ACCUMULATORS * LANES * ROUNDS / (omp_get_wtime() - start);
#pragma omp critical
      sink += sum;
    }
    best = total > best ? total : best;
  }
  return best + 0 * (double)sink;
}

double peak_bandwidth(void) {
  enum { FLOATS = 64 << 20 }; /* 256 MB */
  float *data = aligned_alloc(64, FLOATS * sizeof *data);
  if (!data) return 0;
#pragma omp parallel for
  for (long i = 0; i < FLOATS; i++) data[i] = (float)(i & 255);
  double best = 0;
  volatile float sink = 0; /* read at the end, so that the sums are not left out */
  for (int run = 0; run < RUNS; run++) {
    double start = omp_get_wtime();
    float total = 0;
#pragma omp parallel reduction(+ : total)
    {
      vector sum = {0};
#pragma omp for schedule(static)
      for (long i = 0; i < FLOATS / LANES; i++) sum += ((const vector *)data)[i];
      for (int l = 0; l < LANES; l++) total += sum[l];
    }
    sink += total;
    double rate = FLOATS * sizeof *data / (omp_get_wtime() - start);
    best = rate > best ? rate : best;
  }
  free(data);
  return best + 0 * (double)sink;
}
