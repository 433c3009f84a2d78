#include "op/backend_ranks.h"

#include <assert.h>

#include "base/arena.h"
#include "base/size.h"

enum { PIECE = 1 << 22 }; /* reals that go through the buffer at once: many enough to hide what a collective costs, 16 MiB as floats */

/* The table has no context: state of the process, as the device of a backend is. */
static struct {
  struct backend table;
  const struct backend *inner;
  const struct ranks *ranks;
  bool instance;
} state;

/* ---- batch norm --------------------------------------------------------------------------------------------------------------------- */

/* The sums of all ranks stand in front of the inner operation's own scratch. */
static size_t sums_bytes(const struct norm *g) { return arena_bytes(2 * state.ranks->count * g->c, sizeof(double)); }

static size_t ranks_norm_scratch(const struct norm *g) { return sums_bytes(g) + state.inner->norm_scratch(g); }

static double *own_sums(const struct norm *g, void *scratch) { return (double *)scratch + 2 * state.ranks->rank * g->c; }

static void gather_sums(const struct norm *g, void *scratch) { state.ranks->gather(scratch, 2 * (size_t)g->c * sizeof(double)); }

static void ranks_norm_forward_train(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                                     real *running_mean, real *running_var, real *y, double *mean, double *invstd, void *scratch) {
  state.inner->norm_rank_moments(g, x, own_sums(g, scratch), (char *)scratch + sums_bytes(g));
  gather_sums(g, scratch);
  state.inner->norm_rank_forward(g, state.ranks->count, scratch, x, residual, gamma, beta, running_mean, running_var, y, mean, invstd);
}

static void ranks_norm_backward_train(const struct norm *g, const real *x, const real *y, const real *gamma, const double *mean,
                                      const double *invstd, const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta,
                                      void *scratch) {
  void *inner_scratch = (char *)scratch + sums_bytes(g);
  state.inner->norm_rank_gradient(g, x, y, mean, invstd, dy, dgamma, dbeta, own_sums(g, scratch), inner_scratch);
  gather_sums(g, scratch);
  state.inner->norm_rank_backward(g, state.ranks->count, scratch, x, y, gamma, mean, invstd, dy, dx, dresidual, inner_scratch);
}

/* ---- R-DEM against another image ---------------------------------------------------------------------------------------------------- */

static size_t regions_bytes(const struct loss *g) { return (size_t)(g->b * g->n * g->c) * state.inner->activation_size; }

static size_t all_regions_bytes(const struct loss *g) { return state.instance ? arena_bytes(state.ranks->count, regions_bytes(g)) : 0; }

static size_t ranks_loss_scratch(const struct loss *g) { return all_regions_bytes(g) + state.inner->loss_scratch(g); }

static void ranks_loss_rdem_instance(const struct loss *g, const real *r, const real *g_target, const int32_t *neg, double scale,
                                     double *value, real *dr, void *scratch) {
  size_t bytes = regions_bytes(g);
  assert(state.instance);
  state.inner->copy((char *)scratch + (size_t)state.ranks->rank * bytes, g_target, bytes);
  state.ranks->gather(scratch, bytes);
  state.inner->loss_rdem_instance(g, r, scratch, neg, scale, value, dr, (char *)scratch + all_regions_bytes(g));
}

const struct backend *backend_ranks(const struct backend *inner, const struct ranks *ranks, bool instance) {
  if (ranks->count == 1) return inner;
  assert(inner->norm_rank_moments && inner->rank_sum);
  state.inner = inner, state.ranks = ranks, state.instance = instance;
  state.table = *inner;
  state.table.norm_scratch = ranks_norm_scratch;
  state.table.loss_scratch = ranks_loss_scratch;
  state.table.norm_forward_train = ranks_norm_forward_train;
  state.table.norm_backward_train = ranks_norm_backward_train;
  state.table.loss_rdem_instance = ranks_loss_rdem_instance;
  return &state.table;
}

/* ---- the gradient ------------------------------------------------------------------------------------------------------------------- */

/* Slices of a piece: as long as fit the buffer, and no longer than n needs. */
static ptrdiff_t slice_reals(const struct ranks *ranks, ptrdiff_t n) { return size_max(1, size_min(PIECE, n) / ranks->count); }

size_t backend_ranks_sum_bytes(const struct ranks *ranks, ptrdiff_t n) {
  return arena_bytes(size_max(slice_reals(ranks, n), ranks->count) * ranks->count, sizeof(real));
}

void backend_ranks_sum(const struct backend *inner, const struct ranks *ranks, ptrdiff_t n, real *x, void *buffer) {
  ptrdiff_t count = ranks->count, at = 0;
  if (count == 1) return;
  while (n - at >= count) {
    ptrdiff_t slice = size_min(slice_reals(ranks, n), (n - at) / count);
    ranks->exchange(x + at, buffer, (size_t)slice * sizeof(real));
    inner->rank_sum(ranks->count, slice, buffer, x + at + ranks->rank * slice);
    ranks->gather(x + at, (size_t)slice * sizeof(real));
    at += slice * count;
  }
  if (at == n) return; /* fewer than one a rank are left: every rank adds them up */
  size_t bytes = (size_t)(n - at) * sizeof(real);
  inner->copy((char *)buffer + (size_t)ranks->rank * bytes, x + at, bytes);
  ranks->gather(buffer, bytes);
  inner->rank_sum(ranks->count, n - at, buffer, x + at);
}
