/* real is float here (the Makefile compiles this room once). */
#include "train/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sha256.h"
#include "model/exchange.h"

static const char format[] = "ediy-checkpoint-1";

/* Metadata that the hash covers, in the order in which it does. */
static const char *const hashed_key[] = {"format", "step", "config", "data"};
enum { HASHED_KEYS = sizeof hashed_key / sizeof hashed_key[0] };

/* ---- what a checkpoint holds --------------------------------------------------------------------------------------------------------- */

struct part {
  const char *prefix;
  const struct net *net;
  real *state;
  bool statistics; /* running statistics too; momentum has none */
};
enum { PARTS = 4 };

/* The networks of a model; returns how many. */
static int parts_of(const struct model *m, struct part part[PARTS]) {
  int n = 0;
  part[n++] = (struct part){"online", &m->online.net, m->online.state, true};
  part[n++] = (struct part){"target", &m->target.net, m->target.state, true};
  part[n++] = (struct part){"momentum", &m->online.net, m->momentum, false};
  if (m->config.teacher) part[n++] = (struct part){"teacher", &m->teacher.net, m->teacher.state, true};
  return n;
}

static bool holds(const struct part *p, int i) { return p->statistics || p->net->parameter[i].role != ROLE_STATISTIC; }

/* Tensors and reals of all parts. */
static void measure(const struct model *m, int *tensors, ptrdiff_t *reals) {
  struct part part[PARTS];
  *tensors = 0, *reals = 0;
  for (int k = 0, n = parts_of(m, part); k < n; k++)
    for (int i = 0; i < part[k].net->parameters; i++)
      if (holds(&part[k], i)) *tensors += 1, *reals += part[k].net->parameter[i].size;
}

size_t checkpoint_bytes(const struct model *m) {
  int tensors;
  ptrdiff_t reals;
  measure(m, &tensors, &reals);
  return (size_t)reals * sizeof(real);
}

static ptrdiff_t largest(const struct model *m) {
  ptrdiff_t size = 1;
  for (int i = 0; i < m->online.net.parameters; i++)
    if (m->online.net.parameter[i].size > size) size = m->online.net.parameter[i].size;
  return size; /* target and teacher have no other parameters */
}

/* ---- hash ---------------------------------------------------------------------------------------------------------------------------- */

static void add_text(struct sha256 *s, const char *text) { sha256_add(s, text, strlen(text) + 1); } /* with the zero: no run-on */

static void hash(const char *const value[HASHED_KEYS], const struct tensor *tensor, int count, char text[SHA256_HEX_SIZE]) {
  struct sha256 s;
  sha256_begin(&s);
  for (int i = 0; i < HASHED_KEYS; i++) add_text(&s, hashed_key[i]), add_text(&s, value[i]);
  for (int i = 0; i < count; i++) {
    const struct tensor *t = &tensor[i];
    char line[32];
    add_text(&s, t->name);
    add_text(&s, dtype_name(t->dtype));
    for (int j = 0; j < t->ndim; j++) {
      snprintf(line, sizeof line, "%td", t->shape[j]);
      add_text(&s, line);
    }
    sha256_add(&s, t->data, (size_t)tensor_count(t) * dtype_size(t->dtype));
  }
  unsigned char digest[32];
  sha256_end(&s, digest);
  sha256_hex(digest, text);
}

/* Whether every number is one. Running statistics can be none while the losses are: in training nothing reads them. */
static bool all_finite(const char *path, const struct tensor *tensor, int count, struct error *err) {
  for (int k = 0; k < count; k++) {
    const real *x = tensor[k].data;
    for (ptrdiff_t i = 0, n = tensor_count(&tensor[k]); i < n; i++)
      if (!isfinite(x[i]))
        return fail(
            err, "%s: not written: tensor %s holds %g at element %td: the training has diverged; a smaller lr or a longer warmup may help",
            path, tensor[k].name, (double)x[i], i);
  }
  return true;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------------------- */

bool checkpoint_save(const char *path, struct model *m, int64_t step, const char *config, const char *data, struct error *err) {
  int count;
  ptrdiff_t reals;
  measure(m, &count, &reals);
  struct tensor *tensor = calloc((size_t)count, sizeof *tensor);
  real *packed = malloc((size_t)reals * sizeof *packed), *own = malloc((size_t)largest(m) * sizeof *own);
  bool ok = tensor && packed && own;
  if (!ok) fail(err, "%s: out of memory: %.2f GB to gather the weights", path, (double)reals * sizeof(real) / 1e9);

  struct part part[PARTS];
  int parts = parts_of(m, part), t = 0;
  real *at = packed;
  for (int k = 0; ok && k < parts; k++)
    for (int i = 0; i < part[k].net->parameters; i++) {
      if (!holds(&part[k], i)) continue;
      const struct parameter *p = &part[k].net->parameter[i];
      ptrdiff_t shape[4];
      int ndim = exchange_shape(p, shape);
      m->backend->download(own, part[k].state + p->offset, (size_t)p->size * sizeof(real));
      exchange_pack(p, own, at);
      tensor[t++] = tensor_make(REAL_DTYPE, at, ndim, shape, "%s.%s", part[k].prefix, p->name);
      at += p->size;
    }
  ok = ok && m->backend->status(err); /* were these numbers all computed, and all fetched? */
  ok = ok && all_finite(path, tensor, count, err);
  if (ok) {
    char steps[32], digest[SHA256_HEX_SIZE];
    snprintf(steps, sizeof steps, "%" PRId64, step);
    const char *const value[HASHED_KEYS] = {format, steps, config, data};
    hash(value, tensor, count, digest);
    const char *const metadata[] = {"format", format, "step", steps, "config", config, "data", data, "sha256", digest, NULL};
    ok = safetensors_write(path, tensor, count, metadata, err);
  }
  free(tensor);
  free(packed);
  free(own);
  return ok;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------------------- */

bool checkpoint_is_one(const struct safetensors *f) {
  const char *found = safetensors_metadata(f, "format");
  return found && strcmp(found, format) == 0;
}

/* Metadata and hash of an open file. */
static bool verify(struct checkpoint *c, struct error *err) {
  const char *path = c->file.path, *found = safetensors_metadata(&c->file, "format"), *value[HASHED_KEYS];
  if (!found || strcmp(found, format) != 0)
    return fail(err, "%s: no checkpoint of ediy (its metadata has format = %s, expected %s)", path, found ? found : "nothing", format);
  for (int i = 0; i < HASHED_KEYS; i++)
    if (!(value[i] = safetensors_metadata(&c->file, hashed_key[i])))
      return fail(err, "%s: damaged: its metadata lacks %s; use an earlier checkpoint", path, hashed_key[i]);
  const char *expected = safetensors_metadata(&c->file, "sha256");
  char digest[SHA256_HEX_SIZE];
  hash(value, c->file.tensor, c->file.count, digest);
  if (!expected || strcmp(expected, digest) != 0)
    return fail(err, "%s: damaged: SHA-256 of its content is %s, it says %s; use an earlier checkpoint", path, digest,
                expected ? expected : "nothing");
  char *end;
  errno = 0;
  c->step = strtoll(value[1], &end, 10);
  if (errno || *end || c->step < 0) return fail(err, "%s: its metadata has step = %s, which is no number of steps", path, value[1]);
  c->config = value[2], c->data = value[3];
  return true;
}

bool checkpoint_verify(const struct safetensors *f, struct error *err) {
  struct checkpoint c = {.file = *f}; /* looked at, not owned */
  return verify(&c, err);
}

bool checkpoint_open(struct checkpoint *c, const char *path, struct error *err) {
  *c = (struct checkpoint){0};
  if (!safetensors_open(&c->file, path, err)) return false;
  if (verify(c, err)) return true;
  checkpoint_close(c);
  return false;
}

void checkpoint_close(struct checkpoint *c) {
  safetensors_close(&c->file);
  *c = (struct checkpoint){0};
}

/* Is there a place for the tensor of this name? */
static bool expected(const struct part *part, int parts, const char *name) {
  for (int k = 0; k < parts; k++) {
    size_t n = strlen(part[k].prefix);
    if (strncmp(name, part[k].prefix, n) != 0 || name[n] != '.') continue;
    int i = net_find_parameter(part[k].net, name + n + 1);
    return i >= 0 && holds(&part[k], i);
  }
  return false;
}

bool checkpoint_load(const struct checkpoint *c, struct model *m, struct error *err) {
  struct part part[PARTS];
  int parts = parts_of(m, part);
  for (int i = 0; i < c->file.count; i++)
    if (!expected(part, parts, c->file.tensor[i].name))
      return fail(err, "%s: tensor %s has no place in the network of this configuration", c->file.path, c->file.tensor[i].name);
  real *read = malloc((size_t)largest(m) * sizeof *read), *own = malloc((size_t)largest(m) * sizeof *own);
  bool ok = (read && own) || fail(err, "%s: out of memory while reading weights", c->file.path);
  for (int k = 0; ok && k < parts; k++)
    for (int i = 0; ok && i < part[k].net->parameters; i++) {
      if (!holds(&part[k], i)) continue;
      const struct parameter *p = &part[k].net->parameter[i];
      char name[TENSOR_MAX_NAME];
      snprintf(name, sizeof name, "%s.%s", part[k].prefix, p->name);
      ptrdiff_t shape[4];
      int ndim = exchange_shape(p, shape);
      ok = safetensors_load(&c->file, name, REAL_DTYPE, ndim, shape, read, err);
      if (!ok) continue;
      exchange_unpack(p, read, own);
      m->backend->upload(part[k].state + p->offset, own, (size_t)p->size * sizeof(real));
    }
  free(read);
  free(own);
  return ok;
}

bool weights_load(const struct net *net, const char *path, char prefix[TENSOR_MAX_NAME], bool heads_too, float *state, struct error *err) {
  struct safetensors file;
  if (!safetensors_open(&file, path, err)) return false;
  bool ours = checkpoint_is_one(&file);
  safetensors_close(&file);
  if (ours) {
    struct checkpoint c;
    if (!checkpoint_open(&c, path, err)) return false;
    if (prefix) prefix[0] = 0; /* what we put in front is nobody's concern */
    bool ok = exchange_import(net, &c.file, "online.", heads_too, state, err);
    checkpoint_close(&c);
    return ok;
  }
  if (!safetensors_open(&file, path, err)) return false;
  bool ok = exchange_import_foreign(net, &file, prefix, heads_too, state, err);
  safetensors_close(&file);
  return ok;
}

/* ---- the checkpoints of a folder ----------------------------------------------------------------------------------------------------- */

static const char name_begin[] = "checkpoint-", name_end[] = ".safetensors";

void checkpoint_path(const char *folder, int64_t step, char path[CHECKPOINT_PATH]) {
  snprintf(path, CHECKPOINT_PATH, "%s/%s%08" PRId64 "%s", folder, name_begin, step, name_end);
}

/* The step of a file name; -1 if it is none of a checkpoint. *rest points behind ".safetensors". */
static int64_t step_of(const char *name, const char **rest) {
  if (strncmp(name, name_begin, sizeof name_begin - 1) != 0) return -1;
  const char *digits = name + sizeof name_begin - 1;
  size_t n = strspn(digits, "0123456789");
  if (n == 0 || n > 18 || strncmp(digits + n, name_end, sizeof name_end - 1) != 0) return -1;
  *rest = digits + n + sizeof name_end - 1;
  return strtoll(digits, NULL, 10);
}

static int newest_first(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x < y) - (x > y);
}

/* The steps of all checkpoints in the folder, newest first; -1 if it cannot be read (errno says why). free(*steps). */
static ptrdiff_t list(const char *folder, int64_t **steps) {
  *steps = NULL;
  DIR *dir = opendir(folder);
  if (!dir) return -1;
  ptrdiff_t count = 0, capacity = 0;
  struct dirent *entry;
  const char *rest;
  while ((entry = readdir(dir))) {
    int64_t step = step_of(entry->d_name, &rest);
    if (step < 0 || *rest) continue;
    if (count == capacity) {
      capacity = capacity ? 2 * capacity : 16;
      int64_t *grown = realloc(*steps, (size_t)capacity * sizeof *grown);
      if (!grown) break; /* those found so far are better than none */
      *steps = grown;
    }
    (*steps)[count++] = step;
  }
  closedir(dir);
  if (count > 0) qsort(*steps, (size_t)count, sizeof **steps, newest_first);
  return count;
}

bool checkpoint_latest(const char *folder, struct checkpoint *c, bool *found, void (*report)(void *context, const char *line),
                       void *context, struct error *err) {
  int64_t *steps;
  *found = false;
  ptrdiff_t count = list(folder, &steps);
  if (count < 0 && errno == ENOTDIR) {
    struct stat self;
    return fail(err, "%s: %s; give out=FOLDER, another one", folder,
                stat(folder, &self) == 0 ? "is a file" : "a part of this path is a file");
  }
  if (count < 0) return errno == ENOENT || fail(err, "%s: cannot list this folder: %s", folder, strerror(errno));
  char path[CHECKPOINT_PATH];
  for (ptrdiff_t i = 0; i < count && !*found; i++) {
    struct error why;
    checkpoint_path(folder, steps[i], path);
    *found = checkpoint_open(c, path, &why);
    if (!*found && report) report(context, why.text);
  }
  free(steps);
  return *found || count == 0 ||
         fail(err, "%s: none of its %td checkpoints can be used; remove them to begin anew, or choose another out", folder, count);
}

void checkpoint_prune(const char *folder, int64_t newest, int64_t before) {
  int64_t *steps;
  ptrdiff_t count = list(folder, &steps);
  char path[CHECKPOINT_PATH];
  for (ptrdiff_t i = 0; i < count; i++) {
    if (steps[i] >= newest || steps[i] == before) continue;
    checkpoint_path(folder, steps[i], path);
    unlink(path); /* one that stays does no harm */
  }
  free(steps);
  checkpoint_leftovers(folder, true);
}

/* The number is that of another process of this machine. Our own: whoever had it before us, in a container say, is gone. */
static bool lives(long process) { return process != (long)getpid() && (kill((pid_t)process, 0) == 0 || errno == EPERM); }

/* Whether name is that of a temporary file of a run, which nobody will finish. */
static bool is_leftover(const char *name) {
  static const char *const others[] = {"backbone.safetensors", "config.txt"};
  size_t length;
  long process;
  const char *rest;
  if (!file_is_temporary(name, &length, &process)) return false;
  if (step_of(name, &rest) >= 0 && rest == name + length) return true;
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
    if (strlen(others[i]) == length && strncmp(name, others[i], length) == 0) return !lives(process);
  return false;
}

struct leftovers checkpoint_leftovers(const char *folder, bool remove) {
  struct leftovers l = {0};
  DIR *dir = opendir(folder);
  if (!dir) return l;
  struct dirent *entry;
  while ((entry = readdir(dir))) {
    struct stat s;
    if (!is_leftover(entry->d_name) || fstatat(dirfd(dir), entry->d_name, &s, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(s.st_mode)) continue;
    if (remove && unlinkat(dirfd(dir), entry->d_name, 0) != 0) continue;
    if (l.count++ == 0) snprintf(l.first, sizeof l.first, "%s", entry->d_name);
    l.bytes += (size_t)s.st_size;
  }
  closedir(dir);
  return l;
}
