/* What the files of ediy bench share. Internal to program/. */
#ifndef EDIY_PROGRAM_BENCH_H
#define EDIY_PROGRAM_BENCH_H

#include <stdint.h>

#include "base/options.h"
#include "program/profile.h"
#include "train/backends.h"
#include "train/config.h"

enum { BENCH_STEP, BENCH_CONVOLUTIONS };
enum { BENCH_BY_ALL, BENCH_BY_PIPELINED, BENCH_BY_OWN };

struct bench {
  int backbone;
  int64_t size, batch, steps, warmup, seed;
  int64_t times;
  int64_t product, copy; /* side; MB */
  int64_t hidden, out;   /* of the heads */
  bool graph;
  int regions, backend, precision, conv, gemm, what, by;
  char data[OPTION_TEXT_SIZE], json[OPTION_TEXT_SIZE];
};

enum { BENCH_STEPS = 1000 };

struct figures {
  struct profile_peaks peaks; /* 0 where they were not measured */
  double step[BENCH_STEPS];   /* seconds, sorted */
  double images, input;       /* a second; input 0 where it was not timed */
  bool graph;                 /* whole steps were repeated from a recording */
  double planning;            /* seconds: making the model, and with libraries what they plan its operations with */
  double memory;              /* bytes: largest resident size; on a GPU, what the run took of its memory */
  struct profile profile;     /* of a step: the median of every sum */
};

/* The options as backend_open takes them. */
struct backend_options bench_backend(const struct bench *o);

/* The name of the network and of what computes it: "resnet50", "cuda, bf16, cudnn, cublas". */
const char *bench_backbone(const struct bench *o);
void bench_describe(const struct bench *o, char *text, size_t size);

/* ---- bench_time.c ---- */

/* Seconds of a call, the median of so many, after some that do not count. The backend's clock, else the host's. By the backend's, a
 * timing is of as many calls as last 2 ms, divided by their number: of the same operands, which a GPU's cache may keep. */
double bench_seconds(const struct backend *b, void (*call)(void *context), void *context, int times);
double bench_median(double *values, int count); /* sorts them */

/* Raises the peaks of a backend of its own clock to those of a large copy and a large product on it, after half a second of products (less
 * with fewer times). Those of cuBLASLt (by=all) and wgmma (by=pipelined, too) count as well, where they are; one that fails on the GPU
 * fails the whole process. */
MUST_CHECK bool bench_peaks(const struct bench *o, const struct backend *b, struct profile_peaks *peaks, struct error *err);

/* n reals of backend memory with normal noise, as activations if asked; false, with a line in err, when there is no room. */
MUST_CHECK bool bench_noise(const struct backend *b, ptrdiff_t n, bool activations, uint32_t stream, void **memory, struct error *err);

/* ---- the other files ---- */

MUST_CHECK bool bench_steps(const struct bench *o, struct figures *f, struct error *err);
void bench_print(const struct bench *o, const struct figures *f);
MUST_CHECK bool bench_write(const struct bench *o, const struct figures *f, struct error *err);
MUST_CHECK bool bench_convolutions(const struct bench *o, struct error *err);

#endif
