/* ediy bench: timing single calls, and what a GPU can do, measured with the backend's own operations. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "program/bench.h"

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double bench_median(double *values, int count) {
  qsort(values, (size_t)count, sizeof *values, by_value);
  return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

enum { MOST_TIMES = 100, UNCOUNTED = 2, MOST_CALLS = 1 << 16 };

/* A mark is late or early by some microseconds, and what is launched into an empty queue by some more: so many seconds lie between two. */
static const double BETWEEN_MARKS = 2e-3;

static void several(void (*call)(void *context), void *context, int calls) {
  for (int i = 0; i < calls; i++) call(context);
}

/* How many calls one after the other last that long. */
static int calls_between_marks(const struct backend *b, void (*call)(void *context), void *context) {
  int calls = 1;
  while (calls < MOST_CALLS) {
    b->mark(0);
    several(call, context, calls);
    b->mark(1);
    if (b->seconds_between(0, 1) > BETWEEN_MARKS) break;
    calls *= 2;
  }
  return calls;
}

double bench_seconds(const struct backend *b, void (*call)(void *context), void *context, int times) {
  double seconds[MOST_TIMES];
  times = times < MOST_TIMES ? times : MOST_TIMES;
  several(call, context, UNCOUNTED);
  int calls = b->mark ? calls_between_marks(b, call, context) : 1;
  for (int i = 0; i < times; i++) {
    double start = omp_get_wtime();
    if (b->mark) b->mark(2 * i);
    several(call, context, calls);
    if (b->mark) b->mark(2 * i + 1);
    seconds[i] = omp_get_wtime() - start;
  }
  for (int i = 0; i < times && b->mark; i++) seconds[i] = b->seconds_between(2 * i, 2 * i + 1) / calls;
  return bench_median(seconds, times);
}

bool bench_noise(const struct backend *b, ptrdiff_t n, bool activations, uint32_t stream, void **memory, struct error *err) {
  enum { BLOCK = 1 << 20 }; /* repeated: drawing more numbers would take longer than what is timed */
  size_t element = activations ? b->activation_size : sizeof(real);
  static real noise[BLOCK];
  real *wide = NULL;
#pragma omp parallel for schedule(static)
  for (int i = 0; i < BLOCK; i += 4096) {
    struct philox g = philox_stream(1, PHILOX_TEST, stream, (uint32_t)i, 0);
    for (int k = i; k < i + 4096; k++) noise[k] = (real)philox_normal(&g);
  }
  if (!b->reserve((size_t)n * element, memory, err)) return false;
  bool narrow = activations && b->store_activations;
  if (narrow && !b->reserve(BLOCK * sizeof(real), (void **)&wide, err)) {
    b->release(*memory, (size_t)n * element);
    return false;
  }
  for (ptrdiff_t i = 0; i < n; i += BLOCK) {
    ptrdiff_t count = n - i < BLOCK ? n - i : BLOCK;
    char *to = (char *)*memory + (size_t)i * element;
    b->upload(narrow ? (void *)wide : to, noise, (size_t)count * sizeof(real));
    if (narrow) b->store_activations(count, wide, (real *)(void *)to);
  }
  if (narrow) b->release(wide, BLOCK * sizeof(real));
  return true;
}

/* ---- peaks --------------------------------------------------------------------------------------------------------------------------- */

struct transfer {
  const struct backend *b;
  char *memory;
  size_t bytes;
};
static void copy(void *context) {
  const struct transfer *t = context;
  t->b->copy(t->memory + t->bytes, t->memory, t->bytes);
}

struct product {
  const struct backend *b;
  struct linear g;
  void *x, *w, *y;
};
static void multiply(void *context) {
  const struct product *p = context;
  p->b->linear_forward(&p->g, p->x, p->w, NULL, p->y);
}

static void raise(double *peak, double measured) { *peak = measured > *peak ? measured : *peak; }

static int times_of(const struct bench *o) { return (int)(o->times < 10 ? o->times : 10); }

static bool measure_copy(const struct bench *o, const struct backend *b, double *bytes, struct error *err) {
  void *memory;
  struct transfer t = {.b = b, .bytes = (size_t)o->copy * 500000};
  if (!b->reserve(2 * t.bytes, &memory, err)) return false;
  t.memory = memory;
  raise(bytes, 2.0 * (double)t.bytes / bench_seconds(b, copy, &t, times_of(o))); /* read and written */
  b->release(memory, 2 * t.bytes);
  return b->status(err);
}

/* A GPU that had nothing to do runs at a low clock, and takes a while to leave it. */
static bool warm_up(const struct bench *o, const struct backend *b, void (*call)(void *context), void *context, struct error *err) {
  const double seconds = 0.05 * times_of(o);
  bool ok = true;
  for (double start = omp_get_wtime(); ok && omp_get_wtime() - start < seconds;) {
    call(context);
    ok = b->status(err); /* waits */
  }
  return ok;
}

static bool measure_product(const struct bench *o, const struct backend *b, double *flops, struct error *err) {
  double n = (double)o->product;
  ptrdiff_t size = (ptrdiff_t)(o->product * o->product);
  struct product p = {.b = b, .g = {.m = (ptrdiff_t)o->product, .i = (ptrdiff_t)o->product, .o = (ptrdiff_t)o->product}};
  (void)b->linear_scratch(&p.g); /* whatever the product is planned with */
  bool ok = bench_noise(b, size, true, 1, &p.x, err) && bench_noise(b, size, true, 2, &p.w, err) &&
            b->reserve((size_t)size * b->activation_size, &p.y, err);
  if ((ok = ok && warm_up(o, b, multiply, &p, err))) raise(flops, 2 * n * n * n / bench_seconds(b, multiply, &p, times_of(o)));
  if (p.x) b->release(p.x, (size_t)size * b->activation_size);
  if (p.w) b->release(p.w, (size_t)size * b->activation_size);
  if (p.y) b->release(p.y, (size_t)size * b->activation_size);
  return ok && b->status(err);
}

bool bench_peaks(const struct bench *o, const struct backend *b, struct profile_peaks *peaks, struct error *err) {
  static const int others[] = {BACKEND_GEMM_CUBLAS, BACKEND_GEMM_WGMMA},
                   first[] = {[BENCH_BY_ALL] = 0, [BENCH_BY_PIPELINED] = 1, [BENCH_BY_OWN] = 2};
  bool ok = measure_product(o, b, &peaks->flops, err) && measure_copy(o, b, &peaks->bytes, err);
  for (size_t i = (size_t)first[o->by]; ok && i < sizeof others / sizeof others[0]; i++) {
    struct backend_options options = bench_backend(o);
    struct error none;
    options.conv = BACKEND_CONV_OWN, options.gemm = others[i];
    const struct backend *other = backend_open(&options, &none);
    ok = !other || measure_product(o, other, &peaks->flops, err);
  }
  return ok;
}
