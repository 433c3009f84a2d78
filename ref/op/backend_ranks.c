#include "op/backend_ranks.h"

#include <assert.h>

#include "base/arena.h"
#include "base/size.h"

enum {
  PIECE = 1 << 22, /* reals that go through the buffer at once: enough to hide what a collective costs, 16 MiB as floats */
  VALUES = 2 * (sizeof(struct loss_values) / (2 * sizeof(double *) + sizeof(double))) /* arrays there: of every loss two, and a weight */
};

/* The table has no context: state of the process, as the device of a backend is. */
static struct {
  struct backend table;
  const struct backend *inner;
  const struct ranks *ranks;
  void *buffer;
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

/* ---- losses ------------------------------------------------------------------------------------------------------------------------- */

/* What all ranks have of an array, in the order of the ranks, at `to`. */
static void gather_into(void *to, const void *own, size_t bytes) {
  state.inner->copy((char *)to + (size_t)state.ranks->rank * bytes, own, bytes);
  state.ranks->gather(to, bytes);
}

static void ranks_loss_rdem_instance(const struct loss *g, const real *r, const real *g_target, const int32_t *neg, double scale,
                                     double *value, real *dr, void *scratch) {
  gather_into(state.buffer, g_target, (size_t)(g->b * g->n * g->c) * state.inner->activation_size);
  state.inner->loss_rdem_instance(g, r, state.buffer, neg, scale, value, dr, scratch);
}

static void ranks_loss_collect(ptrdiff_t b, const struct loss_values *v, double share, struct loss_sums *sums) {
  struct loss_values all = *v;
  const double **array[] = {&all.rdem[0], &all.rdem[1], &all.riem[0], &all.riem[1], &all.byol[0], &all.byol[1]};
  /* One that is left out would be read beyond this rank's images. */
  _Static_assert(sizeof array / sizeof array[0] == VALUES && sizeof all == VALUES * sizeof(double *) + VALUES / 2 * sizeof(double),
                 "every array of struct loss_values is gathered");
  double *to = state.buffer;
  for (int i = 0; i < VALUES; i++) {
    if (!*array[i]) continue;
    gather_into(to, *array[i], (size_t)b * sizeof *to);
    *array[i] = to;
    to += b * state.ranks->count;
  }
  state.inner->loss_collect(b * state.ranks->count, &all, share, sums);
}

/* ---- the table ---------------------------------------------------------------------------------------------------------------------- */

const struct backend *backend_ranks(const struct backend *inner, const struct ranks *ranks) {
  if (ranks->count == 1) return inner; /* and no state: runs of one process each may begin at the same time, in several threads */
  assert(inner->norm_rank_moments && inner->rank_mean);
  state.inner = inner, state.ranks = ranks;
  state.table = *inner;
  state.table.norm_scratch = ranks_norm_scratch;
  state.table.norm_forward_train = ranks_norm_forward_train;
  state.table.norm_backward_train = ranks_norm_backward_train;
  state.table.loss_rdem_instance = ranks_loss_rdem_instance;
  state.table.loss_collect = ranks_loss_collect;
  return &state.table;
}

void backend_ranks_buffer(void *buffer) { state.buffer = buffer; }

/* Slices of a piece: as long as fit the buffer, and no longer than n needs. */
static ptrdiff_t slice_reals(const struct ranks *ranks, ptrdiff_t n) { return size_max(1, size_min(PIECE, n) / ranks->count); }

size_t backend_ranks_bytes(const struct backend *inner, const struct ranks *ranks, ptrdiff_t parameters, ptrdiff_t images,
                           ptrdiff_t regions) {
  ptrdiff_t count = ranks->count;
  if (count == 1) return 0;
  size_t most = arena_bytes(size_max(slice_reals(ranks, parameters), count) * count, sizeof(real));
  size_t values = arena_bytes(VALUES * images * count, sizeof(double)), all = arena_bytes(regions * count, inner->activation_size);
  if (values > most) most = values;
  return all > most ? all : most;
}

/* ---- the gradient ------------------------------------------------------------------------------------------------------------------- */

void backend_ranks_mean(const struct backend *b, ptrdiff_t n, real *x) {
  if (b->loss_collect != ranks_loss_collect) return; /* one rank */
  assert(b == &state.table);
  const struct ranks *ranks = state.ranks;
  ptrdiff_t count = ranks->count, at = 0;
  while (n - at >= count) {
    ptrdiff_t slice = size_min(slice_reals(ranks, n), (n - at) / count);
    ranks->exchange(x + at, state.buffer, (size_t)slice * sizeof(real));
    b->rank_mean(ranks->count, slice, state.buffer, x + at + ranks->rank * slice);
    ranks->gather(x + at, (size_t)slice * sizeof(real));
    at += slice * count;
  }
  if (at == n) return; /* fewer than one a rank are left: every rank adds them up */
  gather_into(state.buffer, x + at, (size_t)(n - at) * sizeof(real));
  b->rank_mean(ranks->count, n - at, state.buffer, x + at);
}
