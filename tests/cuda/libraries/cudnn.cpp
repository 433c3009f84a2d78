/* cuDNN's graph API for one convolution, by NVIDIA's documentation of it, on the shim's GPU. A descriptor is checked when it is finalised,
 * a result is computed by the definition, from the strides and types of the descriptors.
 *
 * What engines are listed, in this order; those that a convolution of the backend must not take give wrong results:
 *     A         ATOMIC, WINOGRAD, UNKNOWN (a note of a later cuDNN), MANY (one note more than were asked for), MISSING (has no plan here),
 *               HUGE (2 GiB of workspace), TENSOR, FMA
 *     FALLBACK  PLAIN
 * TENSOR reads floats as TF32; with bf16 it wants channels that are multiples of 8. FMA is for float. A result of another type than the
 * operands is not supported but as a second operation, the identity in float, which only TENSOR offers, for dw.
 *
 * The line of a plan (standin_note) is its number of images. EDIY_STANDIN_WORKSPACE is the bytes that a plan works in (131). */
#include "cudnn.h"

#include <stdio.h>

#include "standin.h"

enum engine { ATOMIC, WINOGRAD, UNKNOWN, MANY, MISSING, HUGE, TENSOR, FMA, PLAIN, ENGINES };
enum { MOST_ATTRIBUTES = 16, MOST_BYTES = 64, LATER_NOTE = 12 };
static const int64_t HUGE_WORKSPACE = (int64_t)1 << 31;

static int64_t workspace() {
  const char *bytes = getenv("EDIY_STANDIN_WORKSPACE");
  return bytes ? atoll(bytes) : 131;
}

struct standin {
  int type, attributes;
  bool is_final;
  struct {
    int name;
    int64_t count;
    unsigned char value[MOST_BYTES];
  } attribute[MOST_ATTRIBUTES];
  enum engine engine; /* of an engine or a configuration */
  const struct standin *graph;
};

struct cudnnContext {
  cudaStream_t stream;
};

static char last_error[200];
static cudnnStatus_t refuse(cudnnStatus_t status, const char *why) {
  snprintf(last_error, sizeof last_error, "%s", why);
  return status;
}

/* With which status a function is told to fail: EDIY_STANDIN_STATUS, a number. */
static cudnnStatus_t told(cudnnStatus_t otherwise) {
  const char *status = getenv("EDIY_STANDIN_STATUS");
  return status ? (cudnnStatus_t)atoi(status) : otherwise;
}

static const struct {
  int name, type;
} types[] = {
#define TYPE(name, value, type) {name, type},
    CUDNN_ATTRIBUTE_VALUES(TYPE)
#undef TYPE
};

static size_t bytes_of(int type) {
  switch (type) {
  case CUDNN_TYPE_BOOLEAN: return sizeof(bool);
  case CUDNN_TYPE_HANDLE:
  case CUDNN_TYPE_INT64:
  case CUDNN_TYPE_VOID_PTR:
  case CUDNN_TYPE_BACKEND_DESCRIPTOR: return 8;
  default: return 4; /* float and enumerators */
  }
}

/* Elements of an attribute; a graph may have more operations. */
static int64_t count_of(int name) {
  switch (name) {
  case CUDNN_ATTR_TENSOR_DIMENSIONS:
  case CUDNN_ATTR_TENSOR_STRIDES: return 4;
  case CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS:
  case CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS: return 3;
  case CUDNN_ATTR_CONVOLUTION_DILATIONS:
  case CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES:
  case CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS:
  case CUDNN_ATTR_CONVOLUTION_POST_PADDINGS: return 2;
  default: return 1;
  }
}

/* The descriptor that has this attribute. */
static int owner_of(int name) {
  static const struct {
    int first, last, type;
  } ranges[] = {{0, 9, CUDNN_BACKEND_POINTWISE_DESCRIPTOR},
                {100, 106, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR},
                {200, 204, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR},
                {300, 304, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR},
                {400, 407, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR},
                {700, 705, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR},
                {706, 711, CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR},
                {712, 717, CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR},
                {750, 758, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR},
                {800, 804, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR},
                {900, 913, CUDNN_BACKEND_TENSOR_DESCRIPTOR},
                {1000, 1012, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR},
                {1300, 1308, CUDNN_BACKEND_ENGINE_DESCRIPTOR}};
  for (const auto &r : ranges)
    if (name >= r.first && name <= r.last) return r.type;
  return -1;
}

/* What an attribute was set to; null where it was not. */
static const unsigned char *value_of(const struct standin *d, int name, int64_t *count = nullptr) {
  for (int i = 0; i < d->attributes; i++)
    if (d->attribute[i].name == name) {
      if (count) *count = d->attribute[i].count;
      return d->attribute[i].value;
    }
  return nullptr;
}
template <class T> static T get(const struct standin *d, int name, T otherwise = T(), int index = 0) {
  const unsigned char *value = value_of(d, name);
  T v = otherwise;
  if (value) memcpy(&v, value + (size_t)index * sizeof v, sizeof v);
  return v;
}
static const struct standin *child(const struct standin *d, int name, int index = 0) {
  return get<struct standin *>(d, name, nullptr, index);
}

/* ---- what a tensor and an operation are ---------------------------------------------------------------------------------------------- */

struct shape {
  int64_t size[4], stride[4], id;
  bool is_bf16, is_virtual;
};

static struct shape shape_of(const struct standin *d) {
  struct shape s;
  for (int i = 0; i < 4; i++)
    s.size[i] = get<int64_t>(d, CUDNN_ATTR_TENSOR_DIMENSIONS, 0, i), s.stride[i] = get<int64_t>(d, CUDNN_ATTR_TENSOR_STRIDES, 0, i);
  s.id = get<int64_t>(d, CUDNN_ATTR_TENSOR_UNIQUE_ID);
  s.is_bf16 = get<int>(d, CUDNN_ATTR_TENSOR_DATA_TYPE) == CUDNN_DATA_BFLOAT16;
  s.is_virtual = get<bool>(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL);
  return s;
}
static int64_t offset(const struct shape &s, int64_t a, int64_t b, int64_t c, int64_t d) {
  return a * s.stride[0] + b * s.stride[1] + c * s.stride[2] + d * s.stride[3];
}
static int64_t elements(const struct shape &s) { return offset(s, s.size[0] - 1, s.size[1] - 1, s.size[2] - 1, s.size[3] - 1) + 1; }

struct operation {
  int type;
  struct shape x, w, y; /* w: of dw where it is virtual */
  int64_t stride[2], before[2], after[2], dilation[2];
  float alpha, beta;
};

static struct operation operation_of(const struct standin *d) {
  int first = d->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR         ? CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA
              : d->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR ? CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA
                                                                                        : CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA;
  /* alpha, beta, convolution, then: w x y of forward, w dx dy of backward data, dw x dy of backward filter */
  struct operation o = {};
  const struct standin *c = child(d, first + 2), *w = child(d, first + 3), *x = child(d, first + 4), *y = child(d, first + 5);
  o.type = d->type, o.alpha = get<float>(d, first, 1), o.beta = get<float>(d, first + 1, 0);
  if (x) o.x = shape_of(x);
  if (w) o.w = shape_of(w);
  if (y) o.y = shape_of(y);
  for (int i = 0; c && i < 2; i++) {
    o.stride[i] = get<int64_t>(c, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 0, i);
    o.before[i] = get<int64_t>(c, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 0, i);
    o.after[i] = get<int64_t>(c, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 0, i);
    o.dilation[i] = get<int64_t>(c, CUDNN_ATTR_CONVOLUTION_DILATIONS, 0, i);
  }
  return o;
}

static bool is_convolution(int type) {
  return type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR ||
         type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR ||
         type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR;
}

/* ---- descriptors --------------------------------------------------------------------------------------------------------------------- */

extern "C" cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
  if (standin_fails("cudnnCreate")) return refuse(CUDNN_STATUS_NOT_INITIALIZED, "told to fail");
  *handle = static_cast<cudnnHandle_t>(calloc(1, sizeof **handle));
  return CUDNN_STATUS_SUCCESS;
}
extern "C" cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) { return handle->stream = stream, CUDNN_STATUS_SUCCESS; }

extern "C" const char *cudnnGetErrorString(cudnnStatus_t status) {
#define WORDS(name, value)                                                                                                                 \
  if (status == name) return #name;
  CUDNN_STATUS_VALUES(WORDS)
#undef WORDS
  return "CUDNN_UNKNOWN_STATUS";
}
extern "C" void cudnnGetLastErrorString(char *message, size_t size) {
  snprintf(message, size, "%s", last_error);
  last_error[0] = 0;
}

extern "C" cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *descriptor) {
  struct standin *d = static_cast<struct standin *>(calloc(1, sizeof *d));
  d->type = type;
  *descriptor = d;
  return CUDNN_STATUS_SUCCESS;
}
extern "C" cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  return free(descriptor), CUDNN_STATUS_SUCCESS;
}

extern "C" cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                                  cudnnBackendAttributeType_t type, int64_t count, const void *values) {
  struct standin *d = static_cast<struct standin *>(descriptor);
  size_t bytes = (size_t)count * bytes_of(type);
  if (!d || !values) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "a null pointer");
  if (d->is_final) return refuse(CUDNN_STATUS_BAD_PARAM, "attributes of a descriptor that is finalised cannot be set");
  if (owner_of(name) != d->type) return refuse(CUDNN_STATUS_BAD_PARAM, "not an attribute of this descriptor");
  for (const auto &t : types)
    if (t.name == name && t.type != type) return refuse(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "another type of attribute");
  if (count != count_of(name) && !(name == CUDNN_ATTR_OPERATIONGRAPH_OPS && count == 2))
    return refuse(CUDNN_STATUS_BAD_PARAM, "another count of elements");
  if (count < 1 || bytes > MOST_BYTES || d->attributes == MOST_ATTRIBUTES) return refuse(CUDNN_STATUS_BAD_PARAM, "count of elements");
  auto &a = d->attribute[d->attributes++];
  a.name = name, a.count = count;
  memcpy(a.value, values, bytes);
  return CUDNN_STATUS_SUCCESS;
}

/* All descriptors among the attributes are finalised. */
static bool children_are_final(const struct standin *d) {
  for (int i = 0; i < d->attributes; i++)
    for (const auto &t : types)
      for (int k = 0; t.name == d->attribute[i].name && t.type == CUDNN_TYPE_BACKEND_DESCRIPTOR && k < (int)d->attribute[i].count; k++)
        if (!child(d, t.name, k) || !child(d, t.name, k)->is_final) return false;
  return true;
}

static bool has_all(const struct standin *d, int first, int last) {
  for (const auto &t : types)
    if (t.name >= first && t.name <= last && !value_of(d, t.name)) return false;
  return true;
}

static cudnnStatus_t check_tensor(const struct standin *d) {
  int64_t sizes = 0, strides = 0, alignment = get<int64_t>(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT);
  const struct shape s = shape_of(d);
  if (!has_all(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_ATTR_TENSOR_UNIQUE_ID))
    return refuse(CUDNN_STATUS_BAD_PARAM, "tensor: attributes");
  value_of(d, CUDNN_ATTR_TENSOR_DIMENSIONS, &sizes), value_of(d, CUDNN_ATTR_TENSOR_STRIDES, &strides);
  if (sizes != 4 || strides != 4 || alignment < 1 || (alignment & (alignment - 1))) return refuse(CUDNN_STATUS_BAD_PARAM, "tensor: values");
  for (int i = 0; i < 4; i++)
    if (s.size[i] < 1 || s.stride[i] < 1) return refuse(CUDNN_STATUS_BAD_PARAM, "tensor: sizes and strides are positive");
  return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t check_operation(const struct standin *d) {
  const struct operation o = operation_of(d);
  if (d->attributes < 6) return refuse(CUDNN_STATUS_BAD_PARAM, "convolution: attributes");
  for (int i = 0; i < 2; i++)
    if ((o.x.size[2 + i] + o.before[i] + o.after[i] - o.dilation[i] * (o.w.size[2 + i] - 1) - 1) / o.stride[i] + 1 != o.y.size[2 + i])
      return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "convolution: sizes of the maps");
  if (o.x.size[0] != o.y.size[0] || o.x.size[1] != o.w.size[1] || o.y.size[1] != o.w.size[0])
    return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "convolution: images and channels");
  return CUDNN_STATUS_SUCCESS;
}

/* The tensor that the convolution of a graph writes is the one that its second operation reads. */
static cudnnStatus_t check_graph(const struct standin *d) {
  int64_t count = 0;
  if (!value_of(d, CUDNN_ATTR_OPERATIONGRAPH_OPS, &count) || !get<cudnnHandle_t>(d, CUDNN_ATTR_OPERATIONGRAPH_HANDLE))
    return refuse(CUDNN_STATUS_BAD_PARAM, "graph: attributes");
  const struct standin *first = child(d, CUDNN_ATTR_OPERATIONGRAPH_OPS);
  if (!is_convolution(first->type) || count > 2) return refuse(CUDNN_STATUS_NOT_SUPPORTED, "graph: pattern");
  bool is_virtual = operation_of(first).w.is_virtual;
  if (is_virtual != (count == 2)) return refuse(CUDNN_STATUS_BAD_PARAM, "graph: a virtual tensor is between two operations");
  if (count == 2 && child(child(d, CUDNN_ATTR_OPERATIONGRAPH_OPS, 1), CUDNN_ATTR_OPERATION_POINTWISE_XDESC) !=
                        child(first, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW))
    return refuse(CUDNN_STATUS_BAD_PARAM, "graph: the operations are not connected");
  return CUDNN_STATUS_SUCCESS;
}

static void note_plan(const struct standin *plan) {
  char images[32];
  snprintf(images, sizeof images, "%d", (int)operation_of(child(plan->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS)).x.size[0]);
  standin_note(images);
}

extern "C" cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  struct standin *d = static_cast<struct standin *>(descriptor);
  cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
  if (!d) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "a null pointer");
  if (!children_are_final(d)) return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "a descriptor that is not finalised");
  if (d->type == CUDNN_BACKEND_TENSOR_DESCRIPTOR) status = check_tensor(d);
  if (d->type == CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR &&
      (!has_all(d, 100, 106) || get<int64_t>(d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS) != 2))
    status = refuse(CUDNN_STATUS_BAD_PARAM, "convolution: attributes");
  if (d->type == CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR && (get<int>(d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE) != CUDNN_DATA_FLOAT ||
                                                          get<int>(d, CUDNN_ATTR_CONVOLUTION_CONV_MODE) != CUDNN_CROSS_CORRELATION))
    status = refuse(CUDNN_STATUS_NOT_SUPPORTED, "convolution: type or mode");
  if (is_convolution(d->type)) status = check_operation(d);
  if (d->type == CUDNN_BACKEND_POINTWISE_DESCRIPTOR && !has_all(d, 0, 1)) status = refuse(CUDNN_STATUS_BAD_PARAM, "pointwise: attributes");
  if (d->type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR && !has_all(d, 750, 753))
    status = refuse(CUDNN_STATUS_BAD_PARAM, "pointwise operation: attributes");
  if (d->type == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)
    status = standin_fails("cudnnBackendFinalize") ? refuse(told(CUDNN_STATUS_NOT_SUPPORTED), "told to fail") : check_graph(d);
  if (d->type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR && !has_all(d, 200, 201)) status = refuse(CUDNN_STATUS_BAD_PARAM, "list: attributes");
  if (d->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
    if (!has_all(d, 400, 401)) return refuse(CUDNN_STATUS_BAD_PARAM, "plan: attributes");
    d->engine = child(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)->engine,
    d->graph = child(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)->graph;
    if (d->engine == MISSING) status = refuse(CUDNN_STATUS_NOT_SUPPORTED, "this engine has no plan here");
    if (status == CUDNN_STATUS_SUCCESS) note_plan(d);
  }
  if (d->type == CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR && !has_all(d, 1000, 1003))
    status = refuse(CUDNN_STATUS_BAD_PARAM, "pack: attributes");
  d->is_final = status == CUDNN_STATUS_SUCCESS;
  return status;
}

/* ---- engines ------------------------------------------------------------------------------------------------------------------------- */

static bool offers(enum engine engine, const struct standin *graph) {
  int64_t operations = 0;
  value_of(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, &operations);
  const struct operation o = operation_of(child(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS));
  bool is_bf16 = o.y.is_bf16, by_eights = o.x.size[1] % 8 == 0 && o.y.size[1] % 8 == 0;
  if (o.x.is_bf16 != is_bf16 || (operations == 1 && o.w.is_bf16 != is_bf16)) return false;
  if (engine == TENSOR) return !is_bf16 || by_eights;
  return operations == 1 && !(engine == FMA && is_bf16);
}

static int64_t list_engines(const struct standin *list, int64_t asked, void *values) {
  bool fallback = get<int>(list, CUDNN_ATTR_ENGINEHEUR_MODE) == CUDNN_HEUR_MODE_FALLBACK;
  int64_t count = 0;
  for (int e = fallback ? PLAIN : ATOMIC; e <= (fallback ? PLAIN : FMA) && count < asked; e++) {
    const struct standin *graph = child(list, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    if (!offers((enum engine)e, graph)) continue;
    struct standin *configuration = static_cast<struct standin **>(values)[count++];
    configuration->engine = (enum engine)e, configuration->graph = graph, configuration->is_final = true;
  }
  return count;
}

static int64_t notes_of(enum engine engine, int *note) {
  static const int notes[ENGINES][3] = {{2, CUDNN_NUMERICAL_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC},
                                        {1, CUDNN_NUMERICAL_NOTE_WINOGRAD},
                                        {1, LATER_NOTE},
                                        {0}, /* below */
                                        {0},
                                        {0},
                                        {1, CUDNN_NUMERICAL_NOTE_TENSOR_CORE},
                                        {0},
                                        {1, CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP}};
  if (engine == MANY) { /* those that there is room for are harmless; what the last one is goes unseen */
    for (int i = 0; i < CUDNN_NUMERICAL_NOTE_TYPE_COUNT; i++) note[i] = CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP;
    return CUDNN_NUMERICAL_NOTE_TYPE_COUNT + 1;
  }
  for (int i = 0; i < notes[engine][0]; i++) note[i] = notes[engine][1 + i];
  return notes[engine][0];
}

extern "C" cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                                  cudnnBackendAttributeType_t type, int64_t asked, int64_t *count, void *values) {
  struct standin *d = static_cast<struct standin *>(descriptor);
  if (!d->is_final) return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "a descriptor that is not finalised");
  if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS && type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
    *count = list_engines(d, asked, values);
  else if (name == CUDNN_ATTR_ENGINECFG_ENGINE && type == CUDNN_TYPE_BACKEND_DESCRIPTOR && asked == 1)
    (*static_cast<struct standin **>(values))->engine = d->engine, (*static_cast<struct standin **>(values))->is_final = true, *count = 1;
  else if (name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE && type == CUDNN_TYPE_NUMERICAL_NOTE && asked == CUDNN_NUMERICAL_NOTE_TYPE_COUNT)
    *count = notes_of(d->engine, static_cast<int *>(values));
  else if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE && type == CUDNN_TYPE_INT64 && asked == 1)
    *static_cast<int64_t *>(values) = d->engine == HUGE ? HUGE_WORKSPACE : workspace(), *count = 1;
  else
    return refuse(CUDNN_STATUS_BAD_PARAM, "not an attribute to be had");
  return CUDNN_STATUS_SUCCESS;
}

/* ---- execution ----------------------------------------------------------------------------------------------------------------------- */

struct call {
  const struct standin *plan;
  void *x, *w, *y, *workspace;
};

static float operand(const struct call &c, const void *memory, const struct shape &s, int64_t i) {
  float v = standin_read(memory, s.is_bf16, i);
  return c.plan->engine == TENSOR ? standin_tf32(v) : v; /* a bf16 is a TF32 number */
}

/* One thread. Sums are in float, the last term of the definition first: another order than the backend's own. */
static void run_plan(struct call c) {
  const struct standin *graph = c.plan->graph;
  struct operation o = operation_of(child(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS));
  if (o.w.is_virtual) o.w = shape_of(child(child(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, 1), CUDNN_ATTR_OPERATION_POINTWISE_YDESC));
  bool to_x = o.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
       to_y = o.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR;
  const struct shape result = to_x ? o.x : to_y ? o.y : o.w;
  float *sum = static_cast<float *>(calloc((size_t)elements(result), sizeof *sum));
  if (!sum) abort();
  memset(c.workspace, 0xff, (size_t)workspace());
  for (int64_t n = o.x.size[0]; n-- > 0;)
    for (int64_t p = o.y.size[2]; p-- > 0;)
      for (int64_t q = o.y.size[3]; q-- > 0;)
        for (int64_t r = o.w.size[2]; r-- > 0;)
          for (int64_t s = o.w.size[3]; s-- > 0;) {
            int64_t h = p * o.stride[0] + r * o.dilation[0] - o.before[0], w = q * o.stride[1] + s * o.dilation[1] - o.before[1];
            if (h < 0 || w < 0 || h >= o.x.size[2] || w >= o.x.size[3]) continue;
            for (int64_t k = o.w.size[0]; k-- > 0;)
              for (int64_t ch = o.w.size[1]; ch-- > 0;) {
                int64_t at_x = offset(o.x, n, ch, h, w), at_w = offset(o.w, k, ch, r, s), at_y = offset(o.y, n, k, p, q);
                if (to_y)
                  sum[at_y] += operand(c, c.x, o.x, at_x) * operand(c, c.w, o.w, at_w);
                else if (to_x)
                  sum[at_x] += operand(c, c.y, o.y, at_y) * operand(c, c.w, o.w, at_w);
                else
                  sum[at_w] += operand(c, c.y, o.y, at_y) * operand(c, c.x, o.x, at_x);
              }
          }
  void *to = to_x ? c.x : to_y ? c.y : c.w;
  bool is_wrong = c.plan->engine < TENSOR;
  for (int64_t i = 0; i < elements(result); i++)
    standin_write(to, result.is_bf16, i,
                  o.alpha * sum[i] + (o.beta != 0 ? o.beta * standin_read(to, result.is_bf16, i) : 0) + (is_wrong ? 1 : 0));
  free(sum);
}

/* The pointer of a tensor: aligned, and all of it on the device. */
static cudnnStatus_t find(const struct standin *pack, const struct shape &s, int64_t alignment, void **pointer) {
  int64_t count = 0;
  value_of(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, &count);
  *pointer = nullptr;
  for (int i = 0; i < (int)count; i++)
    if (get<int64_t>(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, 0, i) == s.id)
      *pointer = get<void *>(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, nullptr, i);
  if ((uintptr_t)*pointer % (uintptr_t)alignment) return refuse(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "a tensor is not aligned");
  if (!shim_is_device(*pointer, (size_t)elements(s) * (s.is_bf16 ? 2 : 4)))
    return refuse(CUDNN_STATUS_EXECUTION_FAILED, "a tensor's memory");
  return CUDNN_STATUS_SUCCESS;
}

extern "C" cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack) {
  if (standin_fails("cudnnBackendExecute")) return refuse(told(CUDNN_STATUS_EXECUTION_FAILED), "told to fail");
  const struct standin *p = static_cast<struct standin *>(plan), *v = static_cast<struct standin *>(pack);
  if (!handle->stream || !p->is_final || !v->is_final) return refuse(CUDNN_STATUS_BAD_PARAM, "stream, plan or pack");
  const struct standin *o = child(p->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
  struct operation shapes = operation_of(o);
  struct call c = {p, nullptr, nullptr, nullptr, get<void *>(v, CUDNN_ATTR_VARIANT_PACK_WORKSPACE)};
  if (shapes.w.is_virtual)
    shapes.w = shape_of(child(child(p->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, 1), CUDNN_ATTR_OPERATION_POINTWISE_YDESC));
  enum { ALIGNMENT = 16 };
  cudnnStatus_t status = find(v, shapes.x, ALIGNMENT, &c.x);
  if (status == CUDNN_STATUS_SUCCESS) status = find(v, shapes.w, ALIGNMENT, &c.w);
  if (status == CUDNN_STATUS_SUCCESS) status = find(v, shapes.y, ALIGNMENT, &c.y);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (!shim_is_device(c.workspace, (size_t)workspace())) return refuse(CUDNN_STATUS_EXECUTION_FAILED, "the workspace");
  if (reinterpret_cast<uintptr_t>(c.workspace) % 256 != 0) return refuse(CUDNN_STATUS_EXECUTION_FAILED, "a workspace that is not aligned");
  shim_run("cudnn", run_plan, dim3(1), dim3(1), 0, handle->stream, c);
  return CUDNN_STATUS_SUCCESS;
}
