/* ediy bench what=convolutions: every convolution of a backbone, each shape once, in each direction, by every cuda.conv that this GPU and
 * precision have. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "model/net.h"
#include "program/bench.h"

enum { FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS, DIRECTIONS, OWN = BACKEND_CONV_OWN, LIBRARY, PLAIN, WGMMA, PATHS };

/* Timings of a call: fewer of what may take ten times as long. */
static int times_of(const struct bench *o, int path) { return (int)(path == PLAIN ? size_ceil_div(o->times, 4) : o->times); }

struct row {
  struct conv g;
  int layers;                                           /* of the network that have this shape */
  double floor[DIRECTIONS], seconds[PATHS][DIRECTIONS]; /* 0: not timed */
  bool by_library[DIRECTIONS];                          /* else its twin took its place */
};

struct call {
  const struct backend *b;
  struct conv g;
  int direction;
  void *x, *y, *w, *dw, *scratch;
};
static void compute(void *context) {
  const struct call *c = context;
  switch (c->direction) {
  case FORWARD: c->b->conv_forward(&c->g, c->x, c->w, c->y, c->scratch); break;
  case BACKWARD_DATA: c->b->conv_backward_data(&c->g, c->y, c->w, c->x, false, c->scratch); break;
  default: c->b->conv_backward_weights(&c->g, c->x, c->y, c->dw, c->scratch); break;
  }
}

/* x and y are overwritten by forward and backward data: with numbers of a usual size, of which the speed does not depend. */
static bool time_shape(const struct bench *o, const struct backend *const table[PATHS], struct row *r, struct error *err) {
  const struct conv *g = &r->g;
  const struct backend *b = table[OWN];
  struct call c = {.g = *g};
  ptrdiff_t xs = g->n * g->h * g->w * g->c, ys = g->n * g->p * g->q * g->k, ws = g->k * g->r * g->s * g->c;
  size_t scratch = b->conv_scratch(g), second = table[LIBRARY] ? table[LIBRARY]->conv_scratch(g) : 0;
  if (second > scratch) scratch = second;
  bool ok = bench_noise(b, xs, true, 1, &c.x, err) && bench_noise(b, ys, true, 2, &c.y, err) && bench_noise(b, ws, true, 3, &c.w, err) &&
            b->reserve((size_t)ws * sizeof(real), &c.dw, err) && b->reserve(scratch, &c.scratch, err);
  struct backend_options library = bench_backend(o);
  library.conv = BACKEND_CONV_CUDNN;
  for (int d = 0; ok && d < DIRECTIONS; d++) {
    if (d == BACKWARD_DATA && g->c == 3) continue; /* nobody asks for the gradient of an image */
    c.direction = d;
    r->by_library[d] = table[LIBRARY] && backend_conv_is_library(&library, g, d);
    for (int path = 0; path < PATHS; path++)
      if ((c.b = table[path])) r->seconds[path][d] = bench_seconds(c.b, compute, &c, times_of(o, path));
  }
  if (c.x) b->release(c.x, (size_t)xs * b->activation_size);
  if (c.y) b->release(c.y, (size_t)ys * b->activation_size);
  if (c.w) b->release(c.w, (size_t)ws * b->activation_size);
  if (c.dw) b->release(c.dw, (size_t)ws * sizeof(real));
  if (c.scratch) b->release(c.scratch, scratch);
  return ok && b->status(err);
}

/* Each operand once from memory, also where a call finds it in a cache. */
static void find_floors(struct row *r, const struct backend *b, const struct profile_peaks *peaks) {
  const struct conv *g = &r->g;
  double xs = (double)(g->n * g->h * g->w * g->c), ys = (double)(g->n * g->p * g->q * g->k), ws = (double)(g->k * g->r * g->s * g->c);
  for (int d = 0; d < DIRECTIONS; d++) {
    double weight = (double)(d == BACKWARD_WEIGHTS ? sizeof(real) : b->activation_size);
    double arithmetic = 2 * ys * (double)(g->r * g->s * g->c) / peaks->flops;
    double memory = ((xs + ys) * (double)b->activation_size + ws * weight) / peaks->bytes;
    if (r->seconds[OWN][d] > 0) r->floor[d] = arithmetic > memory ? arithmetic : memory;
  }
}

static bool is_same(const struct conv *a, const struct conv *b) {
  return a->h == b->h && a->w == b->w && a->c == b->c && a->k == b->k && a->r == b->r && a->stride == b->stride && a->pad == b->pad;
}

/* Shapes in the order of their first layers; the array is to be freed. */
static struct row *shapes_of(const struct net *net, int *count) {
  struct row *rows = calloc((size_t)net->layers, sizeof *rows);
  *count = 0;
  for (int i = 0; rows && i < net->layers; i++) {
    if (net->layer[i].kind != LAYER_CONV) continue;
    int k = 0;
    while (k < *count && !is_same(&rows[k].g, &net->layer[i].shape.conv)) k++;
    if (k == *count) rows[(*count)++].g = net->layer[i].shape.conv;
    rows[k].layers++;
  }
  return rows;
}

static const char *const direction_name[] = {"forward", "backward data", "backward weights"};

/* Columns: the ways, from the plainest on. */
static const int columns[PATHS] = {PLAIN, OWN, WGMMA, LIBRARY};
static const char *const way_name[PATHS] = {[OWN] = "own", [LIBRARY] = "cudnn", [PLAIN] = "plain", [WGMMA] = "wgmma"};

static void print_cells(double seconds[PATHS][DIRECTIONS], int d, const struct backend *const table[PATHS], bool by_library) {
  for (int i = 0; i < PATHS; i++) {
    if (!table[columns[i]]) continue;
    if (columns[i] == LIBRARY && !by_library)
      printf(" %9s", "none");
    else
      printf(" %9.4f", 1e3 * seconds[columns[i]][d]);
  }
}

static void print_rows(struct row *rows, int count, const struct backend *const table[PATHS]) {
  double total[PATHS][DIRECTIONS] = {{0}};
  printf("%-32s %4s", "convolution", "of");
  for (int d = 0; d < DIRECTIONS; d++) {
    printf("  | %-16s", direction_name[d]);
    for (int i = 0; i < PATHS; i++)
      if (table[columns[i]]) printf(" %6s ms", way_name[columns[i]]);
  }
  printf("\n");
  for (int i = 0; i < count; i++) {
    struct row *r = &rows[i];
    const struct conv *g = &r->g;
    char name[64];
    snprintf(name, sizeof name, "%tdx%td/%td %td -> %td at %tdx%td", g->r, g->s, g->stride, g->c, g->k, g->h, g->w);
    printf("%-32s %4d", name, r->layers);
    for (int d = 0; d < DIRECTIONS; d++) {
      if (r->seconds[OWN][d] <= 0) {
        printf("  | %-16s", "-");
        for (int path = 0; path < PATHS; path++)
          if (table[path]) printf(" %9s", "");
        continue;
      }
      printf("  | floor %10.4f", 1e3 * r->floor[d]);
      print_cells(r->seconds, d, table, r->by_library[d]);
      for (int path = 0; path < PATHS; path++) total[path][d] += r->layers * r->seconds[path][d];
    }
    printf("\n");
  }
  printf("%-37s", "all layers");
  for (int d = 0; d < DIRECTIONS; d++) {
    printf("  | %-16s", "");
    print_cells(total, d, table, true);
  }
  printf("\n");
}

static bool write_rows(const struct bench *o, const struct row *rows, int count, const struct profile_peaks *peaks, int bytes,
                       struct error *err) {
  json_t *list = json_array();
  for (int i = 0; i < count; i++) {
    const struct row *r = &rows[i];
    json_t *shape =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:i}", "h", (json_int_t)r->g.h, "w", (json_int_t)r->g.w, "c", (json_int_t)r->g.c, "k",
                  (json_int_t)r->g.k, "r", (json_int_t)r->g.r, "stride", (json_int_t)r->g.stride, "layers", r->layers);
    for (int d = 0; d < DIRECTIONS; d++) {
      json_t *ways = json_pack("{s:f, s:b}", "floor_ms", 1e3 * r->floor[d], "by_cudnn", r->by_library[d]);
      for (int path = 0; path < PATHS; path++) {
        char key[32];
        snprintf(key, sizeof key, "%s_ms", way_name[path]);
        json_object_set_new(ways, key, json_real(1e3 * r->seconds[path][d]));
      }
      json_object_set_new(shape, direction_name[d], ways);
    }
    json_array_append_new(list, shape);
  }
  json_t *all = json_pack("{s:s, s:i, s:I, s:I, s:f, s:f, s:o}", "backbone", bench_backbone(o), "activation_bytes", bytes, "size",
                          (json_int_t)o->size, "batch", (json_int_t)o->batch, "peak_gflops", peaks->flops / 1e9, "peak_gbytes_per_s",
                          peaks->bytes / 1e9, "convolutions", list);
  char *text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
  bool ok = text ? file_replace(o->json, text, strlen(text), err) : fail(err, "%s: out of memory for the figures", o->json);
  free(text);
  json_decref(all);
  return ok;
}

bool bench_convolutions(const struct bench *o, struct error *err) {
  struct architecture arch;
  struct net net = {0};
  struct backend_options own = bench_backend(o), library = own, plain = own, wgmma = own;
  own.conv = BACKEND_CONV_OWN, library.conv = BACKEND_CONV_CUDNN, plain.conv = BACKEND_CONV_PLAIN, wgmma.conv = BACKEND_CONV_WGMMA;
  struct error why = {.text = ""}, why_wgmma = {.text = ""};
  if (o->backend != BACKEND_CUDA) return fail(err, "bench: what=convolutions compares ways to compute on a GPU: give backend=cuda");
  bool all = o->by == BENCH_BY_ALL;
  const struct backend *const table[PATHS] = {[OWN] = backend_open(&own, err),
                                              [LIBRARY] = all ? backend_open(&library, &why) : NULL,
                                              [PLAIN] = all ? backend_open(&plain, err) : NULL,
                                              [WGMMA] = o->by == BENCH_BY_OWN ? NULL : backend_open(&wgmma, &why_wgmma)};
  if (!table[OWN] || (all && !table[PLAIN])) return false;
  struct profile_peaks peaks = {0};
  struct row *rows = NULL;
  int count = 0;
  bool ok = architecture_named(bench_backbone(o), &arch) || fail(err, "bench: no backbone of that name");
  ok = ok && bench_peaks(o, table[OWN], &peaks, err) &&
       net_build(&net, &arch, (ptrdiff_t)o->batch, (ptrdiff_t)o->size, (ptrdiff_t)o->size, err);
  ok = ok && ((rows = shapes_of(&net, &count)) || fail(err, "bench: out of memory"));
  for (int i = 0; ok && i < count; i++) ok = time_shape(o, table, &rows[i], err);
  ok = ok && bench_peaks(o, table[OWN], &peaks, err); /* once more: the better ones count */
  for (int i = 0; ok && i < count; i++) find_floors(&rows[i], table[OWN], &peaks);
  if (ok) {
    printf("%s, %" PRId64 " x %" PRId64 " pixels, batch %" PRId64 "; this GPU: %.1f TFLOP/s in a product, %.1f GB/s in a copy\n",
           bench_backbone(o), o->size, o->size, o->batch, peaks.flops / 1e12, peaks.bytes / 1e9);
    if (all && !table[LIBRARY]) printf("without cuDNN: %s\n", why.text);
    if (o->by != BENCH_BY_OWN && !table[WGMMA]) printf("without wgmma: %s\n", why_wgmma.text);
    print_rows(rows, count, table);
  }
  ok = ok && (!*o->json || write_rows(o, rows, count, &peaks, (int)table[OWN]->activation_size, err));
  free(rows);
  net_free(&net);
  return ok;
}
