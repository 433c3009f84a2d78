/* Convolution as three implicit matrix products (gemm.h): nothing is gathered in memory, the loads of a tile find each element of a patch
 * where it is. Twin of ref/op/conv.c. */
#include "cuda/affine.h"
#include "cuda/gemm.h"
#include "cuda/shared.h"

enum {
  DW_BLOCKS_WANTED = 512,    /* tiles of dw x chunks of positions: about four blocks for each of some 130 multiprocessors */
  DW_CHUNK_LEAST = 512,      /* positions; writing and joining a partial dw is then a small part of computing it */
  DW_PARTIAL_MOST = 1 << 24, /* floats in all partial dw: 64 MiB */
};

/* The sizes as int, in which a GPU divides ten times faster: conv_make sees to it that positions and depths fit. Offsets into tensors do
 * not, and are computed in ptrdiff_t. */
struct conv_shape {
  int n, h, w, c, k, r, s, stride, pad, p, q;
};

static struct conv_shape shape_of(const struct conv *g) {
  return {(int)g->n, (int)g->h, (int)g->w, (int)g->c, (int)g->k, (int)g->r, (int)g->s, (int)g->stride, (int)g->pad, (int)g->p, (int)g->q};
}

/* x[n, p stride + r - pad, q stride + s - pad, c] for position (n, p, q) and tap (r, s, c), both counted row-major; 0 outside the image. */
__device__ static inline float patch_element(const struct conv_shape &g, const float *x, int position, int tap) {
  int c = tap % g.c, s = tap / g.c % g.s, r = tap / g.c / g.s;
  int q = position % g.q, p = position / g.q % g.p, n = position / g.q / g.p;
  int h = p * g.stride + r - g.pad, w = q * g.stride + s - g.pad;
  return h >= 0 && h < g.h && w >= 0 && w < g.w ? x[(((ptrdiff_t)n * g.h + h) * g.w + w) * g.c + c] : 0.0f;
}

/* ---- forward ---------------------------------------------------------------------------------------------------------------- */

/* y (positions x K) = patches of x (positions x RSC) times w^T (RSC x K). */
struct forward_product {
  static const bool A_ALONG_DEPTH = true, B_ALONG_DEPTH = true;
  struct conv_shape g;
  int rows, columns, first, last;

  __device__ void begin(int) {}
  __device__ float at_a(const float *x, int position, int tap) const { return patch_element(g, x, position, tap); }
  __device__ float at_b(const float *w, int tap, int k) const { return w[(ptrdiff_t)k * last + tap]; }
  __device__ void store(float *y, int position, int k, float sum) const { y[(ptrdiff_t)position * columns + k] = sum; }
};

/* y: overwritten. Each y is one chain of fused multiply-adds over r, s, c in that order, in float. */
void cuda_conv_forward(const struct conv *g, const real *x, const real *w, real *y, void *) {
  struct conv_shape shape = shape_of(g);
  struct forward_product p = {shape, shape.n * shape.p * shape.q, shape.k, 0, shape.r * shape.s * shape.c};
  gemm_launch(p, p.rows, p.columns, 1, x, w, y);
  cuda_launched("conv_forward");
}

/* The same, and a norm in evaluation behind it. */
struct forward_norm_product : forward_product {
  struct following_norm<float> norm;

  __device__ void store(float *y, int position, int k, float sum) const {
    ptrdiff_t at = (ptrdiff_t)position * columns + k;
    y[at] = normalised(norm.channel[k], sum, norm.residual, norm.residual ? norm.residual[at] : 0.0f, norm.relu);
  }
};

/* y: overwritten; may not be the residual. The bits of cuda_conv_forward and cuda_norm_forward_eval, one after the other. */
void cuda_conv_norm_forward_eval(const struct conv *g, const struct norm *n, const real *x, const real *w, const real *residual,
                                 const real *gamma, const real *beta, const real *running_mean, const real *running_var, real *y,
                                 void *scratch) {
  struct conv_shape shape = shape_of(g);
  struct forward_norm_product p = {};
  p.g = shape, p.rows = shape.n * shape.p * shape.q, p.columns = shape.k, p.last = shape.r * shape.s * shape.c;
  p.norm = following_norm_of(n, residual, gamma, beta, running_mean, running_var, scratch);
  gemm_launch(p, p.rows, p.columns, 1, x, w, y);
  cuda_launched("conv_norm_forward_eval");
}

/* ---- backward data ---------------------------------------------------------------------------------------------------------- */

/* Rows h = a + stride i of dx (phase a of stride) meet the kernel rows r = r0 + stride t with r0 = (a + pad) mod stride only, in dy row
 * p = (h + pad - r) / stride. Columns likewise. Each of the stride^2 phases is one product,
 *     dx (positions of the phase x C) = dy under those taps (positions x taps K) times w (taps K x C),
 * and writes elements that no other phase writes. */
struct backward_data_product {
  static const bool A_ALONG_DEPTH = true, B_ALONG_DEPTH = false;
  struct conv_shape g;
  bool accumulate;
  int rows, columns, first, last;
  int a, b, r0, s0, taps_s, down, across; /* the phase; its rows and columns of pixels */

  __device__ static int taps(int kernel, int from, int stride) { return from < kernel ? (kernel - from + stride - 1) / stride : 0; }
  __device__ void begin(int phase) {
    a = phase / g.stride, b = phase % g.stride;
    r0 = (a + g.pad) % g.stride, s0 = (b + g.pad) % g.stride;
    taps_s = taps(g.s, s0, g.stride);
    down = a < g.h ? (g.h - a + g.stride - 1) / g.stride : 0, across = b < g.w ? (g.w - b + g.stride - 1) / g.stride : 0;
    rows = g.n * down * across;
    last = taps(g.r, r0, g.stride) * taps_s * g.k;
  }
  __device__ float at_a(const float *dy, int position, int tap) const {
    int k = tap % g.k, s = s0 + tap / g.k % taps_s * g.stride, r = r0 + tap / g.k / taps_s * g.stride;
    int w = b + position % across * g.stride, h = a + position / across % down * g.stride, n = position / across / down;
    int above = h + g.pad - r, before = w + g.pad - s; /* multiples of stride, perhaps negative */
    if (above < 0 || before < 0 || above / g.stride >= g.p || before / g.stride >= g.q) return 0.0f;
    return dy[(((ptrdiff_t)n * g.p + above / g.stride) * g.q + before / g.stride) * g.k + k];
  }
  __device__ float at_b(const float *w, int tap, int c) const {
    int k = tap % g.k, s = s0 + tap / g.k % taps_s * g.stride, r = r0 + tap / g.k / taps_s * g.stride;
    return w[(((ptrdiff_t)k * g.r + r) * g.s + s) * g.c + c];
  }
  __device__ void store(float *dx, int position, int c, float sum) const {
    int w = b + position % across * g.stride, h = a + position / across % down * g.stride, n = position / across / down;
    float *at = dx + (((ptrdiff_t)n * g.h + h) * g.w + w) * g.c + c;
    *at = accumulate ? *at + sum : sum;
  }
};

/* dx: overwritten, or added to if accumulate. Each sum is one chain over r, s, k in that order, in float. */
void cuda_conv_backward_data(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, void *) {
  struct backward_data_product p = {};
  p.g = shape_of(g), p.accumulate = accumulate, p.columns = p.g.c;
  int most = p.g.n * ((p.g.h + p.g.stride - 1) / p.g.stride) * ((p.g.w + p.g.stride - 1) / p.g.stride);
  gemm_launch(p, most, p.columns, p.g.stride * p.g.stride, dy, w, dx);
  cuda_launched("conv_backward_data");
}

/* ---- backward weights ------------------------------------------------------------------------------------------------------- */

/* Chunks of positions, by the shape only. */
struct dw_cut {
  int chunk, chunks;
};

static struct dw_cut dw_cut_of(const struct conv *g) {
  ptrdiff_t width = g->r * g->s * g->c, tiles = (ptrdiff_t)tiles_of((int)g->k) * tiles_of((int)width), rows = g->n * g->p * g->q;
  ptrdiff_t chunks = (DW_BLOCKS_WANTED + tiles - 1) / tiles;
  if (chunks > rows / DW_CHUNK_LEAST) chunks = rows / DW_CHUNK_LEAST;
  if (chunks > DW_PARTIAL_MOST / (g->k * width)) chunks = DW_PARTIAL_MOST / (g->k * width);
  if (chunks < 1) chunks = 1;
  ptrdiff_t chunk = (rows + chunks - 1) / chunks;
  return {(int)chunk, (int)((rows + chunk - 1) / chunk)};
}

/* A chunk's dw (K x RSC) = dy^T (K x positions) times patches of x (positions x RSC), to its own partial dw; a single chunk is added to
 * dw itself. */
struct backward_weights_product {
  static const bool A_ALONG_DEPTH = false, B_ALONG_DEPTH = false;
  struct conv_shape g;
  struct dw_cut cut;
  int rows, columns, first, last;
  ptrdiff_t partial; /* where the chunk's dw starts */

  __device__ void begin(int chunk) {
    first = chunk * cut.chunk;
    last = last - first > cut.chunk ? first + cut.chunk : last;
    partial = (ptrdiff_t)chunk * rows * columns;
  }
  __device__ float at_a(const float *dy, int k, int position) const { return dy[(ptrdiff_t)position * rows + k]; }
  __device__ float at_b(const float *x, int position, int tap) const { return patch_element(g, x, position, tap); }
  __device__ void store(float *dw, int k, int tap, float sum) const {
    float *at = dw + partial + (ptrdiff_t)k * columns + tap;
    *at = cut.chunks == 1 ? *at + sum : sum;
  }
};

/* Partial dw of backward weights, or the channels of a norm. */
size_t cuda_conv_scratch(const struct conv *g) {
  int chunks = dw_cut_of(g).chunks;
  size_t partials = chunks > 1 ? (size_t)chunks * (size_t)(g->k * g->r * g->s * g->c) * sizeof(float) : 0;
  size_t channels = following_norm_scratch(g->k);
  return partials > channels ? partials : channels;
}

/* dw: accumulated. Each chunk's sum is one chain over its positions in order, in float; chunks are joined to dw in order, in double,
 * rounded once. */
void cuda_conv_backward_weights(const struct conv *g, const real *x, const real *dy, real *dw, void *scratch) {
  struct backward_weights_product p = {};
  p.g = shape_of(g), p.cut = dw_cut_of(g);
  p.rows = p.g.k, p.columns = p.g.r * p.g.s * p.g.c, p.last = p.g.n * p.g.p * p.g.q;
  bool joined = p.cut.chunks > 1;
  gemm_launch(p, p.rows, p.columns, p.cut.chunks, dy, x, joined ? (float *)scratch : dw);
  if (joined) join_partials_launch((ptrdiff_t)p.rows * p.columns, p.cut.chunks, (const float *)scratch, dw);
  cuda_launched("conv_backward_weights");
}
