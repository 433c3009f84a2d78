/* How much memory a run needs, and what to change where there is too little. real is float here. */
#include <inttypes.h>

#include "base/arena.h"
#include "train/run.h"
#include "train/watch.h"

/* Parts of it whose size does not depend on the micro-batch. */
static bool fixed_bytes(struct model_config m, size_t *bytes, struct error *err) {
  struct model small;
  m.batch = 2, m.height = m.width = 64; /* the sizes of the states depend on neither; what is reserved here is never touched */
  if (!model_create(&small, &m, backend_reference(), err)) return false;
  *bytes = checkpoint_bytes(&small);
  model_free(&small);
  return true;
}

bool train_memory(const struct config *config, size_t *bytes, struct error *err) {
  struct model_config m = config_model(config);
  struct loader_options l = run_loader_options(config, 0);
  size_t networks, gathered, loader = loader_bytes(&l), views = 2 * run_view_bytes(config);
  if (!model_memory(&m, backend_reference(), &networks, err) || !fixed_bytes(m, &gathered, err)) return false;
  const size_t part[] = {networks, gathered, loader, views};
  *bytes = 0;
  for (int i = 0; i < 4; i++)
    if (__builtin_add_overflow(*bytes, part[i], bytes)) *bytes = SIZE_MAX;
  return true;
}

/* The smallest accumulate above the present one with which the run fits; 0 if there is none. */
static int64_t fitting(const struct config *config, size_t available, size_t *bytes) {
  struct config smaller = *config;
  for (int64_t a = config->accumulate + 1; a <= config->batch / 2; a++) {
    smaller.accumulate = a;
    if (config->batch % a == 0 && train_memory(&smaller, bytes, NULL) && *bytes <= available) return a;
  }
  return 0;
}

bool run_check_memory(const struct config *config, size_t *needed, size_t *left, struct error *err) {
  if (!train_memory(config, needed, err)) return false;
  size_t available = memory_available();
  *left = available > *needed ? available - *needed : 0;
  if (available == 0) *left = SIZE_MAX; /* this system does not tell */
  if (available == 0 || *needed <= available) return true;
  size_t less;
  int64_t a = fitting(config, available, &less);
  if (a == 0)
    return fail(
        err, "this run needs %.2f GB of memory, %.2f GB are available, and no smaller micro-batch helps; choose a smaller backbone or size",
        (double)*needed / 1e9, (double)available / 1e9);
  return fail(err,
              "this run needs %.2f GB of memory, %.2f GB are available; accumulate=%" PRId64 " (micro-batches of %" PRId64
              " images, %.2f GB) would fit",
              (double)*needed / 1e9, (double)available / 1e9, a, config->batch / a, (double)less / 1e9);
}
