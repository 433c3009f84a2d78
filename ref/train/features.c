#include "train/features.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/size.h"
#include "image/augment.h"
#include "image/image.h"
#include "train/checkpoint.h"

enum { VIEW_LINEAR = 2 }; /* views 0 and 1 of a stream are those of training */

int features_resize(int size) { return (int)lround(256.0 * size / 224.0); }

/* Hands out parts of the block; with base null it only counts. SIZE_MAX / 2 and more cannot be reserved, so that sums cannot overflow. */
static size_t cut(struct extractor *e, char *base, ptrdiff_t input) {
  size_t parts[4] = {arena_bytes(e->net.state_size, sizeof(float)), arena_bytes((ptrdiff_t)e->plan.workspace, 1),
                     arena_bytes((ptrdiff_t)e->plan.scratch, 1), arena_bytes(input, sizeof(float))};
  size_t used = 0, at[4];
  for (int i = 0; i < 4; i++) {
    at[i] = used;
    if (parts[i] > SIZE_MAX / 8) return SIZE_MAX;
    used += parts[i];
  }
  if (base) e->state = (float *)(base + at[0]), e->workspace = base + at[1], e->scratch = base + at[2], e->input = base + at[3];
  return used;
}

/* Network, plan and the bytes of the block, none of it taken yet. e->backend, batch, height and width are set. */
static bool lay_out(struct extractor *e, const struct architecture *backbone, ptrdiff_t *input, struct error *err) {
  if (!size_product(e->batch, e->height, e->width, 3, input))
    return fail(err, "features: batch %td of %d x %d images is too large", e->batch, e->height, e->width);
  if (!net_build(&e->net, backbone, e->batch, e->height, e->width, err) ||
      !plan_make(&e->plan, &e->net, e->backend, 0, NULL, false, false, err))
    return false;
  const struct value *map = &e->net.value[e->net.map];
  e->map_h = map->h, e->map_w = map->w, e->channels = map->c;
  e->bytes = cut(e, NULL, *input);
  return true;
}

/* Says how much memory is missing, and of the batch's halves, quarters, ... the first that would fit. Returns false. */
static bool too_large(const struct extractor *e, const struct architecture *backbone, size_t available, struct error *err) {
  const char *memory = e->backend == backend_reference() ? "memory" : "GPU memory";
  for (ptrdiff_t batch = e->batch / 2; batch > 0; batch /= 2) {
    struct extractor less = {.backend = e->backend, .batch = batch, .height = e->height, .width = e->width};
    ptrdiff_t input;
    bool fits = lay_out(&less, backbone, &input, NULL) && less.bytes <= available;
    size_t bytes = less.bytes;
    extractor_free(&less);
    if (fits)
      return fail(err, "features: %td images of %d x %d at a time need %.2f GB of %s, %.2f GB are available; batch=%td (%.2f GB) would fit",
                  e->batch, e->width, e->height, (double)e->bytes / 1e9, memory, (double)available / 1e9, batch, (double)bytes / 1e9);
  }
  return fail(err, "features: images of %d x %d need %.2f GB of %s, %.2f GB are available; choose a smaller size", e->width, e->height,
              (double)e->bytes / 1e9, memory, (double)available / 1e9);
}

bool extractor_create(struct extractor *e, const struct backend *backend, const struct architecture *arch, ptrdiff_t batch, int height,
                      int width, struct error *err) {
  *e = (struct extractor){.backend = backend, .batch = batch, .height = height, .width = width};
  if (batch < 1 || height < 1 || width < 1)
    return fail(err, "features: batch %td of %d x %d images; all must be at least 1", batch, height, width);
  if (backend->activation_size != sizeof(float))
    return fail(err, "features: backend %s keeps activations in %zu bytes; evaluation needs 4: run it in float32", backend->name,
                backend->activation_size);
  struct architecture backbone = *arch;
  backbone.projector = backbone.predictor = backbone.local_projector = backbone.local_predictor = false;
  ptrdiff_t input = 0;
  size_t available = backend->available();
  bool ok = lay_out(e, &backbone, &input, err);
  if (ok && available > 0 && e->bytes > available) ok = too_large(e, &backbone, available, err);
  ok = ok && backend->reserve(e->bytes, &e->memory, err);
  if (ok) {
    cut(e, e->memory, input);
    e->host = malloc((size_t)input * sizeof *e->host);
    if (!e->host) ok = fail(err, "features: out of memory for a batch of %td images; choose a smaller one", batch);
  }
  if (!ok) extractor_free(e);
  return ok;
}

void extractor_free(struct extractor *e) {
  plan_free(&e->plan);
  net_free(&e->net);
  if (e->memory) e->backend->release(e->memory, e->bytes);
  free(e->host);
  *e = (struct extractor){0};
}

bool extractor_load(struct extractor *e, const char *path, char prefix[TENSOR_MAX_NAME], struct error *err) {
  float *host = calloc((size_t)e->net.state_size, sizeof *host);
  if (!host) return fail(err, "%s: out of memory for its weights", path);
  e->weights = path;
  bool ok = weights_load(&e->net, path, prefix, false, host, err);
  if (ok) e->backend->upload(e->state, host, (size_t)e->net.state_size * sizeof *host);
  free(host);
  return ok;
}

struct net_run extractor_pass(const struct extractor *e) {
  return (struct net_run){.net = &e->net,
                          .plan = &e->plan,
                          .backend = e->backend,
                          .state = e->state,
                          .workspace = e->workspace,
                          .scratch = e->scratch,
                          .network = "backbone"};
}

/* One file as the network's input, height x width x 3. */
static bool preprocess(const struct extractor *e, const char *path, uint32_t sample, const struct feature_view *view, float *y,
                       struct error *err) {
  struct image image;
  if (!image_read(path, &image, err)) return false;
  int size = e->height;
  bool ok = true;
  float *scratch = NULL;
  switch (view->form) {
  case PREPROCESS_AS_IS:
    if (image.height != e->height || image.width != e->width)
      ok = fail(err, "%s: %d x %d pixels; all images must be %d x %d here (height=%d width=%d): bring them to one size, or give another",
                path, image.width, image.height, e->width, e->height, e->height, e->width);
    for (ptrdiff_t i = 0; ok && i < (ptrdiff_t)image.height * image.width * 3; i++) y[i] = (float)image.rgb[i] / 255;
    if (ok) augment_normalise((ptrdiff_t)image.height * image.width, y);
    break;
  case PREPROCESS_EVAL:
    if (!augment_eval_possible(view->resize, image.height, image.width)) {
      ok = fail(err, "%s: %d x %d pixels are too long a strip to bring the short side to %d; crop it or remove it", path, image.width,
                image.height, view->resize);
      break;
    }
    scratch = malloc((size_t)augment_scratch(image.height, image.width, size) * sizeof *scratch);
    if (scratch) augment_eval(view->resize, size, image.rgb, image.height, image.width, y, scratch);
    break;
  case PREPROCESS_CROP: {
    struct augmentation a = augmentation_byol(0, size);
    a.jitter = a.grey = a.blur = a.solarise = 0; /* crop and flip only */
    struct view drawn = augment_draw(&a, image.height, image.width, view->seed, view->epoch, sample, VIEW_LINEAR);
    scratch = malloc((size_t)augment_scratch(image.height, image.width, size) * sizeof *scratch);
    if (scratch) augment_apply(&drawn, image.rgb, image.height, image.width, y, scratch);
    break;
  }
  }
  if (ok && view->form != PREPROCESS_AS_IS && !scratch)
    ok = fail(err, "%s: out of memory for %d x %d pixels", path, image.width, image.height);
  free(scratch);
  image_free(&image);
  return ok;
}

/* The input of images first..first + rows - 1, by all threads. Of several failures the one of the first image is reported. */
static bool load_batch(struct extractor *e, ptrdiff_t first, ptrdiff_t rows, char *const *path, const struct feature_view *view,
                       struct error *err) {
  ptrdiff_t pixels = (ptrdiff_t)e->height * e->width * 3, bad = rows;
#pragma omp parallel for schedule(dynamic)
  for (ptrdiff_t i = 0; i < rows; i++) {
    struct error own;
    if (preprocess(e, path[first + i], (uint32_t)(first + i), view, e->host + i * pixels, &own)) continue;
#pragma omp critical(features_failure)
    if (i < bad) {
      bad = i;
      if (err) *err = own;
    }
  }
  /* A last, smaller batch: the network's shape stays, black images fill it, their features are thrown away. */
  if (rows < e->batch) memset(e->host + rows * pixels, 0, (size_t)((e->batch - rows) * pixels) * sizeof *e->host);
  return bad == rows;
}

bool extractor_run(struct extractor *e, ptrdiff_t count, char *const *path, const struct feature_view *view, float *pooled, float *map,
                   features_progress *progress, void *context, struct error *err) {
  assert(view->form == PREPROCESS_AS_IS || e->height == e->width);
  if (view->form == PREPROCESS_EVAL && view->resize < e->height)
    return fail(err, "resize = %d is less than the %d pixels of the network's input, which are cut from its middle; give at least %d",
                view->resize, e->height, e->height);
  struct net_run run = extractor_pass(e);
  ptrdiff_t cells = e->map_h * e->map_w * e->channels, input = e->batch * e->height * e->width * 3;
  if (count > 0 && !load_batch(e, 0, size_min(e->batch, count), path, view, err)) return false;
  for (ptrdiff_t first = 0; first < count; first += e->batch) {
    ptrdiff_t rows = size_min(e->batch, count - first), next = first + e->batch;
    e->backend->upload(e->input, e->host, (size_t)input * sizeof *e->host);
    net_forward(&run, NET_EVAL, e->input);
    /* A device is at work on this batch while the next is read. */
    if (next < count && !load_batch(e, next, size_min(e->batch, count - next), path, view, err)) return false;
    if (pooled)
      e->backend->download(pooled + first * e->channels, net_value(&run, e->net.pooled), (size_t)(rows * e->channels) * sizeof *pooled);
    if (map) e->backend->download(map + first * cells, net_value(&run, e->net.map), (size_t)(rows * cells) * sizeof *map);
    if (progress) progress(context, first + rows, count);
  }
  return e->backend->status(err);
}
