/* Convolution and batch normalisation for outsiders. */
#include <omp.h>
#include <stdlib.h>

#include "api/outside.h"
#include "base/size.h"
#include "op/conv.h"
#include "op/norm.h"

/* ---- convolution -------------------------------------------------------------------------------------------------------------------- */

#if EDIY_REAL_BITS == 32 /* independent of real: once is enough */
EDIY_API ptrdiff_t ediy_conv_out(ptrdiff_t size, ptrdiff_t kernel, ptrdiff_t stride, ptrdiff_t pad) {
  if (size < 1 || kernel < 1 || stride < 1 || pad < 0 || pad > (PTRDIFF_MAX - size) / 2 || kernel > size + 2 * pad) return 0;
  return (size + 2 * pad - kernel) / stride + 1;
}
#endif

/* The shape, checked, and scratch for the threads of now. */
static bool conv_begin(const char *what, const ediy_conv *o, bool arrays, struct conv *g, real **scratch, struct error *err) {
  if (!o || !arrays) return fail(err, "%s: an argument is null", what);
  if (!conv_make(g, o->n, o->h, o->w, o->c, o->k, o->r, o->s, o->stride, o->pad, err)) return fail_within(err, "%s", what);
  ptrdiff_t size = conv_scratch(g, omp_get_max_threads());
  *scratch = malloc((size_t)(size + 1) * sizeof **scratch);
  return *scratch || fail(err, "%s: out of memory for %.3f GB of scratch", what, (double)size * sizeof **scratch / 1e9);
}

EDIY_API bool REAL_NAME(ediy_conv_forward)(const ediy_conv *shape, const real *x, const real *w, real *y, ediy_error *err) {
  struct error inner = {.text = ""};
  struct conv g;
  real *scratch = NULL;
  bool ok = conv_begin("ediy_conv_forward", shape, x && w && y, &g, &scratch, &inner);
  if (ok) conv_forward(&g, x, w, y, scratch);
  free(scratch);
  return outside(ok, &inner, err);
}

EDIY_API bool REAL_NAME(ediy_conv_backward_data)(const ediy_conv *shape, const real *dy, const real *w, real *dx, ediy_error *err) {
  struct error inner = {.text = ""};
  struct conv g;
  real *scratch = NULL;
  bool ok = conv_begin("ediy_conv_backward_data", shape, dy && w && dx, &g, &scratch, &inner);
  if (ok) conv_backward_data(&g, dy, w, dx, false, scratch);
  free(scratch);
  return outside(ok, &inner, err);
}

EDIY_API bool REAL_NAME(ediy_conv_backward_weights)(const ediy_conv *shape, const real *x, const real *dy, real *dw, ediy_error *err) {
  struct error inner = {.text = ""};
  struct conv g;
  real *scratch = NULL;
  bool ok = conv_begin("ediy_conv_backward_weights", shape, x && dy && dw, &g, &scratch, &inner);
  if (ok) conv_backward_weights(&g, x, dy, dw, scratch);
  free(scratch);
  return outside(ok, &inner, err);
}

/* ---- batch normalisation ------------------------------------------------------------------------------------------------------------ */

static bool norm_begin(const char *what, const ediy_norm *o, bool arrays, struct norm *g, double **scratch, struct error *err) {
  ptrdiff_t bytes;
  if (!o || !arrays) return fail(err, "%s: an argument is null", what);
  if (o->m < 1 || o->c < 1 || !size_product(o->m, o->c, 8 * (ptrdiff_t)sizeof(double), 1, &bytes))
    return fail(err, "%s: %td rows of %td channels; both must be at least 1, and fit into memory", what, o->m, o->c);
  if (!(o->eps >= 0)) return fail(err, "%s: eps is %g; it must be 0 or more", what, o->eps);
  *g = (struct norm){.m = o->m, .c = o->c, .eps = o->eps, .momentum = o->momentum, .relu = o->relu};
  ptrdiff_t size = norm_scratch(g);
  *scratch = malloc((size_t)(size + 1) * sizeof **scratch);
  return *scratch || fail(err, "%s: out of memory for %.3f GB of scratch", what, (double)size * sizeof **scratch / 1e9);
}

EDIY_API bool REAL_NAME(ediy_norm_forward)(const ediy_norm *shape, const real *x, const real *residual, const real *gamma, const real *beta,
                                           real *running_mean, real *running_var, real *y, double *mean, double *invstd, ediy_error *err) {
  struct error inner = {.text = ""};
  struct norm g;
  double *scratch = NULL;
  bool arrays = x && gamma && beta && running_mean && running_var && y && mean && invstd;
  bool ok = norm_begin("ediy_norm_forward", shape, arrays, &g, &scratch, &inner);
  if (ok && !(g.momentum >= 0 && g.momentum <= 1))
    ok = fail(&inner, "ediy_norm_forward: momentum is %g; it must be from 0 to 1", g.momentum);
  if (ok) norm_forward_train(&g, x, residual, gamma, beta, running_mean, running_var, y, mean, invstd, scratch);
  free(scratch);
  return outside(ok, &inner, err);
}

EDIY_API bool REAL_NAME(ediy_norm_backward)(const ediy_norm *shape, const real *x, const real *y, const real *gamma, const double *mean,
                                            const double *invstd, const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta,
                                            ediy_error *err) {
  struct error inner = {.text = ""};
  struct norm g;
  double *scratch = NULL;
  bool arrays = x && gamma && mean && invstd && dy && dx && dgamma && dbeta && (y || (shape && !shape->relu));
  bool ok = norm_begin("ediy_norm_backward", shape, arrays, &g, &scratch, &inner);
  if (ok) norm_backward_train(&g, x, y, gamma, mean, invstd, dy, dx, dresidual, dgamma, dbeta, scratch);
  free(scratch);
  return outside(ok, &inner, err);
}
