/* How much memory a run needs, and what to change where there is too little. real is float here. */
#include <inttypes.h>

#include "base/arena.h"
#include "base/size.h"
#include "op/backend_ranks.h"
#include "train/run.h"

static void add(size_t *sum, size_t bytes) {
  if (__builtin_add_overflow(*sum, bytes, sum)) *sum = SIZE_MAX;
}

/* Memory whose size does not depend on the micro-batch: what a checkpoint is gathered in, the backend's running statistics as they were;
 * and how many parameters a gradient has. */
struct fixed {
  size_t gathered, statistics;
  ptrdiff_t parameters, cells, out; /* cells: of a view of 64 pixels, not of this run's */
};

static bool measure_fixed(struct model_config m, struct fixed *f, struct error *err) {
  struct model small;
  m.batch = 2, m.height = m.width = 64; /* the sizes of the states depend on neither */
  bool ok = model_plan(&small, &m, backend_reference(), err);
  if (ok)
    *f = (struct fixed){checkpoint_bytes(&small), watch_statistics_bytes(&small), small.online.net.state_size, small.cells, m.arch.out};
  model_free(&small);
  return ok;
}

/* Its memory is the host's: the reference, alone or over ranks. */
static bool on_host(const struct backend *b) { return b->reserve == backend_reference()->reserve; }

/* Regions of a view, at most: a map is no finer than that of 64 pixels is, in proportion. */
static ptrdiff_t cells_of(const struct model_config *m, const struct fixed *f) {
  return f->cells * size_ceil_div(m->height, 64) * size_ceil_div(m->width, 64);
}

/* Bytes that ranks exchange through (backend_ranks_bytes). */
static size_t exchange_bytes(const struct model_config *m, const struct backend *b, const struct ranks *ranks, const struct fixed *f) {
  bool instance = m->regions && m->negative == NEGATIVE_INSTANCE;
  return backend_ranks_bytes(b, ranks, f->parameters, m->batch, instance ? m->batch * cells_of(m, f) * f->out : 0);
}

/* Host memory of the diagnostics, which are of the images of all ranks. */
static size_t watched_bytes(const struct model_config *m, const struct ranks *ranks, const struct fixed *f) {
  const struct model shape = {.config = *m, .cells = cells_of(m, f)};
  return watch_bytes(&shape, ranks->count);
}

static bool run_memory(const struct config *config, const struct backend *b, const struct ranks *ranks, struct need *n, struct error *err) {
  struct model_config m = config_model(config);
  struct loader_options l = run_loader_options(config, b, ranks, 0);
  struct fixed fixed;
  size_t networks;
  m.batch /= ranks->count;
  if (!model_memory(&m, b, &networks, err) || !measure_fixed(m, &fixed, err)) return false;
  *n = (struct need){.host = fixed.gathered};
  size_t *of_backend = on_host(b) ? &n->host : &n->device;
  add(&n->host, loader_bytes(&l));
  add(of_backend, networks);
  add(of_backend, fixed.statistics);
  add(of_backend, exchange_bytes(&m, b, ranks, &fixed));
  add(&n->host, watched_bytes(&m, ranks, &fixed));
  add(of_backend, feed_bytes(config, b, ranks));
  add(&n->host, feed_pinned_bytes(config, b));
  return true;
}

bool train_memory(const struct config *config, size_t *bytes, struct error *err) {
  struct need n;
  if (!run_memory(config, backend_reference(), ranks_alone(), &n, err)) return false;
  *bytes = n.host;
  return true;
}

/* 0 available: the system does not tell. */
static bool fits(size_t needed, size_t available) { return available == 0 || needed <= available; }

static bool run_fits(const struct config *config, const struct backend *b, const struct ranks *ranks, const struct need *available,
                     struct need *n) {
  return run_memory(config, b, ranks, n, NULL) && fits(n->host, available->host) && fits(n->device, available->device);
}

/* The smallest accumulate above the present one with which the run fits; 0 if there is none. Asking a library what scratch its
 * convolutions need can take half a minute for each accumulate: only those are asked for that would fit with the least. */
static int64_t fitting(const struct config *config, const struct backend *b, const struct ranks *ranks, const struct need *available,
                       struct need *less) {
  struct config smaller = *config;
  struct backend least = *b;
  if (b->conv_scratch_least) least.conv_scratch = b->conv_scratch_least;
  for (int64_t a = config->accumulate + 1; a <= config->batch / 2; a++) {
    smaller.accumulate = a;
    if (config->batch % (a * ranks->count) == 0 && run_fits(&smaller, &least, ranks, available, less) &&
        (!b->conv_scratch_least || run_fits(&smaller, b, ranks, available, less)))
      return a;
  }
  return 0;
}

bool run_check_memory(const struct config *config, const struct backend *b, const struct ranks *ranks, struct need *needed, size_t *left,
                      struct error *err) {
  if (!run_memory(config, b, ranks, needed, err)) return false;
  const size_t host = memory_available() / (size_t)ranks->locals;
  const struct need available = {host, on_host(b) ? host : b->available()};
  *left = available.host > needed->host ? available.host - needed->host : 0;
  if (available.host == 0) *left = SIZE_MAX;
  bool host_fits = fits(needed->host, available.host);
  if (host_fits && fits(needed->device, available.device)) return true;

  double gb = 1e-9 * (double)(host_fits ? needed->device : needed->host);
  double there = 1e-9 * (double)(host_fits ? available.device : available.host);
  const char *memory = host_fits ? "GPU memory" : "memory", *by = !host_fits && memory_limited() ? " by ulimit -v" : "";
  struct need less;
  int64_t a = fitting(config, b, ranks, &available, &less);
  if (a == 0)
    return fail(err,
                "this run needs %.2f GB of %s, %.2f GB are available%s, and no smaller micro-batch helps; choose a smaller backbone, "
                "projector.hidden or size",
                gb, memory, there, by);
  return fail(err,
              "this run needs %.2f GB of %s, %.2f GB are available%s; accumulate=%" PRId64 " (micro-batches of %" PRId64
              " images, %.2f GB) would fit",
              gb, memory, there, by, a, config->batch / a, 1e-9 * (double)(host_fits ? less.device : less.host));
}
