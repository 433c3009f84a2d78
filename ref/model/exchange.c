#include "model/exchange.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if EDIY_REAL_BITS == 32 /* independent of real: once is enough */
int exchange_shape(const struct parameter *p, ptrdiff_t shape[4]) {
  for (int i = 0; i < p->ndim; i++) shape[i] = p->shape[i];
  if (p->ndim == 4) shape[1] = p->shape[3], shape[2] = p->shape[1], shape[3] = p->shape[2]; /* K R S C -> O I H W */
  return p->ndim;
}

/* Appends to a name that is long enough by construction; cuts rather than overruns. */
static void append(char out[NET_NAME], const char *text, size_t n) {
  size_t at = strlen(out);
  snprintf(out + at, NET_NAME - at, "%.*s", (int)n, text);
}

void exchange_detectron2_name(const char *name, char out[NET_NAME]) {
  out[0] = 0;
  if (strncmp(name, "layer", 5) == 0) {
    char stage[8];
    snprintf(stage, sizeof stage, "res%d", name[5] - '0' + 1);
    append(out, stage, sizeof stage);
    name += 6;
  } else {
    append(out, "stem.", 5);
  }
  while (*name) { /* part by part, between dots */
    size_t n = strcspn(name, ".");
    if (n == 3 && strncmp(name, "bn", 2) == 0) {
      append(out, "conv", 4);
      append(out, name + 2, 1);
      append(out, ".norm", 5);
    } else if (strncmp(name, "downsample.0", 12) == 0 || strncmp(name, "downsample.1", 12) == 0) {
      append(out, name[11] == '0' ? "shortcut" : "shortcut.norm", 16);
      n = 12;
    } else {
      append(out, name, n);
    }
    name += n;
    if (*name == '.') append(out, name++, 1);
  }
}
#endif

void exchange_pack(const struct parameter *p, const real *own, real *file) {
  if (p->ndim != 4) {
    memcpy(file, own, (size_t)p->size * sizeof(real));
    return;
  }
  ptrdiff_t K = p->shape[0], RS = p->shape[1] * p->shape[2], C = p->shape[3];
  for (ptrdiff_t k = 0; k < K; k++)
    for (ptrdiff_t c = 0; c < C; c++)
      for (ptrdiff_t rs = 0; rs < RS; rs++) file[(k * C + c) * RS + rs] = own[(k * RS + rs) * C + c];
}

void exchange_unpack(const struct parameter *p, const real *file, real *own) {
  if (p->ndim != 4) {
    memcpy(own, file, (size_t)p->size * sizeof(real));
    return;
  }
  ptrdiff_t K = p->shape[0], RS = p->shape[1] * p->shape[2], C = p->shape[3];
  for (ptrdiff_t k = 0; k < K; k++)
    for (ptrdiff_t c = 0; c < C; c++)
      for (ptrdiff_t rs = 0; rs < RS; rs++) own[(k * RS + rs) * C + c] = file[(k * C + c) * RS + rs];
}

static bool is_head(const char *name) {
  static const char *const heads[] = {"projector.", "predictor.", "local_projector.", "local_predictor."};
  for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
    if (strncmp(name, heads[i], strlen(heads[i])) == 0) return true;
  return false;
}

/* A weight that is no number spoils every result silently: a teacher's matches, say, are then all the first region. */
static bool usable(const struct parameter *p, const real *x, const char *path, const char *name, struct error *err) {
  static const char variance[] = "running_var";
  size_t n = strlen(p->name), v = sizeof variance - 1;
  bool square = n >= v && strcmp(p->name + n - v, variance) == 0;
  for (ptrdiff_t i = 0; i < p->size; i++) {
    if (!isfinite(x[i]))
      return fail(err, "%s: tensor %s holds %g at element %td; use weights of an earlier step", path, name, (double)x[i], i);
    if (square && x[i] < 0)
      return fail(err, "%s: tensor %s holds %g at element %td, and no variance is negative; is the file damaged?", path, name, (double)x[i],
                  i);
  }
  return true;
}

bool exchange_export(const struct net *net, const real *state, enum exchange_form form, const char *const *metadata, const char *path,
                     struct error *err) {
  struct tensor *tensors = calloc((size_t)(net->parameters + net->layers), sizeof *tensors);
  real *packed = malloc((size_t)net->state_size * sizeof(real));
  static int64_t batches = 0; /* what num_batches_tracked holds: PyTorch uses it only when momentum is None */
  int count = 0;
  bool ok = tensors && packed;
  if (!ok) fail(err, "%s: out of memory: %.2f GB for the weights", path, (double)net->state_size * sizeof(real) / 1e9);
  for (int i = 0; ok && i < net->parameters; i++) {
    const struct parameter *p = &net->parameter[i];
    if (is_head(p->name)) continue;
    char name[NET_NAME];
    if (form == EXCHANGE_DETECTRON2)
      exchange_detectron2_name(p->name, name);
    else
      snprintf(name, sizeof name, "%s", p->name);
    ptrdiff_t shape[4];
    int ndim = exchange_shape(p, shape);
    exchange_pack(p, state + p->offset, packed + p->offset);
    if (!usable(p, packed + p->offset, path, name, err)) ok = fail_within(err, "not written");
    tensors[count++] = tensor_make(REAL_DTYPE, packed + p->offset, ndim, shape, "%s", name);
  }
  for (int i = 0; ok && form == EXCHANGE_TORCHVISION && i < net->layers; i++)
    if (net->layer[i].kind == LAYER_NORM && !is_head(net->layer[i].name))
      tensors[count++] = tensor_make(DTYPE_I64, &batches, 0, NULL, "%s.num_batches_tracked", net->layer[i].name);
  ok = ok && safetensors_write(path, tensors, count, metadata, err);
  free(tensors);
  free(packed);
  return ok;
}

bool exchange_import(const struct net *net, const struct safetensors *file, const char *prefix, bool heads_too, real *state,
                     struct error *err) {
  ptrdiff_t largest = 1;
  for (int i = 0; i < net->parameters; i++)
    if (net->parameter[i].size > largest) largest = net->parameter[i].size;
  real *read = malloc((size_t)largest * sizeof(real));
  bool ok = read || fail(err, "%s: out of memory while reading weights", file->path);
  for (int i = 0; ok && i < net->parameters; i++) {
    const struct parameter *p = &net->parameter[i];
    if (!heads_too && is_head(p->name)) continue;
    char name[TENSOR_MAX_NAME + NET_NAME];
    snprintf(name, sizeof name, "%s%s", prefix, p->name);
    ptrdiff_t shape[4];
    int ndim = exchange_shape(p, shape);
    ok = safetensors_load(file, name, REAL_DTYPE, ndim, shape, read, err) && usable(p, read, file->path, name, err);
    if (ok) exchange_unpack(p, read, state + p->offset);
  }
  free(read);
  return ok;
}

/* The first two prefixes under which the file holds the first layers of the backbone, and how many there are. Those of two stages, since
 * layer1.0. stands in front of a conv1.weight, too. One with other characters than names have is none. */
static int prefixes(const struct net *net, const struct safetensors *file, char prefix[2][TENSOR_MAX_NAME]) {
  static const char usual[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
  const char *first = net->parameter[0].name, *second = first;
  for (int i = 0; i < net->parameters && second == first; i++)
    if (strncmp(net->parameter[i].name, "layer", 5) == 0) second = net->parameter[i].name;
  const size_t n = strlen(first);
  int count = 0;
  for (int i = 0; i < file->count; i++) {
    const char *name = file->tensor[i].name;
    const size_t length = strlen(name), before = length > n ? length - n : 0;
    if (before == 0 || strcmp(name + before, first) != 0 || name[before - 1] != '.' || strspn(name, usual) < before) continue;
    char other[TENSOR_MAX_NAME + NET_NAME];
    snprintf(other, sizeof other, "%.*s%s", (int)before, name, second);
    if (!safetensors_find(file, other)) continue;
    if (count < 2) snprintf(prefix[count], TENSOR_MAX_NAME, "%.*s", (int)before, name);
    count++;
  }
  return count;
}

bool exchange_import_foreign(const struct net *net, const struct safetensors *file, char prefix[TENSOR_MAX_NAME], bool heads_too,
                             real *state, struct error *err) {
  char found[2][TENSOR_MAX_NAME] = {"", ""};
  const char *path = file->path, *first = net->parameter[0].name;
  const bool plain = file->count == 0 || safetensors_find(file, first);
  const int count = plain ? 0 : prefixes(net, file, found);
  if (!plain && count == 0)
    return fail(err, "%s: has no tensor %s, and the first that it has is %s; is it a ResNet under torchvision's names?", path, first,
                file->tensor[0].name);
  if (count > 1)
    return fail(err,
                "%s: holds several backbones, under %s and %s; write one of them alone, in Python: "
                "save_file({k[%zu:]: v for k, v in load_file(FILE).items() if k.startswith('%s')}, OUT) of safetensors.torch",
                path, found[0], found[1], strlen(found[0]), found[0]);
  if (count == 1 && !prefix)
    return fail(err, "%s: its names begin with %s; ediy import weights=%s backbone=NAME out=FILE takes it over without that", path,
                found[0], path);
  if (prefix) memcpy(prefix, found[0], TENSOR_MAX_NAME);
  return exchange_import(net, file, found[0], heads_too, state, err);
}
