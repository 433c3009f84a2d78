/* Convolution as matrix products.
 *
 * All three directions see a map through a moving window, as a patch matrix (im2col). They take a tile of its rows at a time, and multiply
 * it on one thread (panel.h): forward and backward data by weights that are laid out before, backward weights by dy. The product takes
 * pointers to the pieces of a row, so patches stay where they are; only those of few channels are gathered. A tile is cut by the shape
 * alone, and writes elements that no other tile writes, so every result is the same for any number of threads.
 */
#include "op/conv.h"

#include <limits.h>
#include <omp.h>
#include <string.h>

#include "base/size.h"
#include "op/patches.h"

enum {
  TILE = 224,                /* rows of a patch matrix a product: 256 columns of them (PANEL_DEPTH) stay in the second-level cache */
  TILE_COLUMNS = 256,        /* columns of the product a tile, where tiles of all columns would be fewer than TILES_FEW */
  TILES_FEW = 16,            /* too few to share out well */
  DW_K = 256,                /* of the largest block of dw that one thread works on: output channels, and */
  DW_COLUMNS = 512,          /* columns (r, s, c); more where a single tap has more channels */
  DW_PIECE = 128,            /* rows and columns of a piece of dw, by which chunks are counted: the largest tile of a block on a GPU */
  DW_PIECES_WANTED = 264,    /* pieces times chunks: enough to share out, also to two blocks on each of a GPU's 132 multiprocessors */
  DW_CHUNK_LEAST = 768,      /* positions: to write and join a partial dw costs about as much as 40 of them */
  DW_PARTIAL_MOST = 1 << 24, /* reals in all partial dw */
  JOIN_BLOCK = 512,          /* elements of dw joined at a time: their sums stay in the nearest cache */
};

/* ---- shape ------------------------------------------------------------------------------------------------------------------ */

bool conv_make(struct conv *g, ptrdiff_t n, ptrdiff_t h, ptrdiff_t w, ptrdiff_t c, ptrdiff_t k, ptrdiff_t r, ptrdiff_t s, ptrdiff_t stride,
               ptrdiff_t pad, struct error *err) {
  if (n <= 0 || h <= 0 || w <= 0 || c <= 0 || k <= 0 || r <= 0 || s <= 0 || stride <= 0 || pad < 0)
    return fail(
        err,
        "convolution of %td x %td x %td x %td by %td kernels of %td x %td, stride %td, pad %td: every size must be positive, and pad "
        "not negative",
        n, h, w, c, k, r, s, stride, pad);
  ptrdiff_t pads, padded_h, padded_w, size;
  bool fits = !__builtin_mul_overflow(pad, (ptrdiff_t)2, &pads) && !__builtin_add_overflow(h, pads, &padded_h) &&
              !__builtin_add_overflow(w, pads, &padded_w);
  if (fits && (r > padded_h || s > padded_w))
    return fail(err,
                "convolution: a kernel of %td x %td is larger than the image of %td x %td with %td zeros around it; use a larger image", r,
                s, h, w, pad);
  ptrdiff_t p = fits ? (padded_h - r) / stride + 1 : 0, q = fits ? (padded_w - s) / stride + 1 : 0;
  /* Twins on a GPU and their libraries count in int, so positions and the patch of a position, forward (r s c) and backward (r s k), must
   * fit one. A stride or pad beyond an int has no use, and would overflow sums below. */
  fits = fits && stride <= INT_MAX && pad <= INT_MAX && size_product(n, h, w, 1, &size) && size <= INT_MAX &&
         size_product(size, c, sizeof(real), 1, &size) && size_product(n, p, q, 1, &size) && size <= INT_MAX &&
         size_product(size, k, sizeof(real), 1, &size) && size_product(r, s, c, 1, &size) && size <= INT_MAX &&
         size_product(size, k, sizeof(real), 1, &size) && size_product(r, s, k, 1, &size) && size <= INT_MAX;
  if (!fits)
    return fail(
        err, "convolution of %td x %td x %td x %td by %td kernels of %td x %td, stride %td, pad %td: too large to index; use fewer images",
        n, h, w, c, k, r, s, stride, pad);
  *g = (struct conv){.n = n, .h = h, .w = w, .c = c, .k = k, .r = r, .s = s, .stride = stride, .pad = pad, .p = p, .q = q};
  return true;
}

/* ---- tiles ------------------------------------------------------------------------------------------------------------------ */

/* How a product of the patch matrix is cut, all tiles nearly equal. */
struct tiling {
  ptrdiff_t rows, columns; /* of a tile */
  ptrdiff_t across, count; /* tiles side by side; tiles in all */
};

static struct tiling tiling_make(ptrdiff_t rows, ptrdiff_t columns) {
  ptrdiff_t down = size_ceil_div(rows, TILE), across = down < TILES_FEW ? size_ceil_div(columns, TILE_COLUMNS) : 1;
  struct tiling t = {.rows = panel_rows_rounded(size_ceil_div(rows, down)),
                     .columns = size_ceil_div(size_ceil_div(columns, across), PANEL_ALIGN) * PANEL_ALIGN};
  t.across = size_ceil_div(columns, t.columns);
  t.count = size_ceil_div(rows, t.rows) * t.across;
  return t;
}

/* ---- forward ---------------------------------------------------------------------------------------------------------------- */

/* The window of kernel rows [r, r + taps_r) and kernel columns [s, s + taps_s) over x. */
static struct window window_on_x(const struct conv *g, ptrdiff_t r, ptrdiff_t s, ptrdiff_t taps_r, ptrdiff_t taps_s) {
  return (struct window){.rows = g->h,
                         .columns = g->w,
                         .channels = g->c,
                         .out_rows = g->p,
                         .out_columns = g->q,
                         .step = g->stride,
                         .first_row = r - g->pad,
                         .first_column = s - g->pad,
                         .taps_r = taps_r,
                         .taps_s = taps_s};
}

/* Whether x is its own patch matrix: 1x1, stride 1, no padding. */
static bool is_pointwise(const struct conv *g) { return g->r == 1 && g->s == 1 && g->stride == 1 && g->pad == 0; }

static struct tiling forward_tiling(const struct conv *g) { return tiling_make(g->n * g->p * g->q, g->k); }
static ptrdiff_t forward_packed(const struct conv *g) { return patches_line(panel_size(g->r * g->s * g->c, g->k)); }
static ptrdiff_t forward_slice(const struct conv *g) { return patches_size(forward_tiling(g).rows, g->r * g->s, g->c, false); }

/* The norm behind a convolution, in evaluation. */
struct norm_behind {
  const struct norm *norm;
  const real *residual, *gamma, *beta, *running_mean, *running_var;
};

/* y (N P Q x K) = patches of x (N P Q x R S C) times w^T, normalised unless behind is null. To be normalised, at most TILE_COLUMNS are
 * multiplied at a time, so that they are still in a near cache. */
static void forward(const struct conv *g, const real *x, const real *w, const struct norm_behind *behind, real *y, real *scratch) {
  struct window v = window_on_x(g, 0, 0, g->r, g->s);
  struct tiling tiling = forward_tiling(g);
  ptrdiff_t rows = g->n * g->p * g->q, depth = window_depth(&v), slice = forward_slice(g);
  real *zeros = scratch + forward_packed(g), *slices = zeros + patches_line(g->c);
  memset(zeros, 0, (size_t)g->c * sizeof(real));
  panel_pack(depth, g->k, w, 1, depth, 0, depth, scratch);
#pragma omp parallel for schedule(dynamic)
  for (ptrdiff_t t = 0; t < tiling.count; t++) {
    ptrdiff_t from = t / tiling.across * tiling.rows, to = size_min(from + tiling.rows, rows);
    ptrdiff_t k = t % tiling.across * tiling.columns, ks = size_min(tiling.columns, g->k - k);
    const struct panel_rows patches = patch_rows(&v, x, from, to, zeros, slices + omp_get_thread_num() * slice);
    for (ptrdiff_t end = k + ks, n; k < end; k += n) {
      n = behind ? size_min(TILE_COLUMNS, end - k) : ks;
      panel_product(to - from, n, depth, &patches, scratch, k, PANEL_SET, y + from * g->k + k, g->k);
      if (behind)
        norm_eval_part(behind->norm, from, to - from, k, n, behind->residual, behind->gamma, behind->beta, behind->running_mean,
                       behind->running_var, y);
    }
  }
}

void conv_forward(const struct conv *g, const real *x, const real *w, real *y, real *scratch) { forward(g, x, w, NULL, y, scratch); }

void conv_norm_forward_eval(const struct conv *g, const struct norm *norm, const real *x, const real *w, const real *residual,
                            const real *gamma, const real *beta, const real *running_mean, const real *running_var, real *y,
                            real *scratch) {
  const struct norm_behind behind = {norm, residual, gamma, beta, running_mean, running_var};
  forward(g, x, w, &behind, y, scratch);
}

/* ---- backward data ---------------------------------------------------------------------------------------------------------- */

/* Rows h = a + stride i of dx (phase a of stride) meet the kernel rows r = r0 + stride t with r0 = (a + pad) mod stride only, and
 * find there dy row p = (a + pad - r0) / stride + i - t. That is a window of ceil((R - r0) / stride) taps, read backwards, that moves over
 * dy by one: backward data is stride^2 small convolutions of dy with transposed weights, each of which writes its own elements of dx. The
 * same holds for columns. */
struct phase {
  ptrdiff_t first_tap, taps; /* r0; how many kernel rows meet this phase, perhaps none */
  ptrdiff_t first_p;         /* dy row under the first tap of the window at i = 0 */
  ptrdiff_t count;           /* rows of dx in this phase */
};

static struct phase phase_make(const struct conv *g, ptrdiff_t a, ptrdiff_t size, ptrdiff_t kernel) {
  ptrdiff_t r0 = (a + g->pad) % g->stride, taps = r0 < kernel ? size_ceil_div(kernel - r0, g->stride) : 0;
  return (struct phase){
      .first_tap = r0, .taps = taps, .first_p = (a + g->pad - r0) / g->stride, .count = size_ceil_div(size - a, g->stride)};
}

static struct window window_on_dy(const struct conv *g, const struct phase *h, const struct phase *w) {
  return (struct window){.rows = g->p,
                         .columns = g->q,
                         .channels = g->k,
                         .out_rows = h->count,
                         .out_columns = w->count,
                         .step = 1,
                         .first_row = h->first_p,
                         .first_column = w->first_p,
                         .taps_r = h->taps,
                         .taps_s = w->taps,
                         .backwards = true};
}

/* The weights that meet a phase, transposed to (taps_r taps_s K) x C, in panels. */
static void pack_weights(const struct conv *g, const struct phase *h, const struct phase *v, const real *w, real *packed) {
  ptrdiff_t depth = h->taps * v->taps * g->k;
  for (ptrdiff_t tap = 0; tap < h->taps * v->taps; tap++) {
    ptrdiff_t r = h->first_tap + tap / v->taps * g->stride, s = v->first_tap + tap % v->taps * g->stride;
    panel_pack(depth, g->c, w + (r * g->s + s) * g->c, g->r * g->s * g->c, 1, tap * g->k, g->k, packed);
  }
}

/* Positions [from, to) of phase (a, b), cs channels from c on, to their places in dx. */
static void scatter(const struct conv *g, ptrdiff_t a, ptrdiff_t b, const struct window *v, ptrdiff_t from, ptrdiff_t to, ptrdiff_t c,
                    ptrdiff_t cs, const real *tile, bool accumulate, real *dx) {
  for (ptrdiff_t t = from; t < to; t++, tile += cs) {
    ptrdiff_t w = t % v->out_columns * g->stride + b, i = t / v->out_columns, h = i % v->out_rows * g->stride + a, n = i / v->out_rows;
    real *at = dx + ((n * g->h + h) * g->w + w) * g->c + c;
    if (accumulate)
      for (ptrdiff_t j = 0; j < cs; j++) at[j] += tile[j];
    else
      memcpy(at, tile, (size_t)cs * sizeof(real));
  }
}

/* One tiling for every phase, and the most taps of one: sizes are divided by the stride and rounded up. */
static struct tiling phase_tiling(const struct conv *g) {
  return tiling_make(g->n * size_ceil_div(g->h, g->stride) * size_ceil_div(g->w, g->stride), g->c);
}
static ptrdiff_t phase_taps(const struct conv *g) { return size_ceil_div(g->r, g->stride) * size_ceil_div(g->s, g->stride); }

/* Whether the product can write to dx: with stride 1, where rows of the product are rows of dx, and if a sum that is added to dx is whole
 * after one block of depth. */
static bool is_direct(const struct conv *g, ptrdiff_t depth, bool accumulate) {
  return g->stride == 1 && (!accumulate || depth <= PANEL_DEPTH);
}

/* Scratch of a thread: a tile of patches; then, where the product cannot write to dx, a tile of the product. */
static ptrdiff_t backward_data_patches(const struct conv *g) { return patches_size(phase_tiling(g).rows, phase_taps(g), g->k, true); }
static ptrdiff_t backward_data_slice(const struct conv *g) {
  struct tiling tiling = phase_tiling(g);
  bool direct = is_direct(g, phase_taps(g) * g->k, true);
  return backward_data_patches(g) + (direct ? 0 : patches_line(tiling.rows * tiling.columns));
}
/* Scratch for all: the weights of a phase in panels. */
static ptrdiff_t packed_size(const struct conv *g) { return patches_line(panel_size(phase_taps(g) * g->k, g->c)); }

static void backward_data_phase(const struct conv *g, ptrdiff_t a, ptrdiff_t b, const real *dy, const real *w, real *dx, bool accumulate,
                                real *scratch) {
  struct phase ph = phase_make(g, a, g->h, g->r), pw = phase_make(g, b, g->w, g->s);
  struct window v = window_on_dy(g, &ph, &pw);
  ptrdiff_t depth = window_depth(&v), rows = g->n * v.out_rows * v.out_columns;
  if (depth == 0 && accumulate) return; /* these pixels went into no output */

  if (depth > 0) pack_weights(g, &ph, &pw, w, scratch);
  real *zeros = scratch + packed_size(g), *slices = zeros + patches_line(g->k);
  memset(zeros, 0, (size_t)g->k * sizeof(real));
  struct tiling tiling = phase_tiling(g);
  ptrdiff_t slice = backward_data_slice(g), tiles = size_ceil_div(rows, tiling.rows) * tiling.across;
#pragma omp parallel for schedule(dynamic)
  for (ptrdiff_t t = 0; t < tiles; t++) {
    ptrdiff_t from = t / tiling.across * tiling.rows, to = size_min(from + tiling.rows, rows);
    ptrdiff_t c = t % tiling.across * tiling.columns, cs = size_min(tiling.columns, g->c - c);
    real *mine = slices + omp_get_thread_num() * slice, *out = mine + backward_data_patches(g);
    if (depth == 0) {
      memset(out, 0, (size_t)((to - from) * cs) * sizeof(real));
      scatter(g, a, b, &v, from, to, c, cs, out, false, dx);
      continue;
    }
    const struct panel_rows patches = patch_rows(&v, dy, from, to, zeros, mine);
    if (is_direct(g, depth, accumulate)) {
      panel_product(to - from, cs, depth, &patches, scratch, c, accumulate ? PANEL_ADD : PANEL_SET, dx + from * g->c + c, g->c);
    } else {
      panel_product(to - from, cs, depth, &patches, scratch, c, PANEL_SET, out, cs);
      scatter(g, a, b, &v, from, to, c, cs, out, accumulate, dx);
    }
  }
}

void conv_backward_data(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, real *scratch) {
  for (ptrdiff_t a = 0; a < size_min(g->stride, g->h); a++)
    for (ptrdiff_t b = 0; b < size_min(g->stride, g->w); b++) backward_data_phase(g, a, b, dy, w, dx, accumulate, scratch);
}

/* ---- backward weights ------------------------------------------------------------------------------------------------------- */

/* dw (K x R S C) = dy^T (K x N P Q) times patches of x (N P Q x R S C), cut three ways: output channels into blocks_k; columns into blocks
 * of whole taps, or of channels where x is its own patch matrix; and positions into chunks. A single chunk is added to dw; of several each
 * has a partial dw, and these are joined. */
struct dw_cut {
  bool direct;                       /* patches are x itself, whose columns may be cut anywhere */
  ptrdiff_t taps_r, taps_s, columns; /* of a block of columns */
  ptrdiff_t blocks_r, blocks_s, blocks_c, blocks_k;
  ptrdiff_t chunk, chunks; /* positions in a chunk */
};

ptrdiff_t conv_chunk(const struct conv *g) {
  ptrdiff_t width = g->r * g->s * g->c, rows = g->n * g->p * g->q;
  ptrdiff_t pieces = size_ceil_div(g->k, DW_PIECE) * size_ceil_div(width, DW_PIECE);
  ptrdiff_t chunks = size_min(DW_PIECES_WANTED / pieces, size_min(rows / DW_CHUNK_LEAST, DW_PARTIAL_MOST / (g->k * width)));
  return size_ceil_div(rows, size_max(1, chunks));
}

ptrdiff_t conv_chain(const struct conv *g, int direction) {
  if (direction == 0) return g->r * g->s * g->c + 1;
  return direction == 1 ? phase_taps(g) * g->k : conv_chunk(g);
}

static struct dw_cut dw_cut_make(const struct conv *g) {
  struct dw_cut cut = {.direct = is_pointwise(g), .taps_r = g->r, .taps_s = g->s};
  if (g->r * g->s * g->c > DW_COLUMNS) cut.taps_r = 1;
  if (g->s * g->c > DW_COLUMNS) cut.taps_s = 1;
  cut.columns = cut.direct ? size_min(g->c, DW_COLUMNS) : cut.taps_r * cut.taps_s * g->c;
  cut.blocks_r = g->r / cut.taps_r;
  cut.blocks_s = g->s / cut.taps_s;
  cut.blocks_c = cut.direct ? size_ceil_div(g->c, cut.columns) : 1;
  cut.blocks_k = size_ceil_div(g->k, DW_K);

  cut.chunk = conv_chunk(g);
  cut.chunks = size_ceil_div(g->n * g->p * g->q, cut.chunk);
  return cut;
}

static ptrdiff_t partial_size(const struct conv *g, const struct dw_cut *cut) {
  return cut->chunks > 1 ? patches_line(cut->chunks * g->k * g->r * g->s * g->c) : 0;
}
/* Scratch of a thread: patches of PANEL_DEPTH positions, channels of dy, a block of dw. */
static ptrdiff_t dw_patches(const struct conv *g, const struct dw_cut *cut) {
  return patches_size(PANEL_DEPTH, cut->taps_r * cut->taps_s, g->c, false);
}
static ptrdiff_t dw_transposed(const struct conv *g) { return patches_line(panel_transposed_size(size_min(DW_K, g->k))); }
static ptrdiff_t backward_weights_slice(const struct conv *g, const struct dw_cut *cut) {
  return dw_patches(g, cut) + dw_transposed(g) + patches_line(panel_sums_size(size_min(DW_K, g->k), cut->columns));
}

/* One block of dw, or of a partial dw, over the positions of one chunk. */
static void backward_weights_item(const struct conv *g, const struct dw_cut *cut, ptrdiff_t item, const real *x, const real *dy,
                                  const real *zeros, real *out, real *patches) {
  ptrdiff_t width = g->r * g->s * g->c;
  ptrdiff_t k = item % cut->blocks_k * DW_K, rest = item / cut->blocks_k;
  ptrdiff_t c = rest % cut->blocks_c * cut->columns;
  rest /= cut->blocks_c;
  ptrdiff_t s = rest % cut->blocks_s * cut->taps_s;
  rest /= cut->blocks_s;
  ptrdiff_t r = rest % cut->blocks_r * cut->taps_r, chunk = rest / cut->blocks_r;

  ptrdiff_t from = chunk * cut->chunk, to = size_min(from + cut->chunk, g->n * g->p * g->q);
  ptrdiff_t ks = size_min(DW_K, g->k - k), columns = cut->direct ? size_min(cut->columns, g->c - c) : cut->columns;
  out += (cut->chunks == 1 ? 0 : chunk * g->k * width) + k * width + (r * g->s + s) * g->c + c;
  struct window v = window_on_x(g, r, s, cut->taps_r, cut->taps_s);
  real *transposed = patches + dw_patches(g, cut), *sums = transposed + dw_transposed(g);
  for (ptrdiff_t t = from, end; t < to; t = end) {
    end = size_min(t + PANEL_DEPTH, to);
    const struct panel_rows rows = patch_rows(&v, x + c, t, end, zeros, patches);
    panel_product_transposed(ks, columns, end - t, dy + t * g->k + k, g->k, &rows, t > from ? PANEL_GO_ON : PANEL_SET, sums, transposed);
  }
  panel_sums_add(ks, columns, sums, cut->chunks == 1, out, width);
}

/* dw += partial 0 + partial 1 + ..., in that order, in double. */
static void join(real *dw, const real *partials, ptrdiff_t size, ptrdiff_t chunks) {
#pragma omp parallel for schedule(static)
  for (ptrdiff_t from = 0; from < size; from += JOIN_BLOCK) {
    ptrdiff_t n = size_min(JOIN_BLOCK, size - from);
    double sum[JOIN_BLOCK];
    for (ptrdiff_t i = 0; i < n; i++) sum[i] = (double)dw[from + i];
    for (ptrdiff_t chunk = 0; chunk < chunks; chunk++)
      for (ptrdiff_t i = 0; i < n; i++) sum[i] += (double)partials[chunk * size + from + i];
    for (ptrdiff_t i = 0; i < n; i++) dw[from + i] = (real)sum[i];
  }
}

void conv_backward_weights(const struct conv *g, const real *x, const real *dy, real *dw, real *scratch) {
  struct dw_cut cut = dw_cut_make(g);
  ptrdiff_t items = cut.chunks * cut.blocks_r * cut.blocks_s * cut.blocks_c * cut.blocks_k, slice = backward_weights_slice(g, &cut);
  real *zeros = scratch + partial_size(g, &cut), *slices = zeros + patches_line(g->c), *out = cut.chunks == 1 ? dw : scratch;
  memset(zeros, 0, (size_t)g->c * sizeof(real));
#pragma omp parallel for schedule(dynamic)
  for (ptrdiff_t item = 0; item < items; item++)
    backward_weights_item(g, &cut, item, x, dy, zeros, out, slices + omp_get_thread_num() * slice);
  if (cut.chunks > 1) join(dw, scratch, g->k * g->r * g->s * g->c, cut.chunks);
}

/* ---- scratch ---------------------------------------------------------------------------------------------------------------- */

ptrdiff_t conv_weights_scratch(const struct conv *g, int threads) {
  struct dw_cut cut = dw_cut_make(g);
  return partial_size(g, &cut) + patches_line(g->c) + threads * backward_weights_slice(g, &cut);
}

ptrdiff_t conv_scratch(const struct conv *g, int threads) {
  ptrdiff_t forward = forward_packed(g) + patches_line(g->c) + threads * forward_slice(g);
  ptrdiff_t data = packed_size(g) + patches_line(g->k) + threads * backward_data_slice(g);
  return size_max(forward, size_max(data, conv_weights_scratch(g, threads)));
}
