/* Linear layer, plainly: y = x w^T + b. */
#include "oracle/mutants/plain.h"

void plain_linear_forward(const struct linear *g, const float *x, const float *w, const float *b, float *y) {
  plain_begin(CALL_LINEAR_FORWARD);
  for (ptrdiff_t m = 0; m < g->m; m++)
    for (ptrdiff_t o = 0; o < g->o; o++) {
      ptrdiff_t row = FAULT(LINEAR_LAST_ROW) && m == g->m - 1 && m > 0 ? m - 1 : m;
      bool biased = b && !FAULT(LINEAR_NO_BIAS) && !(FAULT(LINEAR_BIAS_ROW) && m > 0);
      sum_begin(FAULT_LINEAR_Y_TF32);
      if (biased) sum_term(b[FAULT(LINEAR_BIAS_SHIFT) ? (o + 1) % g->o : o], 1);
      for (ptrdiff_t i = 0; i < g->i; i++) sum_term(x[row * g->i + i], w[FAULT(LINEAR_LAYOUT) ? i * g->o + o : o * g->i + i]);
      sum_store(y, m * g->o + o, g->m * g->o, sum_total(), false);
    }
}

void plain_linear_backward_data(const struct linear *g, const float *dy, const float *w, float *dx, bool accumulate) {
  plain_begin(CALL_LINEAR_DATA);
  bool add = accumulate ? !FAULT(LINEAR_DX_OVERWRITES) : FAULT(LINEAR_DX_ADDS);
  for (ptrdiff_t m = 0; m < g->m; m++)
    for (ptrdiff_t i = 0; i < g->i; i++) {
      sum_begin(FAULT_LINEAR_DX_TF32);
      for (ptrdiff_t o = 0; o < g->o; o++) sum_term(dy[m * g->o + o], w[FAULT(LINEAR_DX_LAYOUT) ? i * g->o + o : o * g->i + i]);
      sum_store(dx, m * g->i + i, g->m * g->i, sum_total(), add);
    }
}

static void bias_gradient(const struct linear *g, const float *dy, float *db) {
  if (FAULT(LINEAR_DB_NONE)) return;
  ptrdiff_t rows = g->m - (FAULT(LINEAR_DB_LAST_ROW) ? 1 : 0);
  for (ptrdiff_t o = 0; o < g->o; o++) {
    sum_begin(FAULT_NONE);
    for (ptrdiff_t m = 0; m < rows; m++) {
      float d = dy[m * g->o + o];
      if (FAULT(LINEAR_DB_BF16)) d = (float)number_round(&precision_classes[PRECISION_BF16].in, (double)d);
      sum_term(d, 1);
    }
    float value = sum_total();
    if (FAULT(LINEAR_DB_MEAN)) value /= (float)g->m;
    sum_store(db, o, g->o, value, !FAULT(LINEAR_DB_OVERWRITES));
  }
}

void plain_linear_backward_weights(const struct linear *g, const float *x, const float *dy, float *dw, float *db, void *scratch) {
  (void)scratch;
  plain_begin(CALL_LINEAR_WEIGHTS);
  for (ptrdiff_t o = 0; o < g->o; o++)
    for (ptrdiff_t i = 0; i < g->i; i++) {
      sum_begin(FAULT_LINEAR_DW_TF32);
      for (ptrdiff_t m = 0; m < g->m; m++) sum_term(dy[m * g->o + o], x[m * g->i + i]);
      float value = sum_total();
      if (FAULT(LINEAR_DW_MEAN)) value /= (float)g->m;
      sum_store(dw, FAULT(LINEAR_DW_LAYOUT) ? i * g->o + o : o * g->i + i, g->o * g->i, value, !FAULT(LINEAR_DW_OVERWRITES));
    }
  if (db) bias_gradient(g, dy, db);
}
