/* Layers: how a kernel's functions are called, and the names of what they leave. */
#include <math.h>
#include <string.h>

#include "op/conv.h"
#include "op/pool.h"
#include "oracle/kernel.h"
#include "oracle/operations.h"

enum { FORWARD, BACKWARD };

/* ---- convolution --------------------------------------------------------------------------------------------------------------------- */

enum { BACKWARD_DATA = 1, BACKWARD_WEIGHTS };

static unsigned has_conv(const ediy_oracle_kernel *k) {
  return (unsigned)(k->conv_forward != NULL) | (unsigned)(k->conv_backward_data != NULL) << 1 |
         (unsigned)(k->conv_backward_weights != NULL) << 2;
}

static void call_conv(const ediy_oracle_kernel *k, const struct make_options *o, struct kernel_memory *m) {
  struct conv c;
  if (!conv_make(&c, o->n, o->h, o->w, o->c, o->k, o->r, o->r, o->stride, o->pad, m->err)) {
    m->failed = true;
    return;
  }
  const ediy_oracle_conv g = {c.n, c.h, c.w, c.c, c.k, c.r, c.s, c.stride, c.pad, c.p, c.q};
  ptrdiff_t xs[] = {c.n, c.h, c.w, c.c}, ws[] = {c.k, c.r, c.s, c.c}, ys[] = {c.n, c.p, c.q, c.k};
  const float *x = kernel_given(m, "in.x"), *w = kernel_given(m, "param.weight"), *dy = kernel_given(m, "grad_out.y");
  float *y = k->conv_forward ? kernel_result(m, FORWARD, "out.y", 4, ys) : NULL;
  float *dx = k->conv_backward_data ? kernel_result(m, BACKWARD_DATA, "grad_in.x", 4, xs) : NULL;
  float *dw = k->conv_backward_weights ? kernel_result(m, BACKWARD_WEIGHTS, "grad_param.weight", 4, ws) : NULL;
  if (m->failed) return;
  if (y) KERNEL_CALL(m, FORWARD, k->conv_forward, k->context, &g, x, w, y);
  if (dx) KERNEL_CALL(m, BACKWARD_DATA, k->conv_backward_data, k->context, &g, dy, w, dx);
  if (dw) KERNEL_CALL(m, BACKWARD_WEIGHTS, k->conv_backward_weights, k->context, &g, x, dy, dw);
}

const struct kernel_operation kernel_conv = {
    "conv",    MAKE_CONV, " n h w c k r stride pad round ", {"conv_forward", "conv_backward_data", "conv_backward_weights"}, has_conv,
    call_conv, NULL};

/* ---- linear -------------------------------------------------------------------------------------------------------------------------- */

static unsigned has_linear(const ediy_oracle_kernel *k) {
  return (unsigned)(k->linear_forward != NULL) | (unsigned)(k->linear_backward != NULL) << 1;
}

static void call_linear(const ediy_oracle_kernel *k, const struct make_options *o, struct kernel_memory *m) {
  const ediy_oracle_linear g = {o->m, o->i, o->o};
  ptrdiff_t xs[] = {g.m, g.i}, ws[] = {g.o, g.i}, ys[] = {g.m, g.o};
  const float *x = kernel_given(m, "in.x"), *w = kernel_given(m, "param.weight"), *dy = kernel_given(m, "grad_out.y");
  const float *b = o->bias ? kernel_given(m, "param.bias") : NULL;
  float *y = k->linear_forward ? kernel_result(m, FORWARD, "out.y", 2, ys) : NULL, *dx = NULL, *dw = NULL, *db = NULL;
  if (k->linear_backward) {
    dx = kernel_result(m, BACKWARD, "grad_in.x", 2, xs), dw = kernel_result(m, BACKWARD, "grad_param.weight", 2, ws);
    db = o->bias ? kernel_result(m, BACKWARD, "grad_param.bias", 1, ws) : NULL;
  }
  if (m->failed) return;
  if (y) KERNEL_CALL(m, FORWARD, k->linear_forward, k->context, &g, x, w, b, y);
  if (dx) KERNEL_CALL(m, BACKWARD, k->linear_backward, k->context, &g, x, w, dy, dx, dw, db);
}

const struct kernel_operation kernel_linear = {
    "linear", MAKE_LINEAR, " m i o bias round ", {"linear_forward", "linear_backward"}, has_linear, call_linear, NULL};

/* ---- norm ---------------------------------------------------------------------------------------------------------------------------- */

static unsigned has_norm(const ediy_oracle_kernel *k) {
  return (unsigned)(k->norm_forward != NULL) | (unsigned)(k->norm_backward != NULL) << 1;
}

/* What a forward of ours leaves for a backward of theirs: y, and mu and 1 / sqrt(v + eps) of each column. */
static bool norm_by_reference(const struct make_options *o, struct kernel_memory *m, const ediy_oracle_norm *g) {
  const float *x = kernel_on_host(m, "in.x");
  float *y = kernel_on_host(m, "out.y"), *saved = kernel_on_host(m, "saved");
  struct case_run run = {0};
  bool ok = run_begin(&run, &m->inputs->file, m->err) && case_compute(&run, 64);
  const struct tensor *truth = ok ? run_result(&run, "out.y") : NULL;
  for (ptrdiff_t i = 0; truth && i < g->m * g->c; i++) y[i] = (float)tensor_at(truth, i);
  run_end(&run);
  const struct tensor *mean = safetensors_find(&m->inputs->file.file, "in.running_mean");
  const struct tensor *var = safetensors_find(&m->inputs->file.file, "in.running_var");
  for (ptrdiff_t c = 0; ok && c < g->c; c++) {
    double mu = 0, v = 0;
    for (ptrdiff_t i = 0; i < g->m; i++) mu += (double)x[i * g->c + c] / (double)g->m;
    for (ptrdiff_t i = 0; i < g->m; i++) v += ((double)x[i * g->c + c] - mu) * ((double)x[i * g->c + c] - mu) / (double)g->m;
    if (!o->train) mu = tensor_at(mean, c), v = tensor_at(var, c);
    saved[c] = (float)mu, saved[g->c + c] = (float)(1 / sqrt(v + g->eps));
  }
  return ok;
}

static void call_norm(const ediy_oracle_kernel *k, const struct make_options *o, struct kernel_memory *m) {
  const ediy_oracle_norm g = {o->n * o->h * o->w, o->c, (double)(float)o->eps, (double)(float)o->momentum, o->train, o->relu};
  ptrdiff_t xs[] = {o->n, o->h, o->w, o->c};
  const float *x = kernel_given(m, "in.x"), *residual = o->residual ? kernel_given(m, "in.residual") : NULL;
  const float *gamma = kernel_given(m, "param.gamma"), *beta = kernel_given(m, "param.beta"), *dy = kernel_given(m, "grad_out.y");
  float *saved = kernel_scratch(m, "saved", 2 * g.c), *mean = NULL, *var = NULL, *dx = NULL, *dresidual = NULL, *dgamma = NULL,
        *dbeta = NULL;
  float *y = k->norm_forward ? kernel_result(m, FORWARD, "out.y", 4, xs) : kernel_scratch(m, "out.y", g.m * g.c);
  if (k->norm_forward && o->train) {
    mean = kernel_updated(m, FORWARD, "in.running_mean", "out.running_mean"),
    var = kernel_updated(m, FORWARD, "in.running_var", "out.running_var");
  } else if (k->norm_forward) {
    mean = kernel_kept(m, "in.running_mean"), var = kernel_kept(m, "in.running_var");
  }
  if (k->norm_backward) {
    dx = kernel_result(m, BACKWARD, "grad_in.x", 4, xs),
    dresidual = o->residual ? kernel_result(m, BACKWARD, "grad_in.residual", 4, xs) : NULL;
    dgamma = kernel_result(m, BACKWARD, "grad_param.gamma", 1, &g.c), dbeta = kernel_result(m, BACKWARD, "grad_param.beta", 1, &g.c);
  }
  if (m->failed) return;
  if (k->norm_forward) KERNEL_CALL(m, FORWARD, k->norm_forward, k->context, &g, x, residual, gamma, beta, mean, var, y, saved);
  if (!kernel_takes(m, FORWARD)) m->declined |= 1u << BACKWARD; /* what that forward saves is its own affair */
  if (!k->norm_forward && !norm_by_reference(o, m, &g)) {
    m->failed = true;
    return;
  }
  if (dx) KERNEL_CALL(m, BACKWARD, k->norm_backward, k->context, &g, x, y, gamma, saved, dy, dx, dresidual, dgamma, dbeta);
}

const struct kernel_operation kernel_norm = {
    "norm", MAKE_NORM, " n h w c train relu residual eps momentum round ", {"norm_forward", "norm_backward"}, has_norm, call_norm, NULL};

/* ---- ReLU and pools ------------------------------------------------------------------------------------------------------------------ */

static unsigned has_relu(const ediy_oracle_kernel *k) {
  return (unsigned)(k->relu_forward != NULL) | (unsigned)(k->relu_backward != NULL) << 1;
}

static void call_relu(const ediy_oracle_kernel *k, const struct make_options *o, struct kernel_memory *m) {
  ptrdiff_t xs[] = {o->n, o->h, o->w, o->c}, size = o->n * o->h * o->w * o->c;
  const float *x = kernel_given(m, "in.x"), *dy = kernel_given(m, "grad_out.y");
  float *y = k->relu_forward ? kernel_result(m, FORWARD, "out.y", 4, xs) : NULL,
        *dx = k->relu_backward ? kernel_result(m, BACKWARD, "grad_in.x", 4, xs) : NULL;
  if (m->failed) return;
  if (y) KERNEL_CALL(m, FORWARD, k->relu_forward, k->context, size, x, y);
  if (dx) KERNEL_CALL(m, BACKWARD, k->relu_backward, k->context, size, x, dy, dx);
}

const struct kernel_operation kernel_relu = {"relu",    MAKE_RELU, " n h w c round ", {"relu_forward", "relu_backward"}, has_relu,
                                             call_relu, NULL};

static unsigned has_maxpool(const ediy_oracle_kernel *k) {
  return (unsigned)(k->maxpool_forward != NULL) | (unsigned)(k->maxpool_backward != NULL) << 1;
}

static void call_maxpool(const ediy_oracle_kernel *k, const struct make_options *o, struct kernel_memory *m) {
  const ediy_oracle_pool g = {o->n, o->h, o->w, o->c, maxpool_out(o->h), maxpool_out(o->w)};
  ptrdiff_t xs[] = {g.n, g.h, g.w, g.c}, ys[] = {g.n, g.p, g.q, g.c};
  const float *x = kernel_given(m, "in.x"), *dy = kernel_given(m, "grad_out.y");
  float *y = k->maxpool_forward ? kernel_result(m, FORWARD, "out.y", 4, ys) : NULL;
  float *dx = k->maxpool_backward ? kernel_result(m, BACKWARD, "grad_in.x", 4, xs) : NULL;
  if (m->failed) return;
  if (y) KERNEL_CALL(m, FORWARD, k->maxpool_forward, k->context, &g, x, y);
  if (dx) KERNEL_CALL(m, BACKWARD, k->maxpool_backward, k->context, &g, x, dy, dx);
}

const struct kernel_operation kernel_maxpool = {
    "maxpool", MAKE_MAXPOOL, " n h w c round ", {"maxpool_forward", "maxpool_backward"}, has_maxpool, call_maxpool, NULL};

static unsigned has_avgpool(const ediy_oracle_kernel *k) {
  return (unsigned)(k->avgpool_forward != NULL) | (unsigned)(k->avgpool_backward != NULL) << 1;
}

static void call_avgpool(const ediy_oracle_kernel *k, const struct make_options *o, struct kernel_memory *m) {
  const ediy_oracle_pool g = {o->n, o->h, o->w, o->c, 1, 1};
  ptrdiff_t xs[] = {g.n, g.h, g.w, g.c}, ys[] = {g.n, g.c};
  const float *x = kernel_given(m, "in.x"), *dy = kernel_given(m, "grad_out.y");
  float *y = k->avgpool_forward ? kernel_result(m, FORWARD, "out.y", 2, ys) : NULL;
  float *dx = k->avgpool_backward ? kernel_result(m, BACKWARD, "grad_in.x", 4, xs) : NULL;
  if (m->failed) return;
  if (y) KERNEL_CALL(m, FORWARD, k->avgpool_forward, k->context, &g, x, y);
  if (dx) KERNEL_CALL(m, BACKWARD, k->avgpool_backward, k->context, &g, dy, dx);
}

const struct kernel_operation kernel_avgpool = {
    "avgpool", MAKE_AVGPOOL, " n h w c round ", {"avgpool_forward", "avgpool_backward"}, has_avgpool, call_avgpool, NULL};
