/* The linear layer by cuBLASLt (cublas_product.h), in the place of the twins of linear.cu. Where cuBLASLt lists no algorithm for a shape,
 * and where a tensor is not aligned as one asks, the twin computes it. */
#include "cuda/convert.h"
#include "cuda/cublas_product.h"
#include "cuda/library.h"
#include "cuda/shared.h"

static struct backend own[CUDA_PRECISIONS]; /* the tables as they were filled with twins */

static bool is_aligned(const void *a, const void *b, const void *c, const void *d) {
  return (((uintptr_t)a | (uintptr_t)b | (uintptr_t)c | (uintptr_t)d) & 15) == 0;
}

/* y (m x o) = x (m x i) w^T, w stored as o x i. */
template <enum cuda_precision P> static const struct cublas_plan *forward_plan(const struct linear *g, bool bias) {
  struct cublas_shape s = {};
  s.precision = P, s.rows = g->m, s.columns = g->o, s.depth = g->i, s.b_transposed = true, s.bias = bias;
  return cublas_plan_of(&s, "linear_forward");
}

/* dx (m x i) = dy (m x o) w (o x i). */
template <enum cuda_precision P> static const struct cublas_plan *backward_data_plan(const struct linear *g, bool accumulate) {
  struct cublas_shape s = {};
  s.precision = P, s.rows = g->m, s.columns = g->i, s.depth = g->o, s.accumulate = accumulate;
  return cublas_plan_of(&s, "linear_backward_data");
}

/* dw (o x i) += dy^T x, dy stored as m x o. */
template <enum cuda_precision P> static const struct cublas_plan *backward_weights_plan(const struct linear *g) {
  struct cublas_shape s = {};
  s.precision = P, s.rows = g->o, s.columns = g->i, s.depth = g->m, s.a_transposed = s.float_c = s.accumulate = true;
  return cublas_plan_of(&s, "linear_backward_weights");
}

/* The room of the libraries: a workspace, then, in bf16, the bias. */
struct room {
  char *workspace;
  struct bf16 *b;
};

static struct room room_for(const struct linear *g) {
  char *memory = (char *)library_room(CUBLAS_WORKSPACE + (size_t)g->o * sizeof(struct bf16));
  if (!memory) return {};
  return {memory, (struct bf16 *)(memory + CUBLAS_WORKSPACE)};
}

/* Also makes the plans and the room of all directions: this is called when a pass is planned. What it returns is what the twins need. */
template <enum cuda_precision P> static size_t scratch_of(const struct linear *g) {
  for (int i = 0; i < 2; i++) (void)forward_plan<P>(g, i), (void)backward_data_plan<P>(g, i);
  (void)backward_weights_plan<P>(g);
  (void)room_for(g);
  return own[P].linear_scratch(g);
}

/* The bias as the plan takes it. */
template <enum cuda_precision P> static const void *plan_bias(ptrdiff_t size, const float *b, struct bf16 *to) {
  if (P != CUDA_BF16 || !b) return b;
  launch_convert(size, b, to);
  return to;
}

/* y: overwritten. b is added to the sum before that is rounded. In bf16 b is rounded first. */
template <enum cuda_precision P> static void forward(const struct linear *g, const real *x, const real *w, const real *b, real *y) {
  const struct cublas_plan *plan = is_aligned(x, w, b, y) ? forward_plan<P>(g, b) : nullptr;
  if (!plan) return own[P].linear_forward(g, x, w, b, y);
  struct room room = room_for(g);
  if (!room.workspace) return;
  cublas_run(plan, x, w, y, plan_bias<P>(g->o, b, room.b), room.workspace, "linear_forward");
  cuda_launched("linear_forward");
}

/* dx: overwritten, or added to if accumulate, and rounded once. */
template <enum cuda_precision P>
static void backward_data(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate) {
  const struct cublas_plan *plan = is_aligned(dy, w, dx, nullptr) ? backward_data_plan<P>(g, accumulate) : nullptr;
  if (!plan) return own[P].linear_backward_data(g, dy, w, dx, accumulate);
  struct room room = room_for(g);
  if (!room.workspace) return;
  cublas_run(plan, dy, w, dx, nullptr, room.workspace, "linear_backward_data");
  cuda_launched("linear_backward_data");
}

/* dw: accumulated, in float. db as the twin has it. */
template <enum cuda_precision P>
static void backward_weights(const struct linear *g, const real *x, const real *dy, real *dw, real *db, void *scratch) {
  const struct cublas_plan *plan = is_aligned(x, dy, dw, nullptr) ? backward_weights_plan<P>(g) : nullptr;
  if (!plan) return own[P].linear_backward_weights(g, x, dy, dw, db, scratch);
  struct room room = room_for(g);
  if (!room.workspace) return;
  cublas_run(plan, dy, x, dw, nullptr, room.workspace, "linear_backward_weights");
  if (db && P == CUDA_BF16) sum_rows_launch(g, activations<struct bf16>(dy), db);
  if (db && P != CUDA_BF16) sum_rows_launch(g, dy, db);
  cuda_launched("linear_backward_weights");
}

template <enum cuda_precision P> static void fill(struct backend *table) {
  own[P] = *table;
  table->linear_scratch = scratch_of<P>;
  table->conv_chain = nullptr; /* how cuBLASLt cuts its sums it does not say */
  table->linear_forward = forward<P>;
  table->linear_backward_data = backward_data<P>;
  table->linear_backward_weights = backward_weights<P>;
}

bool cuda_fill_cublas(struct backend *table, enum cuda_precision precision, struct error *err) {
  if (!cublas_open(err)) return false;
  switch (precision) {
  case CUDA_TF32: fill<CUDA_TF32>(table); break;
  case CUDA_BF16: fill<CUDA_BF16>(table); break;
  default: fill<CUDA_FP32>(table);
  }
  return true;
}
