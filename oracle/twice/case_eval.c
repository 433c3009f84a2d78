/* Cases of evaluation: k nearest neighbours, the softmax regression of linear evaluation, the diagnostics of collapse. */
#include <limits.h>
#include <omp.h>
#include <string.h>

#include "eval/collapse.h"
#include "eval/knn.h"
#include "eval/softmax.h"
#include "oracle/operations.h"

bool REAL_NAME(case_knn)(struct case_run *run) {
  ptrdiff_t bank_shape[2] = {-1, -1}, query_shape[2] = {-1, -1}, classes;
  double temperature;
  struct knn g;
  const real *bank, *query;
  const int32_t *label;
  if (!(bank = run_input(run, REAL_DTYPE, 2, bank_shape, "in.bank"))) return false;
  g.m = bank_shape[0], g.d = query_shape[1] = bank_shape[1];
  if (!(query = run_input(run, REAL_DTYPE, 2, query_shape, "in.query")) || !case_integer(run->file, "k", 1, g.m, &g.k, run->err) ||
      !case_integer(run->file, "classes", 1, INT_MAX, &classes, run->err) ||
      !case_number(run->file, "temperature", &temperature, run->err) || !(label = run_indices(run, classes, 1, &g.m, "in.bank_label"))) {
    return false;
  }
  g.q = query_shape[0];
  ptrdiff_t near[2] = {g.q, g.k}, all[2] = {g.q, classes};
  int32_t *neighbour = run_output(run, DTYPE_I32, 2, near, "out.neighbour");
  double *similarity = run_output(run, DTYPE_F64, 2, near, "out.similarity"), *votes = run_output(run, DTYPE_F64, 2, all, "out.votes");
  int32_t *prediction = run_output(run, DTYPE_I32, 1, &g.q, "out.prediction");
  return neighbour && similarity && votes && prediction && knn_search(&g, bank, query, neighbour, similarity, run->err) &&
         knn_vote(&g, g.k, (int)classes, temperature, label, neighbour, similarity, votes, prediction, run->err);
}

bool REAL_NAME(case_linear_eval)(struct case_run *run) {
  ptrdiff_t steps, xs[3] = {-1, -1, -1}, ws[2] = {-1, -1};
  double momentum, decay;
  bool nesterov;
  const real *x, *w0, *b0;
  const double *lr;
  const int32_t *label;
  if (!case_integer(run->file, "steps", 1, PTRDIFF_MAX, &steps, run->err) ||
      !case_integer(run->file, "classes", 1, PTRDIFF_MAX, &ws[0], run->err) || !case_number(run->file, "momentum", &momentum, run->err) ||
      !case_number(run->file, "weight_decay", &decay, run->err) || !case_flag(run->file, "nesterov", &nesterov, run->err)) {
    return false;
  }
  if (!nesterov || decay != 0)
    return fail(run->err, "%s: linear evaluation is with Nesterov momentum and without decay", run->file->file.path);
  xs[0] = steps;
  if (!(x = run_input(run, REAL_DTYPE, 3, xs, "in.x"))) return false;
  struct softmax_shape g = {.rows = xs[1], .d = xs[2], .c = ws[0]};
  ws[1] = g.d;
  if (!(label = run_indices(run, g.c, 2, xs, "in.label")) || !(lr = run_input(run, DTYPE_F64, 1, &steps, "in.lr")) ||
      !(w0 = run_input(run, REAL_DTYPE, 2, ws, "param.weight")) || !(b0 = run_input(run, REAL_DTYPE, 1, &g.c, "param.bias"))) {
    return false;
  }
  double *loss = run_output(run, DTYPE_F64, 1, &steps, "out.loss"), *row_loss = run_scratch(run, DTYPE_F64, g.rows);
  real *w_after = run_output(run, REAL_DTYPE, 3, (ptrdiff_t[]){steps, g.c, g.d}, "out.weight");
  real *b_after = run_output(run, REAL_DTYPE, 2, (ptrdiff_t[]){steps, g.c}, "out.bias");
  ptrdiff_t n = g.c * g.d;
  real *w = run_scratch(run, REAL_DTYPE, n), *dw = run_scratch(run, REAL_DTYPE, n), *mw = run_scratch(run, REAL_DTYPE, n);
  real *b = run_scratch(run, REAL_DTYPE, g.c), *db = run_scratch(run, REAL_DTYPE, g.c), *mb = run_scratch(run, REAL_DTYPE, g.c);
  real *scratch = run_scratch(run, REAL_DTYPE, softmax_scratch(&g, omp_get_max_threads()));
  if (!loss || !row_loss || !w_after || !b_after || !w || !dw || !mw || !b || !db || !mb || !scratch) return false;
  memcpy(w, w0, (size_t)n * sizeof(real));
  memcpy(b, b0, (size_t)g.c * sizeof(real));
  memset(mw, 0, (size_t)n * sizeof(real));
  memset(mb, 0, (size_t)g.c * sizeof(real));
  for (ptrdiff_t k = 0; k < steps; k++) {
    loss[k] = softmax_loss(&g, x + k * g.rows * g.d, label + k * g.rows, w, b, dw, db, scratch, row_loss);
    nesterov_step(n, lr[k], momentum, dw, mw, w);
    nesterov_step(g.c, lr[k], momentum, db, mb, b);
    memcpy(w_after + k * n, w, (size_t)n * sizeof(real));
    memcpy(b_after + k * g.c, b, (size_t)g.c * sizeof(real));
  }
  return true;
}

bool REAL_NAME(case_collapse)(struct case_run *run) {
  ptrdiff_t fs[2] = {-1, -1}, rs[3] = {-1, -1, -1}, is[2] = {-1, -1};
  const real *features, *regions;
  const int32_t *index;
  if (!(features = run_input(run, REAL_DTYPE, 2, fs, "in.features")) || !(regions = run_input(run, REAL_DTYPE, 3, rs, "in.regions"))) {
    return false;
  }
  is[1] = rs[1];
  if (!(index = run_indices(run, rs[1], 2, is, "in.index"))) return false;
  ptrdiff_t rows = fs[0] > rs[1] ? fs[0] : rs[1], columns = fs[1] > rs[2] ? fs[1] : rs[2];
  double *scratch = run_scratch(run, DTYPE_F64, collapse_scratch(rows, columns));
  double *std = run_output(run, DTYPE_F64, 1, &fs[1], "out.std"), *std_mean = run_output(run, DTYPE_F64, 0, fs, "out.std_mean");
  double *cosine_image = run_output(run, DTYPE_F64, 1, &rs[0], "out.region_cosine_image");
  double *cosine = run_output(run, DTYPE_F64, 0, rs, "out.region_cosine");
  double *entropy_image = run_output(run, DTYPE_F64, 1, &is[0], "out.entropy_image");
  double *entropy = run_output(run, DTYPE_F64, 0, is, "out.entropy");
  if (!scratch || !std || !std_mean || !cosine_image || !cosine || !entropy_image || !entropy) return false;
  *std_mean = collapse_std(fs[0], fs[1], features, std, scratch);
  *cosine = collapse_cosine(rs[0], rs[1], rs[2], regions, cosine_image, scratch);
  *entropy = collapse_entropy(is[0], is[1], index, entropy_image, scratch);
  return true;
}
