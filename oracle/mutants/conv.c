/* Convolution and its gradients, plainly: y[n,p,q,k] = sum over r, s, c of x[n, p stride + r - pad, q stride + s - pad, c] w[k,r,s,c]. */
#include "oracle/mutants/plain.h"

/* One of the numbers 0 .. n-1, exchanged with its neighbour. */
static ptrdiff_t partner(ptrdiff_t i, ptrdiff_t n) { return (i ^ 1) < n ? i ^ 1 : i; }
static ptrdiff_t clamped(ptrdiff_t i, ptrdiff_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

/* x, or 0 in the padding. wrap: columns are not looked at, and those outside lie in the rows beside. */
static float pixel(const struct conv *g, const float *x, ptrdiff_t n, ptrdiff_t h, ptrdiff_t w, ptrdiff_t c, bool wrap) {
  ptrdiff_t at = (n * g->h + h) * g->w + w;
  bool inside = wrap ? at >= 0 && at < g->n * g->h * g->w && h >= 0 && h < g->h : h >= 0 && w >= 0 && h < g->h && w < g->w;
  return inside ? x[at * g->c + c] : 0;
}

static ptrdiff_t weight_at(const struct conv *g, ptrdiff_t k, ptrdiff_t r, ptrdiff_t s, ptrdiff_t c) {
  return ((k * g->r + r) * g->s + s) * g->c + c;
}

/* ---- forward ------------------------------------------------------------------------------------------------------------------------- */

static void forward_term(const struct conv *g, const float *x, const float *w, ptrdiff_t n, ptrdiff_t p, ptrdiff_t q, ptrdiff_t k,
                         ptrdiff_t r, ptrdiff_t s, ptrdiff_t c) {
  ptrdiff_t stride = FAULT(CONV_STRIDE) ? 1 : g->stride, pad = g->pad - (FAULT(CONV_PAD) ? 1 : 0);
  ptrdiff_t h = p * stride + r - pad, v = q * stride + s - pad, tr = r, ts = s;
  if (FAULT(CONV_REPLICATE)) h = clamped(h, g->h), v = clamped(v, g->w);
  if (FAULT(CONV_FLIP)) tr = g->r - 1 - r, ts = g->s - 1 - s;
  if (FAULT(CONV_SWAP)) tr = s, ts = r;
  if (FAULT(CONV_LAST_TAPS) && p == g->p - 1 && r == g->r - 1) return;
  ptrdiff_t at = FAULT(CONV_LAYOUT) ? ((k * g->c + c) * g->r + r) * g->s + s : weight_at(g, k, tr, ts, c);
  float a = pixel(g, x, FAULT(CONV_IMAGE) ? 0 : n, h, v, c, FAULT(CONV_WRAP)), b = w[at];
  sum_term(a, b);
  if (FAULT(CONV_CENTRE) && r == g->r / 2 && s == g->s / 2) sum_term(a, b);
}

void plain_conv_forward(const struct conv *g, const float *x, const float *w, float *y, void *scratch) {
  (void)scratch;
  plain_begin(CALL_CONV_FORWARD);
  struct plain_choice choice;
  plain_chosen(&choice);
  if (choice.winograd && g->r == 3 && g->s == 3 && g->stride == 1) {
    plain_conv_winograd(g, x, w, y);
    return;
  }
  ptrdiff_t total = g->n * g->p * g->q * g->k, channels = g->c - (FAULT(CONV_LAST_CHANNEL) ? 1 : 0);
  if (FAULT(CONV_HALF_TAIL)) channels = g->c / 8 * 8;
  for (ptrdiff_t n = 0; n < g->n; n++)
    for (ptrdiff_t p = 0; p < g->p; p++)
      for (ptrdiff_t q = 0; q < g->q; q++)
        for (ptrdiff_t k = 0; k < g->k; k++) {
          ptrdiff_t from_k = k, from_n = n, at = ((n * g->p + p) * g->q + q) * g->k + k;
          if (FAULT(CONV_LAST_FILTER) && k == g->k - 1 && k > 0) from_k = k - 1;
          if (FAULT(CONV_CHANNELS)) from_k = partner(k, g->k);
          if (FAULT(CONV_LAST_IMAGE) && n == g->n - 1 && n > 0) from_n = n - 1;
          sum_begin(FAULT_CONV_Y_TF32);
          for (ptrdiff_t i = 0; i < g->r * g->s * channels; i++) {
            ptrdiff_t tap = choice.columns ? i % (g->r * g->s) : i / channels, c = choice.columns ? i / (g->r * g->s) : i % channels;
            forward_term(g, x, w, from_n, p, q, from_k, tap / g->s, tap % g->s, c);
          }
          float value = sum_total();
          if (FAULT(CONV_LAST_COLUMN) && q == g->q - 1) value = 0;
          if (FAULT(CONV_TILE) && at / 16 == total / 32) value = 0;
          sum_store(y, at, total, value, FAULT(CONV_ADDS));
        }
}

/* ---- backward data ------------------------------------------------------------------------------------------------------------------- */

/* The output row p with p stride + r - pad = h, or -1. */
static ptrdiff_t output_of(ptrdiff_t h, ptrdiff_t r, ptrdiff_t pad, ptrdiff_t stride, ptrdiff_t outputs) {
  ptrdiff_t from = h + pad - r;
  if (from < 0 || from / stride >= outputs) return -1;
  if (from % stride != 0 && !FAULT(CONV_DX_PHASE)) return -1;
  return from / stride;
}

static void data_terms(const struct conv *g, const float *dy, const float *w, ptrdiff_t n, ptrdiff_t h, ptrdiff_t v, ptrdiff_t c) {
  ptrdiff_t pad = g->pad - (FAULT(CONV_DX_PAD) ? 1 : 0), filters = g->k - (FAULT(CONV_DX_LAST_FILTER) ? 1 : 0);
  ptrdiff_t columns = g->q - (FAULT(CONV_DX_EDGE) ? 1 : 0), image = FAULT(CONV_DX_IMAGE) ? 0 : n;
  for (ptrdiff_t r = 0; r < g->r; r++)
    for (ptrdiff_t s = 0; s < g->s; s++) {
      ptrdiff_t p = output_of(h, r, pad, g->stride, g->p), q = output_of(v, s, pad, g->stride, columns), tr = r, ts = s;
      if (p < 0 || q < 0) continue;
      if (FAULT(CONV_DX_FLIP)) tr = g->r - 1 - r, ts = g->s - 1 - s;
      if (FAULT(CONV_DX_SWAP)) tr = s, ts = r;
      for (ptrdiff_t k = 0; k < filters; k++) sum_term(dy[((image * g->p + p) * g->q + q) * g->k + k], w[weight_at(g, k, tr, ts, c)]);
    }
}

void plain_conv_backward_data(const struct conv *g, const float *dy, const float *w, float *dx, bool accumulate, void *scratch) {
  (void)scratch;
  plain_begin(CALL_CONV_DATA);
  bool add = accumulate ? !FAULT(CONV_DX_OVERWRITES) : FAULT(CONV_DX_ADDS);
  ptrdiff_t total = g->n * g->h * g->w * g->c;
  for (ptrdiff_t n = 0; n < g->n; n++)
    for (ptrdiff_t h = 0; h < g->h; h++)
      for (ptrdiff_t v = 0; v < g->w; v++)
        for (ptrdiff_t c = 0; c < g->c; c++) {
          sum_begin(FAULT_CONV_DX_TF32);
          data_terms(g, dy, w, n, h, v, c);
          float value = sum_total();
          if (FAULT(CONV_DX_LAST_IMAGE) && n == g->n - 1) value = 0;
          if (FAULT(CONV_DX_LAST_ROW) && h == g->h - 1) value = 0;
          sum_store(dx, ((n * g->h + h) * g->w + v) * g->c + c, total, value, add);
        }
}

/* ---- backward weights ---------------------------------------------------------------------------------------------------------------- */

static void weight_terms(const struct conv *g, const float *x, const float *dy, ptrdiff_t k, ptrdiff_t r, ptrdiff_t s, ptrdiff_t c) {
  ptrdiff_t stride = FAULT(CONV_DW_STRIDE) ? 1 : g->stride, pad = g->pad - (FAULT(CONV_DW_PAD) ? 1 : 0);
  ptrdiff_t images = g->n - (FAULT(CONV_DW_LAST_IMAGE) ? 1 : 0), rows = g->p - (FAULT(CONV_DW_LAST_ROW) ? 1 : 0);
  ptrdiff_t columns = g->q - (FAULT(CONV_DW_LAST_COLUMN) ? 1 : 0);
  for (ptrdiff_t n = 0; n < images; n++)
    for (ptrdiff_t p = 0; p < rows; p++)
      for (ptrdiff_t q = 0; q < columns; q++) {
        ptrdiff_t top = p * stride - pad, left = q * stride - pad;
        bool meets_padding = top < 0 || left < 0 || top + g->r > g->h || left + g->s > g->w;
        if (FAULT(CONV_DW_INSIDE) && meets_padding) continue;
        sum_term(dy[((n * g->p + p) * g->q + q) * g->k + k], pixel(g, x, n, top + r, left + s, c, FAULT(CONV_DW_WRAP)));
      }
}

void plain_conv_backward_weights(const struct conv *g, const float *x, const float *dy, float *dw, void *scratch) {
  (void)scratch;
  plain_begin(CALL_CONV_WEIGHTS);
  ptrdiff_t total = g->k * g->r * g->s * g->c;
  for (ptrdiff_t k = 0; k < g->k; k++)
    for (ptrdiff_t r = 0; r < g->r; r++)
      for (ptrdiff_t s = 0; s < g->s; s++)
        for (ptrdiff_t c = 0; c < g->c; c++) {
          ptrdiff_t tr = r, ts = s;
          if (FAULT(CONV_DW_SWAP)) tr = s, ts = r;
          if (FAULT(CONV_DW_FLIP)) tr = g->r - 1 - r, ts = g->s - 1 - s;
          sum_begin(FAULT_CONV_DW_TF32);
          weight_terms(g, x, dy, k, r, s, c);
          int part = sum_terms() / 4;
          if (FAULT(CONV_DW_SPLIT_LOST)) sum_drop(2 * part, 3 * part);
          if (FAULT(CONV_DW_SPLIT_TWICE)) sum_again(part, 2 * part);
          float value = sum_total();
          if (FAULT(CONV_DW_OVER_N)) value /= (float)g->n;
          sum_store(dw, weight_at(g, k, tr, ts, c), total, value, !FAULT(CONV_DW_OVERWRITES));
        }
}
