/* A frozen backbone for outsiders: files, images or ready inputs in, features out (train/features.h). */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/outside.h"
#include "base/numerals.h"
#include "base/size.h"
#include "image/augment.h"
#include "image/image.h"
#include "model/exchange.h"
#include "model/init.h"
#include "train/config.h"
#include "train/features.h"

enum { DEFAULT_BATCH = 16, ONLINE_NETWORK = 0 /* the streams of model_initialise's online network */ };

struct ediy_backbone {
  struct extractor extractor;
  int resize;
  int threads;        /* OpenMP threads when it was made: its scratch has room for no more */
  char describe[256]; /* the keys backbone, stem and size, as a checkpoint's configuration has them */
};

/* ---- opening ------------------------------------------------------------------------------------------------------------------------ */

static bool set_key(struct config *config, const char *key, const char *value, struct error *err) {
  return !value || options_set(config_options, config_option_count, config, key, value, err);
}

/* What the file says of itself. A file of other origin leaves the defaults, and *known false. */
static bool config_of_file(const char *path, struct config *config, bool *known, struct error *err) {
  struct safetensors file;
  if (!safetensors_open(&file, path, err)) return false;
  const char *text = safetensors_metadata(&file, "config");
  *known = text != NULL;
  bool ok = !text || options_parse(config_options, config_option_count, config, text, strlen(text), path, err);
  safetensors_close(&file);
  return ok;
}

/* The options over what is already in config. */
static bool config_of_options(const ediy_backbone_options *o, bool known, const char *what, struct config *config, struct error *err) {
  if (!known && !o->architecture)
    return fail(err, "%s: nothing says which architecture it is; set options.architecture (resnet18, resnet34, resnet50, small)", what);
  if (o->size < 0 || o->resize < 0 || o->batch < 0)
    return fail(err, "%s: size %d, resize %d, batch %d; none may be negative", what, o->size, o->resize, o->batch);
  char size[32];
  snprintf(size, sizeof size, "%d", o->size);
  return set_key(config, "backbone", o->architecture, err) && set_key(config, "stem", o->stem, err) &&
         set_key(config, "size", o->size ? size : NULL, err);
}

static bool create(ediy_backbone *b, const struct config *config, const ediy_backbone_options *o, const char *what, struct error *err) {
  struct architecture arch;
  if (!config_architecture(config, &arch)) return fail(err, "%s: its architecture is unknown to this library", what);
  int size = (int)config->size;
  b->threads = omp_get_max_threads();
  b->resize = o->resize ? o->resize : features_resize(size);
  if (b->resize < size) return fail(err, "%s: resize %d is less than the size of the input, %d", what, b->resize, size);
  int at = 0;
  for (int i = 0; i < config_option_count; i++) {
    const char *key = config_options[i].key;
    char value[32];
    if (strcmp(key, "backbone") != 0 && strcmp(key, "stem") != 0 && strcmp(key, "size") != 0) continue;
    options_value(&config_options[i], config, value, sizeof value);
    at += snprintf(b->describe + at, sizeof b->describe - (size_t)at, "%s = %s\n", key, value);
  }
  return extractor_create(&b->extractor, backend_reference(), &arch, o->batch ? o->batch : DEFAULT_BATCH, size, size, err);
}

/* path: null for fresh weights. */
static bool make(ediy_backbone **out, const char *path, uint64_t seed, const ediy_backbone_options *options, struct error *err) {
  static const ediy_backbone_options nothing = {0};
  const char *what = path ? path : "ediy_backbone_fresh";
  const ediy_backbone_options *o = options ? options : &nothing;
  struct numerals numerals = numerals_own(); /* a configuration is read, and another written */
  ediy_backbone *b = calloc(1, sizeof *b);
  struct config *config = malloc(sizeof *config);
  bool ok = (b && config) || fail(err, "%s: out of memory", what), known = false;
  if (ok) options_default(config_options, config_option_count, config);
  ok = ok && (!path || config_of_file(path, config, &known, err)) && config_of_options(o, known, what, config, err) &&
       create(b, config, o, what, err);
  ok = ok && (path ? extractor_load(&b->extractor, path, NULL, err)
                   : init_state(b->extractor.backend, &b->extractor.net, seed, ONLINE_NETWORK, b->extractor.state, err));
  free(config);
  numerals_give_back(&numerals);
  if (!ok) ediy_backbone_close(b), b = NULL;
  *out = b;
  return ok;
}

EDIY_API bool ediy_backbone_open(ediy_backbone **b, const char *path, const ediy_backbone_options *options, ediy_error *err) {
  struct error inner = {.text = ""};
  if (b) *b = NULL;
  bool ok = (b && path) || fail(&inner, "ediy_backbone_open: an argument is null");
  return outside(ok && make(b, path, 0, options, &inner), &inner, err);
}

EDIY_API bool ediy_backbone_fresh(ediy_backbone **b, uint64_t seed, const ediy_backbone_options *options, ediy_error *err) {
  struct error inner = {.text = ""};
  bool ok = b || fail(&inner, "ediy_backbone_fresh: an argument is null");
  return outside(ok && make(b, NULL, seed, options, &inner), &inner, err);
}

EDIY_API void ediy_backbone_close(ediy_backbone *b) {
  if (!b) return;
  if (b->extractor.backend) extractor_free(&b->extractor);
  free(b);
}

EDIY_API bool ediy_backbone_save(const ediy_backbone *b, const char *path, ediy_error *err) {
  struct error inner = {.text = ""};
  float *host = NULL;
  bool ok = (b && path) || fail(&inner, "ediy_backbone_save: an argument is null");
  if (ok) {
    const struct extractor *e = &b->extractor;
    size_t bytes = (size_t)e->net.state_size * sizeof *host;
    const char *metadata[] = {"format", "pt", "config", b->describe, NULL};
    host = malloc(bytes);
    ok = host || fail(&inner, "%s: out of memory for the weights", path);
    if (ok) e->backend->download(host, e->state, bytes);
    ok = ok && exchange_export(&e->net, host, EXCHANGE_TORCHVISION, metadata, path, &inner);
  }
  free(host);
  return outside(ok, &inner, err);
}

EDIY_API int ediy_backbone_size(const ediy_backbone *b) { return b->extractor.height; }
EDIY_API int ediy_backbone_channels(const ediy_backbone *b) { return (int)b->extractor.channels; }
EDIY_API int ediy_backbone_cells(const ediy_backbone *b) { return (int)b->extractor.map_h; }

/* ---- features ----------------------------------------------------------------------------------------------------------------------- */

/* The caller may have raised its number of OpenMP threads since the backbone was made. Returns what to set again afterwards. */
static int limit_threads(const ediy_backbone *b) {
  int threads = omp_get_max_threads();
  if (threads > b->threads) omp_set_num_threads(b->threads);
  return threads;
}

EDIY_API bool ediy_backbone_files(ediy_backbone *b, ptrdiff_t count, const char *const *paths, float *features, float *map,
                                  ediy_error *err) {
  struct error inner = {.text = ""};
  bool ok = (b && (paths || count == 0) && count >= 0) || fail(&inner, "ediy_backbone_files: an argument is null, or %td files", count);
  for (ptrdiff_t i = 0; ok && i < count; i++) ok = paths[i] || fail(&inner, "ediy_backbone_files: path %td is null", i);
  char **copy = ok ? malloc((size_t)(count + 1) * sizeof *copy) : NULL; /* extractor_run takes them as main has its arguments */
  ok = ok && (copy || fail(&inner, "ediy_backbone_files: out of memory"));
  if (ok) {
    const struct feature_view view = {.form = PREPROCESS_EVAL, .resize = b->resize};
    int threads = limit_threads(b);
    if (count > 0) memcpy(copy, paths, (size_t)count * sizeof *copy);
    ok = extractor_run(&b->extractor, count, copy, &view, features, map, NULL, NULL, &inner);
    omp_set_num_threads(threads);
  }
  free(copy);
  return outside(ok, &inner, err);
}

/* Fills the rows of one batch from images first, first + 1, ... */
typedef bool fill_batch(const ediy_backbone *b, ptrdiff_t first, ptrdiff_t rows, const void *source, float *to, struct error *err);

static bool fill_inputs(const ediy_backbone *b, ptrdiff_t first, ptrdiff_t rows, const void *source, float *to, struct error *err) {
  (void)err;
  ptrdiff_t pixels = (ptrdiff_t)b->extractor.height * b->extractor.width * 3;
  memcpy(to, (const float *)source + first * pixels, (size_t)(rows * pixels) * sizeof *to);
  return true;
}

static bool fill_images(const ediy_backbone *b, ptrdiff_t first, ptrdiff_t rows, const void *source, float *to, struct error *err) {
  const ediy_image *image = (const ediy_image *)source + first;
  int size = b->extractor.height;
  ptrdiff_t scratch_size = 0, pixels = (ptrdiff_t)size * size * 3;
  for (ptrdiff_t i = 0; i < rows; i++) scratch_size = size_max(scratch_size, augment_scratch(image[i].height, image[i].width, size));
  bool ok = true;
#pragma omp parallel
  {
    float *scratch = malloc((size_t)scratch_size * sizeof *scratch);
#pragma omp for schedule(dynamic)
    for (ptrdiff_t i = 0; i < rows; i++) {
      if (scratch) {
        augment_eval(b->resize, size, image[i].rgb, image[i].height, image[i].width, to + i * pixels, scratch);
      } else {
#pragma omp atomic write
        ok = false;
      }
    }
    free(scratch);
  }
  return ok || fail(err, "ediy_backbone_images: out of memory for images %td to %td", first, first + rows - 1);
}

static bool run(ediy_backbone *b, ptrdiff_t count, fill_batch *fill, const void *source, float *features, float *map, struct error *err) {
  struct extractor *e = &b->extractor;
  const struct net_run pass = extractor_pass(e);
  ptrdiff_t input = (ptrdiff_t)e->height * e->width * 3, cells = e->map_h * e->map_w * e->channels;
  int threads = limit_threads(b);
  bool ok = true;
  for (ptrdiff_t first = 0; ok && first < count; first += e->batch) {
    ptrdiff_t rows = size_min(e->batch, count - first);
    ok = fill(b, first, rows, source, e->host, err);
    if (!ok) break;
    /* A last, smaller batch: the network keeps its shape, and what the rest of it makes is not looked at. */
    memset(e->host + rows * input, 0, (size_t)((e->batch - rows) * input) * sizeof *e->host);
    e->backend->upload(e->input, e->host, (size_t)(e->batch * input) * sizeof *e->host);
    net_forward(&pass, NET_EVAL, e->input);
    if (features)
      e->backend->download(features + first * e->channels, net_value(&pass, e->net.pooled),
                           (size_t)(rows * e->channels) * sizeof *features);
    if (map) e->backend->download(map + first * cells, net_value(&pass, e->net.map), (size_t)(rows * cells) * sizeof *map);
  }
  omp_set_num_threads(threads);
  return ok;
}

EDIY_API bool ediy_backbone_images(ediy_backbone *b, ptrdiff_t count, const ediy_image *images, float *features, float *map,
                                   ediy_error *err) {
  struct error inner = {.text = ""};
  bool ok = (b && (images || count == 0) && count >= 0) || fail(&inner, "ediy_backbone_images: an argument is null, or %td images", count);
  for (ptrdiff_t i = 0; ok && i < count; i++) {
    const ediy_image *x = &images[i];
    if (!x->rgb || x->height < 1 || x->width < 1 || (int64_t)x->height * x->width > IMAGE_MAX_PIXELS)
      ok = fail(&inner, "ediy_backbone_images: image %td has %d x %d pixels%s; 1 to %d in all are possible", i, x->width, x->height,
                x->rgb ? "" : " at a null pointer", IMAGE_MAX_PIXELS);
    else if (!augment_eval_possible(b->resize, x->height, x->width))
      ok = fail(&inner, "ediy_backbone_images: image %td of %d x %d pixels is too long for its width", i, x->width, x->height);
  }
  return outside(ok && run(b, count, fill_images, images, features, map, &inner), &inner, err);
}

EDIY_API bool ediy_backbone_inputs(ediy_backbone *b, ptrdiff_t count, const float *inputs, float *features, float *map, ediy_error *err) {
  struct error inner = {.text = ""};
  bool ok = (b && (inputs || count == 0) && count >= 0) || fail(&inner, "ediy_backbone_inputs: an argument is null, or %td inputs", count);
  return outside(ok && run(b, count, fill_inputs, inputs, features, map, &inner), &inner, err);
}
