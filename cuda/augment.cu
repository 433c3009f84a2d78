/* Views of photographs. Twin of ref/image/augment.c, resize.c, colour.c and blur.c, with the same bits: weights in double by the same
 * expressions, sums in float over the taps in order (vertical first), means in double by the reference's partial sums.
 *
 * Kernels take up to GROUP views at a time, blockIdx.z says which; each view has its own image, window, steps and result. Weights of the
 * blur need exp, and come from the host as arguments. */
#include "cuda/augment.h"

#include <math.h>

#include "cuda/runtime.h"

enum {
  GROUP = 64,
  LANES = 8, /* of a mean, and pixels of which one is taken before it is added, as in colour.c */
  MEAN_PIXELS = 256
};
enum { ARGUMENT_BYTES = 32764 /* of a launch, from compute capability 7.0 and CUDA 12.1 on */ };

/* ---- what the kernels need of a view ------------------------------------------------------------------------------------------------- */

/* One axis of the resize: n_in pixels to n_out. */
struct axis {
  int n_in, n_out, taps;
  double ratio, scale; /* n_in / n_out; s */
};

struct plan {
  const uint8_t *rgb; /* of the window's first pixel */
  ptrdiff_t stride;   /* bytes of a row of the image */
  struct axis rows, columns;
  float *row_weight, *column_weight, *between; /* in scratch: n_out x taps, n_out x taps, the image between two passes */
  int *row_first, *column_first;               /* n_out each */
  double *mean;                                /* 3, and behind them as many sums for every MEAN_PIXELS pixels */
  float *y;
  double value[4]; /* of a jitter step */
  enum jitter_form form;
  unsigned char order[4];
  bool flip, grey, solarise;
  int radius, first_weight; /* of the blur: taps / 2; in struct blurs */
};

/* By value: arguments of a launch. */
struct group {
  struct plan plan[GROUP];
};

/* Which views of a group are blurred, and their weights from the middle outwards, radius + 1 each: both sides are alike. By value, behind
 * the group; there is room for the weights of GROUP views of up to 1579 pixels. */
struct blurs {
  int views, weights; /* so far */
  unsigned char view[GROUP];
  float weight[(ARGUMENT_BYTES - sizeof(struct group) - GROUP - 64) / sizeof(float)];
};
enum { MOST_WEIGHTS = sizeof(((struct blurs *)0)->weight) / sizeof(float) };
static_assert(sizeof(struct group) + sizeof(struct blurs) + 16 <= ARGUMENT_BYTES, "arguments of a launch, and room for others");
static_assert((int)MOST_WEIGHTS >= CUDA_AUGMENT_SIZE / 20 + 1 && (int)MOST_WEIGHTS >= GROUP * (1579 / 20 + 1), "the weights of a blur");

static dim3 blocks_of(ptrdiff_t items, int rows, int views) { return dim3(blocks_for(items).x, (unsigned)rows, (unsigned)views); }

/* The support is open and 4 s long, so that it holds at most ceil(4 s) pixels. */
static struct axis axis_of(int n_in, int n_out, bool antialias) {
  double ratio = (double)n_in / n_out, scale = antialias ? fmax(ratio, 1.0) : 1.0;
  return {n_in, n_out, (int)fmin((double)n_in, ceil(4 * scale)), ratio, scale};
}

/* Hands out scratch; with base null it only counts. */
struct cutter {
  char *base;
  size_t used;
};
static void *cut(struct cutter *c, ptrdiff_t n, size_t element) {
  enum { ALIGN = 64 };
  void *p = c->base ? c->base + c->used : nullptr;
  c->used += ((size_t)n * element + ALIGN - 1) / ALIGN * ALIGN;
  return p;
}

static struct plan plan_of(const struct augment_item *item, struct cutter *c) {
  const struct view *v = &item->view;
  struct plan p = {};
  p.stride = (ptrdiff_t)item->width * 3;
  p.rgb = item->rgb + v->top * p.stride + (ptrdiff_t)v->left * 3;
  p.rows = axis_of(v->height, v->size, v->antialias), p.columns = axis_of(v->width, v->size, v->antialias);
  p.row_weight = (float *)cut(c, (ptrdiff_t)v->size * p.rows.taps, sizeof(float));
  p.column_weight = (float *)cut(c, (ptrdiff_t)v->size * p.columns.taps, sizeof(float));
  p.row_first = (int *)cut(c, v->size, sizeof(int)), p.column_first = (int *)cut(c, v->size, sizeof(int));
  p.between =
      (float *)cut(c, (ptrdiff_t)v->size * (v->width > v->size ? v->width : v->size) * 3, sizeof(float)); /* of resize, then of blur */
  p.mean = (double *)cut(c, 3 + 3 * (((ptrdiff_t)v->size * v->size + MEAN_PIXELS - 1) / MEAN_PIXELS), sizeof(double));
  p.y = item->y;
  p.value[JITTER_BRIGHTNESS] = v->brightness, p.value[JITTER_CONTRAST] = v->contrast;
  p.value[JITTER_SATURATION] = v->saturation, p.value[JITTER_HUE] = v->hue;
  for (int i = 0; i < 4; i++) p.order[i] = (unsigned char)v->order[i];
  p.form = v->form, p.flip = v->flip, p.grey = v->grey, p.solarise = v->solarise;
  return p;
}

size_t cuda_augment_scratch(ptrdiff_t count, const struct augment_item *item) {
  size_t most = 0;
  for (ptrdiff_t first = 0; first < count; first += GROUP) {
    struct cutter c = {};
    for (ptrdiff_t i = first; i < count && i < first + GROUP; i++) plan_of(&item[i], &c);
    if (c.used > most) most = c.used;
  }
  return most;
}

/* All that is cut grows with the window, and with antialiasing. */
size_t cuda_augment_most_scratch(ptrdiff_t count, int size) {
  struct augment_item item = {};
  item.view.size = size, item.view.height = item.view.width = AUGMENT_WINDOW * size, item.view.antialias = true;
  return cuda_augment_scratch(1, &item) * (size_t)(count < GROUP ? count : (ptrdiff_t)GROUP);
}

/* ---- resize -------------------------------------------------------------------------------------------------------------------------- */

/* Keys' cubic for a = -1/2. */
__device__ static double cubic(double x) {
  x = fabs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return 0;
}

/* A thread an output of an axis (blockIdx.y): its weights, and the first input they are for. */
__global__ static void axis_weights(struct group g) {
  const struct plan &p = g.plan[blockIdx.z];
  const struct axis &axis = blockIdx.y == 0 ? p.rows : p.columns;
  ptrdiff_t i = item_of_thread();
  if (i >= axis.n_out) return;
  float *weight = (blockIdx.y == 0 ? p.row_weight : p.column_weight) + i * axis.taps;
  double centre = ((int)i + 0.5) * axis.ratio, sum = 0;
  double after = floor(centre - 0.5 - 2 * axis.scale) + 1; /* the first pixel whose middle is inside the support */
  int first = (int)fmax(0.0, fmin(after, (double)(axis.n_in - axis.taps)));
  for (int k = 0; k < axis.taps; k++) sum += cubic((first + k + 0.5 - centre) / axis.scale);
  for (int k = 0; k < axis.taps; k++) weight[k] = (float)(cubic((first + k + 0.5 - centre) / axis.scale) / sum);
  (blockIdx.y == 0 ? p.row_first : p.column_first)[i] = first;
}

/* Output row blockIdx.y of the vertical sums: a thread a number of the window's width. */
__global__ static void add_rows(struct group g) {
  const struct plan &p = g.plan[blockIdx.z];
  int x = (int)item_of_thread(), row = (int)blockIdx.y, n = 3 * p.columns.n_in;
  if (x >= n) return;
  const float *weight = p.row_weight + (ptrdiff_t)row * p.rows.taps;
  const uint8_t *from = p.rgb + p.row_first[row] * p.stride + x;
  float sum = 0;
  for (int k = 0; k < p.rows.taps; k++) sum += weight[k] * (float)from[k * p.stride];
  p.between[(ptrdiff_t)row * n + x] = sum;
}

__device__ static inline float least(float a, float b) { return a < b ? a : b; }
__device__ static inline float most(float a, float b) { return a > b ? a : b; }
__device__ static inline float clip01(float x) { return most(0, least(1, x)); }

/* The horizontal sums, / 255 and clipped; a thread a pixel, which goes to its mirrored place in a flipped view. */
__global__ static void add_columns(struct group g) {
  const struct plan &p = g.plan[blockIdx.z];
  int size = p.columns.n_out;
  ptrdiff_t pixel = item_of_thread();
  if (pixel >= (ptrdiff_t)size * size) return;
  int row = (int)(pixel / size), j = (int)(pixel % size);
  const float *weight = p.column_weight + (ptrdiff_t)j * p.columns.taps;
  const float *x = p.between + ((ptrdiff_t)row * p.columns.n_in + p.column_first[j]) * 3;
  float sum[3] = {};
  for (int k = 0; k < p.columns.taps; k++, x += 3)
    for (int c = 0; c < 3; c++) sum[c] += weight[k] * x[c];
  float *to = p.y + ((ptrdiff_t)row * size + (p.flip ? size - 1 - j : j)) * 3;
  for (int c = 0; c < 3; c++) to[c] = clip01(sum[c] / 255);
}

/* ---- colour -------------------------------------------------------------------------------------------------------------------------- */

/* The mean of each channel, of views whose step this is the contrast; a block a view. A thread takes LANES sums of some pixels of a
 * channel, joined in order; then one thread a channel adds those of all pixels in order. */
__global__ static void channel_means(struct group g, int step) {
  const struct plan &p = g.plan[blockIdx.z];
  if (p.form == JITTER_NONE || p.order[step] != JITTER_CONTRAST) return;
  int size = p.columns.n_out, pixels = size * size, parts = (pixels + MEAN_PIXELS - 1) / MEAN_PIXELS, thread = (int)threadIdx.x;
  double *sums = p.mean + 3;
  for (int t = thread; t < 3 * parts; t += BLOCK_THREADS) {
    int first = t / 3 * MEAN_PIXELS, end = pixels - first < MEAN_PIXELS ? pixels : first + MEAN_PIXELS, i = first;
    const float *x = p.y + t % 3;
    double lane[LANES] = {}, sum = 0;
    for (; i + LANES <= end; i += LANES) UNROLL for (int l = 0; l < LANES; l++) lane[l] += (double)x[3 * (i + l)];
    UNROLL for (int l = 0; l < LANES; l++) if (i + l < end) lane[l] += (double)x[3 * (i + l)];
    UNROLL for (int l = 0; l < LANES; l++) sum += lane[l];
    sums[t] = sum;
  }
  __syncthreads();
  if (thread >= 3) return;
  double mean = 0;
  for (int part = 0; part < parts; part++) mean += sums[3 * part + thread];
  p.mean[thread] = mean / (double)pixels;
}

/* ITU-R BT.601 luma, four digits. */
__device__ static inline float grey_of(const float *x) { return (float)0.2989 * x[0] + (float)0.587 * x[1] + (float)0.114 * x[2]; }

/* x = clip(v x + add). */
__device__ static inline void scale_and_add(float v, double red, double green, double blue, float *x) {
  x[0] = clip01(v * x[0] + (float)red);
  x[1] = clip01(v * x[1] + (float)green);
  x[2] = clip01(v * x[2] + (float)blue);
}

__device__ static void contrast(enum jitter_form form, double v, const double *mean, float *x) {
  double m[3] = {mean[0], mean[1], mean[2]};
  if (form == JITTER_TORCHVISION) m[0] = m[1] = m[2] = 0.2989 * m[0] + 0.587 * m[1] + 0.114 * m[2];
  scale_and_add((float)v, m[0] * (1 - v), m[1] * (1 - v), m[2] * (1 - v), x);
}

__device__ static void saturation_hsv(float factor, float *x) {
  float v = most(factor, 0), high = most(x[0], most(x[1], x[2])), d = high - least(x[0], least(x[1], x[2]));
  float ratio = v * d > high ? high / d : v; /* a grey pixel has d = 0: any ratio leaves it */
  for (int c = 0; c < 3; c++) x[c] = clip01(high - (high - x[c]) * ratio);
}

__device__ static void saturation_blend(float v, float rest, float *x) {
  float grey = rest * grey_of(x);
  for (int c = 0; c < 3; c++) x[c] = clip01(v * x[c] + grey);
}

/* How far the hue is from where a channel is at its full (colour.c). */
__device__ static inline float lack(float h6, float full) {
  float away = fabsf(h6 - full);
  away = least(away, fabsf(6 - away));
  return clip01(away - 1);
}

__device__ static void hue(float v6, float *x) {
  float r = x[0], g = x[1], b = x[2], high = most(r, most(g, b)), d = high - least(r, least(g, b));
  float slope = d > 0 ? 1 / d : 0;
  float h6 = high == r ? (g - b) * slope : high == g ? 2 + (b - r) * slope : 4 + (r - g) * slope;
  h6 += v6;
  h6 -= 6 * floorf(h6 / 6);
  for (int c = 0; c < 3; c++) x[c] = clip01(high - d * lack(h6, (float)(2 * c)));
}

__device__ static void jitter_pixel(enum jitter_form form, enum jitter_step step, double v, const double *mean, float *x) {
  bool byol = form == JITTER_BYOL;
  double add = byol ? v : 0.0;
  switch (step) {
  case JITTER_BRIGHTNESS: scale_and_add(byol ? 1.0f : (float)v, add, add, add, x); return;
  case JITTER_CONTRAST: contrast(form, v, mean, x); return;
  case JITTER_SATURATION:
    if (byol)
      saturation_hsv((float)v, x);
    else
      saturation_blend((float)v, (float)(1 - v), x);
    return;
  case JITTER_HUE: hue((float)(6 * v), x); return;
  }
}

/* Step number `step` of the jitter; after the last, greyscale. A thread a pixel. */
__global__ static void jitter(struct group g, int step) {
  const struct plan &p = g.plan[blockIdx.z];
  ptrdiff_t pixel = item_of_thread();
  if (pixel >= (ptrdiff_t)p.columns.n_out * p.columns.n_out) return;
  float *x = p.y + 3 * pixel;
  enum jitter_step kind = (enum jitter_step)p.order[step];
  if (p.form != JITTER_NONE) jitter_pixel(p.form, kind, p.value[kind], p.mean, x);
  if (step == 3 && p.grey) x[0] = x[1] = x[2] = grey_of(x);
}

/* Solarise, clip, normalise. A thread a number. */
__global__ static void finish(struct group g) {
  const struct plan &p = g.plan[blockIdx.z];
  ptrdiff_t i = item_of_thread();
  if (i >= (ptrdiff_t)p.columns.n_out * p.columns.n_out * 3) return;
  int c = (int)(i % 3);
  float x = p.y[i], mean = c == 0 ? (float)0.485 : c == 1 ? (float)0.456 : (float)0.406;
  float std = c == 0 ? (float)0.229 : c == 1 ? (float)0.224 : (float)0.225;
  if (p.solarise) x = x < 0.5f ? x : 1 - x;
  p.y[i] = (clip01(x) - mean) / std;
}

/* ---- blur ---------------------------------------------------------------------------------------------------------------------------- */

/* y[i] = sum of weight[|k|] x[i + k step] over the taps inside the image, one way: step is 3 along a row, a row's numbers along a column.
 * What is outside is black. Along rows an image goes to what is between, along columns back. A thread a number of a blurred view; all take
 * the same weight at a time, and neighbours read neighbouring numbers. */
__global__ static void filter(struct group g, struct blurs b, bool along_row) {
  const struct plan &p = g.plan[b.view[blockIdx.z]];
  const int size = p.columns.n_out, n = 3 * size, i = (int)item_of_thread(); /* 3 CUDA_AUGMENT_SIZE^2 is an int */
  if (i >= n * size) return;
  const int place = along_row ? i % n / 3 : i / n, step = along_row ? 3 : n;
  const float *x = (along_row ? p.y : p.between) + i, *weight = b.weight + p.first_weight;
  float sum = 0;
  for (int k = -p.radius; k <= p.radius; k++)
    if (place + k >= 0 && place + k < size) sum += weight[k < 0 ? -k : k] * x[(ptrdiff_t)k * step];
  (along_row ? p.between : p.y)[i] = sum;
}

/* The weights of one view, as the reference has them. */
static void set_weights(const struct view *v, int radius, float *weight) {
  double sum = 0;
  for (int i = -radius; i <= radius; i++) sum += exp(-(double)i * i / (2 * v->sigma * v->sigma));
  for (int i = 0; i <= radius; i++) weight[i] = (float)(exp(-(double)i * i / (2 * v->sigma * v->sigma)) / sum);
}

static void launch_blurs(const struct group *g, struct blurs *b) {
  if (b->views == 0) return;
  const ptrdiff_t size = g->plan[0].columns.n_out;
  const dim3 blocks = blocks_of(size * size * 3, 1, b->views), threads(BLOCK_THREADS);
  LAUNCH(filter, blocks, threads, 0, cuda_stream(), *g, *b, true);
  LAUNCH(filter, blocks, threads, 0, cuda_stream(), *g, *b, false);
  b->views = b->weights = 0;
}

/* All that are blurred in one launch a pass, as far as there is room for their weights. */
static void blur_views(int views, const struct augment_item *item, struct group *g) {
  struct blurs b;
  b.views = b.weights = 0;
  for (int i = 0; i < views; i++) {
    const struct view *v = &item[i].view;
    const int radius = v->taps / 2;
    if (!(v->sigma > 0)) continue;
    if (b.weights + radius + 1 > MOST_WEIGHTS) launch_blurs(g, &b);
    g->plan[i].radius = radius, g->plan[i].first_weight = b.weights;
    set_weights(v, radius, b.weight + b.weights);
    b.view[b.views++] = (unsigned char)i, b.weights += radius + 1;
  }
  launch_blurs(g, &b);
}

/* ---- a group of views ---------------------------------------------------------------------------------------------------------------- */

static void apply_group(int views, const struct augment_item *item, void *scratch) {
  struct group g = {};
  struct cutter c = {(char *)scratch, 0};
  const int size = item->view.size;
  const ptrdiff_t pixels = (ptrdiff_t)size * size;
  int widest = 0;
  for (int i = 0; i < views; i++) {
    g.plan[i] = plan_of(&item[i], &c);
    if (item[i].view.width > widest) widest = item[i].view.width;
  }
  const dim3 threads(BLOCK_THREADS), each_pixel = blocks_of(pixels, 1, views);
  LAUNCH(axis_weights, blocks_of(size, 2, views), threads, 0, cuda_stream(), g);
  LAUNCH(add_rows, blocks_of((ptrdiff_t)widest * 3, size, views), threads, 0, cuda_stream(), g);
  LAUNCH(add_columns, each_pixel, threads, 0, cuda_stream(), g);
  for (int step = 0; step < 4; step++) {
    LAUNCH(channel_means, dim3(1, 1, (unsigned)views), threads, 0, cuda_stream(), g, step);
    LAUNCH(jitter, each_pixel, threads, 0, cuda_stream(), g, step);
  }
  blur_views(views, item, &g);
  LAUNCH(finish, blocks_of(pixels * 3, 1, views), threads, 0, cuda_stream(), g);
}

/* One group after the other in the same scratch. */
void cuda_augment_apply(ptrdiff_t count, const struct augment_item *item, void *scratch) {
  for (ptrdiff_t first = 0; first < count; first += GROUP)
    apply_group(count - first < GROUP ? (int)(count - first) : (int)GROUP, item + first, scratch);
  cuda_launched("augment_apply");
}
