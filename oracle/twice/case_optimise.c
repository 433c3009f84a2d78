/* Cases of what an optimisation step ends with: LARS, the moving average, and the schedules of both. */
#include <string.h>

#include "op/lars.h"
#include "oracle/operations.h"
#include "train/schedule.h"

/* Copies n reals. */
static void copy(real *to, const real *from, ptrdiff_t n) { memcpy(to, from, (size_t)n * sizeof(real)); }

/* One parameter through all steps; name: without "param." */
static bool lars_parameter(struct case_run *run, const struct lars *o, ptrdiff_t steps, const double *lr, const char *name) {
  int ndim;
  const ptrdiff_t *shape;
  ptrdiff_t s[TENSOR_MAX_DIMS], size = 1;
  const real *w0, *m0, *g;
  if (!(w0 = run_input_any(run, REAL_DTYPE, &ndim, &shape, "param.%s", name))) return false;
  for (int d = 0; d < ndim; d++) size *= s[d] = shape[d];
  real *w = run_scratch(run, REAL_DTYPE, size), *m = run_scratch(run, REAL_DTYPE, size);
  if (!w || !m || !(m0 = run_input(run, REAL_DTYPE, ndim, s, "in.momentum.%s", name))) return false;
  copy(w, w0, size);
  copy(m, m0, size);
  bool adapt = strncmp(name, "weight.", strlen("weight.")) == 0;
  for (ptrdiff_t k = 0; k < steps; k++) {
    real *w_after, *m_after;
    if (!(g = run_input(run, REAL_DTYPE, ndim, s, "in.grad.%td.%s", k, name)) ||
        !(w_after = run_output(run, REAL_DTYPE, ndim, s, "out.param.%td.%s", k, name)) ||
        !(m_after = run_output(run, REAL_DTYPE, ndim, s, "out.momentum.%td.%s", k, name))) {
      return false;
    }
    lars_update(o, size, adapt, lr[k], g, w, m);
    copy(w_after, w, size);
    copy(m_after, m, size);
  }
  return true;
}

bool REAL_NAME(case_lars)(struct case_run *run) {
  static const char *const variants[] = {"byol", "openselfsup"};
  struct lars o;
  int variant;
  ptrdiff_t steps;
  const double *lr;
  if (!case_choice(run->file, "variant", variants, 2, &variant, run->err) || !case_number(run->file, "trust", &o.trust, run->err) ||
      !case_number(run->file, "momentum", &o.momentum, run->err) || !case_number(run->file, "weight_decay", &o.weight_decay, run->err) ||
      !case_integer(run->file, "steps", 1, PTRDIFF_MAX, &steps, run->err) || !(lr = run_input(run, DTYPE_F64, 1, &steps, "in.lr"))) {
    return false;
  }
  o.variant = variant == 1 ? LARS_OPENSELFSUP : LARS_BYOL;
  for (int i = 0; i < run->file->file.count; i++) {
    const char *name = run->file->file.tensor[i].name;
    if (strncmp(name, "param.", 6) == 0 && !lars_parameter(run, &o, steps, lr, name + 6)) return false;
  }
  return true;
}

bool REAL_NAME(case_ema)(struct case_run *run) {
  ptrdiff_t steps = -1;
  const double *tau = run_input(run, DTYPE_F64, 1, &steps, "in.tau");
  if (!tau) return false;
  for (int i = 0; run_has(run, "in.target.%d", i); i++) {
    int ndim;
    const ptrdiff_t *shape;
    ptrdiff_t s[TENSOR_MAX_DIMS], size = 1;
    const real *xi0 = run_input_any(run, REAL_DTYPE, &ndim, &shape, "in.target.%d", i), *theta;
    if (!xi0) return false;
    for (int d = 0; d < ndim; d++) size *= s[d] = shape[d];
    real *xi = run_scratch(run, REAL_DTYPE, size), *after;
    if (!xi) return false;
    copy(xi, xi0, size);
    for (ptrdiff_t k = 0; k < steps; k++) {
      if (!(theta = run_input(run, REAL_DTYPE, ndim, s, "in.online.%td.%d", k, i)) ||
          !(after = run_output(run, REAL_DTYPE, ndim, s, "out.target.%td.%d", k, i))) {
        return false;
      }
      ema_update(size, tau[k], theta, xi);
      copy(after, xi, size);
    }
  }
  return true;
}

/* The schedules are computed in double whatever the precision of the networks. */
bool REAL_NAME(case_schedule)(struct case_run *run) {
  const ptrdiff_t limit = 1 << 24;
  double base_lr, tau0;
  ptrdiff_t batch, warmup, epochs, steps_per_epoch, count = -1;
  const int32_t *step;
  if (!case_number(run->file, "base_lr", &base_lr, run->err) || !case_number(run->file, "tau0", &tau0, run->err) ||
      !case_integer(run->file, "batch", 1, limit, &batch, run->err) ||
      !case_integer(run->file, "warmup_epochs", 0, limit, &warmup, run->err) ||
      !case_integer(run->file, "epochs", 1, limit, &epochs, run->err) ||
      !case_integer(run->file, "steps_per_epoch", 1, limit, &steps_per_epoch, run->err)) {
    return false;
  }
  struct schedule s = schedule_make(base_lr, batch, warmup, epochs, steps_per_epoch, tau0);
  if (!(step = run_indices(run, s.steps + 1, 1, &count, "in.step"))) return false;
  double *lr = run_output(run, DTYPE_F64, 1, &count, "out.lr"), *tau = run_output(run, DTYPE_F64, 1, &count, "out.tau");
  if (!lr || !tau) return false;
  for (ptrdiff_t i = 0; i < count; i++) {
    lr[i] = schedule_lr(&s, step[i]);
    tau[i] = schedule_tau(&s, step[i]);
  }
  return true;
}
