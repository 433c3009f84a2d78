/* The graph API of cuDNN: descriptors of one convolution, the choice of an engine, its execution. See cudnn_graph.h. */
#include "cuda/cudnn_graph.h"

#if __has_include(<cudnn.h>)
#include <cudnn.h>
#define HAS_CUDNN
#endif

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/library.h"

#ifndef HAS_CUDNN

bool cudnn_open(struct error *err) {
  return fail(err, "cuda.conv=cudnn: this program was built without cuDNN; build it where cudnn.h is, or use cuda.conv=own");
}
const struct cudnn_plan *cudnn_plan_of(const struct conv *, enum conv_direction, enum cuda_precision, bool) { return nullptr; }
size_t cudnn_workspace(const struct cudnn_plan *) { return 0; }
void cudnn_run(const struct cudnn_plan *, const void *, const void *, const void *, void *) {}

#else

/* ---- the library --------------------------------------------------------------------------------------------------------------------- */

#define NAME_OF(x) #x
#define FILE_OF(major) "libcudnn.so." NAME_OF(major)
static const char LIBRARY[] = FILE_OF(CUDNN_MAJOR);

#define FUNCTIONS(F)                                                                                                                       \
  F(cudnnCreate)                                                                                                                           \
  F(cudnnSetStream)                                                                                                                        \
  F(cudnnGetErrorString)                                                                                                                   \
  F(cudnnGetLastErrorString)                                                                                                               \
  F(cudnnBackendCreateDescriptor)                                                                                                          \
  F(cudnnBackendDestroyDescriptor)                                                                                                         \
  F(cudnnBackendSetAttribute)                                                                                                              \
  F(cudnnBackendGetAttribute)                                                                                                              \
  F(cudnnBackendFinalize)                                                                                                                  \
  F(cudnnBackendExecute)

static struct {
#define MEMBER(name) decltype(&::name) name;
  FUNCTIONS(MEMBER)
#undef MEMBER
  cudnnHandle_t handle; /* null: not open */
} dnn;

enum { WHY_BYTES = 200 };

/* The status in words, with what cuDNN says of the last error where it says something. */
static void explain(cudnnStatus_t status, char *why) {
  char last[WHY_BYTES] = "";
  dnn.cudnnGetLastErrorString(last, sizeof last);
  for (char *p = last; *p; p++)
    if (*p == '\n') *p = ' ';
  snprintf(why, WHY_BYTES, "%s%s%.120s", dnn.cudnnGetErrorString(status), last[0] ? ": " : "", last);
}

bool cudnn_open(struct error *err) {
  if (dnn.handle) return true;
  void *library = library_open("cuda.conv=cudnn", LIBRARY, "EDIY_CUDNN", err);
  if (!library) return false;
#define FIND(name)                                                                                                                         \
  if (!(dnn.name = (decltype(&::name))library_function(library, LIBRARY, #name, err))) return false;
  FUNCTIONS(FIND)
#undef FIND
  char why[WHY_BYTES];
  cudnnStatus_t status = dnn.cudnnCreate(&dnn.handle);
  if (status == CUDNN_STATUS_SUCCESS) status = dnn.cudnnSetStream(dnn.handle, cuda_stream());
  if (status == CUDNN_STATUS_SUCCESS) return true;
  explain(status, why);
  dnn.handle = nullptr;
  return fail(err, "cuda.conv=cudnn: opening cuDNN: %s", why);
}

/* ---- descriptors --------------------------------------------------------------------------------------------------------------------- */

typedef cudnnBackendDescriptor_t descriptor;

/* A plan may refer to what it was made from, as cuDNN does not say otherwise: that stays as long as the plan, which is to the end of the
 * process. */
enum { MOST_PARTS = 16 };

struct cudnn_plan {
  struct cudnn_plan *next;
  struct conv g;
  enum conv_direction direction;
  enum cuda_precision precision;
  bool accumulate;
  descriptor plan; /* null: there is none */
  descriptor part[MOST_PARTS];
  int parts;
  size_t workspace;
};

static const char *const operation_name[CONV_DIRECTIONS] = {"conv_forward", "conv_backward_data", "conv_backward_weights"};

/* A line of calls: ok is false from the first that fails on. A failure is kept under the operation's name; not so, while a plan is sought,
 * that cuDNN does not offer something. */
struct maker {
  const struct cudnn_plan *p;
  struct cudnn_plan *keeper; /* of what is created; null: the caller is */
  bool ok, is_seeking;
};

static bool is_unsupported(cudnnStatus_t status) { return status / 1000 == CUDNN_STATUS_NOT_SUPPORTED / 1000; }

static void keep(struct maker *m, cudnnStatus_t status) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char why[WHY_BYTES];
  explain(status, why);
  if (!m->is_seeking || !is_unsupported(status)) cuda_refused(operation_name[m->p->direction], why);
  m->ok = false;
}

static void keep_part(struct cudnn_plan *p, descriptor d) {
  assert(p->parts < MOST_PARTS);
  p->part[p->parts++] = d;
}

static descriptor create(struct maker *m, cudnnBackendDescriptorType_t type) {
  descriptor d = nullptr;
  if (m->ok) keep(m, dnn.cudnnBackendCreateDescriptor(type, &d));
  if (d && m->keeper) keep_part(m->keeper, d);
  return d;
}

static void set(struct maker *m, descriptor d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                const void *values) {
  if (m->ok) keep(m, dnn.cudnnBackendSetAttribute(d, name, type, count, values));
}

static void set_descriptor(struct maker *m, descriptor d, cudnnBackendAttributeName_t name, descriptor value) {
  set(m, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void finalise(struct maker *m, descriptor d) {
  if (m->ok) keep(m, dnn.cudnnBackendFinalize(d));
}

enum { X_ID = 1, W_ID, Y_ID, PRODUCT_ID };
enum { ALIGNMENT = 16 };

/* cuDNN names the dimensions n c h w (k c r s for weights) whatever the order in memory, which the strides say: channels are neighbours.
 * is_virtual: an intermediate result that never is in memory. */
static descriptor tensor(struct maker *m, int64_t id, cudnnDataType_t type, int64_t n, int64_t c, int64_t h, int64_t w, bool is_virtual) {
  descriptor d = create(m, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const int64_t dimensions[] = {n, c, h, w}, strides[] = {h * w * c, 1, w * c, c}, alignment = ALIGNMENT;
  set(m, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
  set(m, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  set(m, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dimensions);
  set(m, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
  set(m, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
  if (is_virtual) set(m, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
  finalise(m, d);
  return d;
}

static descriptor convolution(struct maker *m, const struct conv *g) {
  descriptor d = create(m, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const cudnnDataType_t sums = CUDNN_DATA_FLOAT;
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION; /* the kernel is not mirrored (op/conv.h) */
  const int64_t spatial = 2, dilations[] = {1, 1}, strides[] = {g->stride, g->stride}, pads[] = {g->pad, g->pad};
  set(m, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sums);
  set(m, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  set(m, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &spatial);
  set(m, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilations);
  set(m, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides);
  set(m, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pads);
  set(m, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pads);
  finalise(m, d);
  return d;
}

static const struct {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t x, w, y, convolution, alpha, beta;
} OPERATION[CONV_DIRECTIONS] = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

/* What is left of an operation's result in float where the maps are bf16: cuDNN offers that as a second operation on the first one's sums,
 * y = x. */
static descriptor written_as_float(struct maker *m, descriptor product, descriptor result) {
  const cudnnPointwiseMode_t mode = CUDNN_POINTWISE_IDENTITY;
  const cudnnDataType_t type = CUDNN_DATA_FLOAT;
  descriptor identity = create(m, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  set(m, identity, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  set(m, identity, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &type);
  finalise(m, identity);
  descriptor d = create(m, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  set_descriptor(m, d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, identity);
  set_descriptor(m, d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, product);
  set_descriptor(m, d, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, result);
  finalise(m, d);
  return d;
}

static descriptor graph(struct maker *m) {
  const struct cudnn_plan *p = m->p;
  const struct conv *g = &p->g;
  bool bf16 = p->precision == CUDA_BF16, apart = bf16 && p->direction == CONV_BACKWARD_WEIGHTS;
  cudnnDataType_t stored = bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
  descriptor x = tensor(m, X_ID, stored, g->n, g->c, g->h, g->w, false), y = tensor(m, Y_ID, stored, g->n, g->k, g->p, g->q, false);
  descriptor w = tensor(m, W_ID, apart ? CUDNN_DATA_FLOAT : stored, g->k, g->c, g->r, g->s, false);
  descriptor product = apart ? tensor(m, PRODUCT_ID, CUDNN_DATA_FLOAT, g->k, g->c, g->r, g->s, true) : w;
  descriptor geometry = convolution(m, g), operation[2] = {create(m, OPERATION[p->direction].type), nullptr};
  const float alpha = 1, beta = p->accumulate ? 1.0f : 0.0f;
  set_descriptor(m, operation[0], OPERATION[p->direction].x, x);
  set_descriptor(m, operation[0], OPERATION[p->direction].w, product);
  set_descriptor(m, operation[0], OPERATION[p->direction].y, y);
  set_descriptor(m, operation[0], OPERATION[p->direction].convolution, geometry);
  set(m, operation[0], OPERATION[p->direction].alpha, CUDNN_TYPE_FLOAT, 1, &alpha);
  set(m, operation[0], OPERATION[p->direction].beta, CUDNN_TYPE_FLOAT, 1, &beta);
  finalise(m, operation[0]);
  if (apart) operation[1] = written_as_float(m, product, w);
  descriptor d = create(m, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  set(m, d, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, apart ? 2 : 1, operation);
  set(m, d, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &dnn.handle);
  finalise(m, d);
  return d;
}

/* ---- the choice ---------------------------------------------------------------------------------------------------------------------- */

/* What cuDNN notes of an engine that these sums may not be computed by (cudnn_graph.h). */
static bool is_acceptable(cudnnBackendNumericalNote_t note, enum cuda_precision precision) {
  switch (note) {
  case CUDNN_NUMERICAL_NOTE_TENSOR_CORE: return precision != CUDA_FP32;
  case CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP: return true;
  default: return false; /* one of those, or one that this program does not know */
  }
}

/* Whether a configuration's engine is acceptable; it is not where that cannot be found out. */
static bool engine_is_acceptable(descriptor configuration, enum cuda_precision precision) {
  cudnnBackendNumericalNote_t note[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
  int64_t notes = 0, one = 0;
  descriptor engine = nullptr;
  bool good = dnn.cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) == CUDNN_STATUS_SUCCESS;
  good = good && dnn.cudnnBackendGetAttribute(configuration, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &one,
                                              &engine) == CUDNN_STATUS_SUCCESS;
  good = good && dnn.cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                              CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &notes, note) == CUDNN_STATUS_SUCCESS;
  good = good && notes <= CUDNN_NUMERICAL_NOTE_TYPE_COUNT; /* more are there than were asked for: some would go unseen */
  for (int64_t i = 0; good && i < notes; i++) good = is_acceptable(note[i], precision);
  if (engine) dnn.cudnnBackendDestroyDescriptor(engine);
  return good;
}

/* The plan of a configuration, or null where its engine turns out not to do it here. */
static descriptor plan_from(descriptor configuration, size_t *workspace) {
  descriptor d = nullptr;
  int64_t bytes = 0, one = 0;
  if (dnn.cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &d) != CUDNN_STATUS_SUCCESS) return nullptr;
  if (dnn.cudnnBackendSetAttribute(d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &dnn.handle) == CUDNN_STATUS_SUCCESS &&
      dnn.cudnnBackendSetAttribute(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &configuration) ==
          CUDNN_STATUS_SUCCESS &&
      dnn.cudnnBackendFinalize(d) == CUDNN_STATUS_SUCCESS &&
      dnn.cudnnBackendGetAttribute(d, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &one, &bytes) ==
          CUDNN_STATUS_SUCCESS &&
      bytes >= 0 && (size_t)bytes <= CUDNN_WORKSPACE_MOST) {
    *workspace = (size_t)bytes;
    return d;
  }
  dnn.cudnnBackendDestroyDescriptor(d);
  return nullptr;
}

enum { MOST_CONFIGURATIONS = 64 };

/* The first acceptable plan of one list of engines, or null. Lists that cannot be had are empty: an operation may be unknown to one of
 * them. */
static descriptor first_plan(struct maker *m, descriptor operations, cudnnBackendHeurMode_t mode, size_t *workspace) {
  struct maker listing = *m;
  descriptor list = create(&listing, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR), configuration[MOST_CONFIGURATIONS] = {}, plan = nullptr;
  set_descriptor(&listing, list, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, operations);
  set(&listing, list, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  finalise(&listing, list);
  listing.keeper = nullptr;
  for (int i = 0; i < MOST_CONFIGURATIONS; i++) configuration[i] = create(&listing, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  int64_t count = 0;
  if (listing.ok)
    keep(&listing, dnn.cudnnBackendGetAttribute(list, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST_CONFIGURATIONS,
                                                &count, configuration));
  for (int64_t i = 0; listing.ok && !plan && i < count && i < MOST_CONFIGURATIONS; i++)
    if (engine_is_acceptable(configuration[i], m->p->precision) && (plan = plan_from(configuration[i], workspace))) {
      keep_part(m->keeper, configuration[i]);
      configuration[i] = nullptr;
    }
  for (int i = 0; i < MOST_CONFIGURATIONS; i++)
    if (configuration[i]) dnn.cudnnBackendDestroyDescriptor(configuration[i]);
  return plan;
}

static bool is_same(const struct conv *a, const struct conv *b) {
  return a->n == b->n && a->h == b->h && a->w == b->w && a->c == b->c && a->k == b->k && a->r == b->r && a->s == b->s &&
         a->stride == b->stride && a->pad == b->pad && a->p == b->p && a->q == b->q;
}

const struct cudnn_plan *cudnn_plan_of(const struct conv *g, enum conv_direction direction, enum cuda_precision precision,
                                       bool accumulate) {
  static struct cudnn_plan *plans; /* those of a process: as many as there are shapes */
  for (struct cudnn_plan *p = plans; p; p = p->next)
    if (p->direction == direction && p->precision == precision && p->accumulate == accumulate && is_same(&p->g, g))
      return p->plan ? p : nullptr;
  struct cudnn_plan *p = (struct cudnn_plan *)calloc(1, sizeof *p);
  if (!p) {
    cuda_refused(operation_name[direction], "out of memory");
    return nullptr;
  }
  p->g = *g, p->direction = direction, p->precision = precision, p->accumulate = accumulate;
  p->next = plans, plans = p;
  struct maker m = {p, p, true, true};
  descriptor operations = graph(&m);
  if (m.ok) p->plan = first_plan(&m, operations, CUDNN_HEUR_MODE_A, &p->workspace);
  if (m.ok && !p->plan) p->plan = first_plan(&m, operations, CUDNN_HEUR_MODE_FALLBACK, &p->workspace);
  return p->plan ? p : nullptr;
}

size_t cudnn_workspace(const struct cudnn_plan *plan) { return plan->workspace; }

void cudnn_run(const struct cudnn_plan *plan, const void *x, const void *w, const void *y, void *workspace) {
  struct maker m = {plan, nullptr, true, false};
  const int64_t id[] = {X_ID, W_ID, Y_ID};
  const void *const data[] = {x, w, y};
  descriptor pack = create(&m, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  set(&m, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, id);
  set(&m, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, data);
  set(&m, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  finalise(&m, pack);
  if (m.ok) keep(&m, dnn.cudnnBackendExecute(dnn.handle, plan->plan, pack));
  if (pack) dnn.cudnnBackendDestroyDescriptor(pack);
}

#endif
