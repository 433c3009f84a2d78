/* Max pool 3x3/2 with padding 1, and the global average, plainly. */
#include <math.h>

#include "oracle/mutants/plain.h"

/* ---- maximum ------------------------------------------------------------------------------------------------------------------------- */

/* Whether v takes the place of the best so far; NaN is the largest value. */
static bool beats(float v, float best) {
  if (FAULT(MAXPOOL_LAST_TIE) && v == best) return true;
  return v > best || (v != v && best == best);
}

/* The window at (p, q) of one channel of a plane: its largest value, and where. */
static float window(const struct pool *g, const float *plane, ptrdiff_t p, ptrdiff_t q, ptrdiff_t c, int32_t *index) {
  ptrdiff_t offset = FAULT(MAXPOOL_NO_OFFSET) ? 0 : 1, size = FAULT(MAXPOOL_SMALL) ? 2 : 3,
            width = g->w - (FAULT(MAXPOOL_LAST_COLUMN) ? 1 : 0);
  float best = -INFINITY, sum = 0;
  bool found = false;
  int cells = 0;
  *index = 0;
  if (FAULT(MAXPOOL_FROM_ZERO)) best = 0, found = true;
  for (ptrdiff_t r = 0; r < size; r++)
    for (ptrdiff_t s = 0; s < size; s++) {
      ptrdiff_t h = 2 * p - offset + r, w = 2 * q - offset + s;
      bool inside = h >= 0 && w >= 0 && h < g->h && w < width;
      if (!inside && !FAULT(MAXPOOL_ZERO)) continue;
      float v = inside ? plain_in(plane[(h * g->w + w) * g->c + c]) : 0;
      sum += v;
      cells++;
      if (found && !beats(v, best)) continue;
      found = true;
      best = v;
      *index = (int32_t)(FAULT(MAXPOOL_INDEX_SWAP) ? w * g->h + h : FAULT(MAXPOOL_INDEX_WINDOW) ? r * size + s : h * g->w + w);
    }
  if (*index < 0 || *index >= g->h * g->w) *index = 0; /* the padding won: a kernel would write there, and crash */
  return FAULT(MAXPOOL_MEAN) ? sum / (float)cells : best;
}

void plain_maxpool_forward(const struct pool *g, const float *x, float *y, int32_t *index) {
  plain_begin(CALL_MAXPOOL);
  ptrdiff_t ph = maxpool_out(g->h), pw = maxpool_out(g->w), at = 0;
  for (ptrdiff_t n = 0; n < g->n; n++)
    for (ptrdiff_t p = 0; p < ph; p++)
      for (ptrdiff_t q = 0; q < pw; q++)
        for (ptrdiff_t c = 0; c < g->c; c++, at++) {
          int32_t winner;
          y[at] = plain_out(window(g, x + n * g->h * g->w * g->c, p, q, c, &winner));
          if (index) index[at] = winner;
        }
}

void plain_maxpool_backward(const struct pool *g, const float *dy, const int32_t *index, float *dx) {
  plain_begin(CALL_MAXPOOL_BACKWARD);
  ptrdiff_t ph = maxpool_out(g->h), pw = maxpool_out(g->w), cells = g->h * g->w;
  ptrdiff_t images = g->n - (FAULT(MAXPOOL_DX_LAST) ? 1 : 0), rows = ph - (FAULT(MAXPOOL_DX_ROW) ? 1 : 0);
  for (ptrdiff_t i = 0; i < g->n * cells * g->c && !FAULT(MAXPOOL_DX_ADDS); i++) dx[i] = 0;
  for (ptrdiff_t n = 0; n < images; n++)
    for (ptrdiff_t p = 0; p < rows; p++)
      for (ptrdiff_t q = 0; q < pw; q++)
        for (ptrdiff_t c = 0; c < g->c; c++) {
          ptrdiff_t from = ((n * ph + p) * pw + q) * g->c, to = (n * cells + index[from + (FAULT(MAXPOOL_DX_CHANNEL) ? 0 : c)]) * g->c + c;
          float d = plain_in(dy[from + c]);
          dx[to] = FAULT(MAXPOOL_DX_OVERWRITES) ? d : dx[to] + d;
        }
  for (ptrdiff_t i = 0; i < g->n * cells * g->c; i++) dx[i] = plain_out(dx[i]);
}

/* ---- average ------------------------------------------------------------------------------------------------------------------------- */

void plain_avgpool_forward(const struct pool *g, const float *x, float *y) {
  plain_begin(CALL_AVGPOOL);
  ptrdiff_t cells = g->h * g->w, read = cells - (FAULT(AVGPOOL_LAST) ? 1 : 0);
  for (ptrdiff_t n = 0; n < g->n; n++)
    for (ptrdiff_t c = 0; c < g->c; c++) {
      float most = -INFINITY, divisor = (float)(FAULT(AVGPOOL_LESS) && cells > 1 ? cells - 1 : cells);
      sum_begin(FAULT_NONE);
      for (ptrdiff_t i = 0; i < read; i++) {
        float v = x[((FAULT(AVGPOOL_IMAGE) ? 0 : n) * cells + i) * g->c + c];
        if (FAULT(AVGPOOL_BF16)) v = (float)number_round(&precision_classes[PRECISION_BF16].in, (double)v);
        if (FAULT(AVGPOOL_TF32)) v = (float)number_round(&precision_classes[PRECISION_TF32].in, (double)v);
        if (v > most) most = v;
        sum_term(v, 1);
      }
      float mean = sum_total() / (FAULT(AVGPOOL_SUM) ? 1 : divisor);
      y[n * g->c + c] = plain_out(FAULT(AVGPOOL_MAX) ? most : mean);
    }
}

void plain_avgpool_backward(const struct pool *g, const float *dy, float *dx, bool accumulate) {
  plain_begin(CALL_AVGPOOL_BACKWARD);
  ptrdiff_t cells = g->h * g->w;
  bool add = accumulate ? !FAULT(AVGPOOL_DX_OVERWRITES) : FAULT(AVGPOOL_DX_ADDS);
  for (ptrdiff_t n = 0; n < g->n; n++)
    for (ptrdiff_t i = 0; i < cells; i++)
      for (ptrdiff_t c = 0; c < g->c; c++) {
        float *to = &dx[(n * cells + i) * g->c + c], divisor = (float)(FAULT(AVGPOOL_DX_LESS) && cells > 1 ? cells - 1 : cells);
        float d = plain_in(dy[n * g->c + c]) / (FAULT(AVGPOOL_DX_WHOLE) ? 1 : divisor);
        if (FAULT(AVGPOOL_DX_LAST) && i == cells - 1) d = 0;
        if (FAULT(AVGPOOL_DX_FACTOR)) d *= 1.00001f;
        *to = plain_out(add ? plain_in(*to) + d : d);
      }
}
