#include "oracle/lockstep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/digest.h"

const char *const lockstep_group_names[LOCKSTEP_GROUPS] = {"views", "activations", "backward", "gradient", "parameters", "target"};

/* A tensor of A in the step at hand. */
struct lockstep_tensor {
  char name[TENSOR_MAX_NAME];
  double *row; /* its digest */
};

/* The group a tensor belongs to; -1: none. */
static int group_of(const struct step_event *e) {
  if (strcmp(e->tensor, "view") == 0) return LOCKSTEP_VIEWS;
  if (strcmp(e->phase, "forward") == 0 && strcmp(e->tensor, "y") == 0) return LOCKSTEP_FORWARD;
  if (strcmp(e->phase, "backward") == 0 && strcmp(e->tensor, "dy") == 0) return LOCKSTEP_BACKWARD;
  if (strcmp(e->phase, "optimiser") == 0 && strcmp(e->tensor, "gradient") == 0) return LOCKSTEP_GRADIENT;
  if (strcmp(e->phase, "optimiser") == 0 && strcmp(e->tensor, "parameter") == 0) return LOCKSTEP_PARAMETER;
  return strcmp(e->phase, "ema") == 0 ? LOCKSTEP_TARGET : -1;
}

/* ---- hashes ------------------------------------------------------------------------------------------------------------------------- */

static void hash_of(const struct step_event *e, unsigned char hash[32]) {
  struct sha256 s;
  sha256_begin(&s);
  sha256_add(&s, e->data.data, (size_t)tensor_count(&e->data) * dtype_size(e->data.dtype));
  sha256_end(&s, hash);
}

static bool keep_hash(struct lockstep_hashes *h, const struct step_event *e, struct error *err) {
  if (h->count == h->capacity) {
    int capacity = h->capacity ? 2 * h->capacity : 1024;
    void *grown = realloc(h->hash, (size_t)capacity * sizeof *h->hash);
    if (!grown) return fail(err, "out of memory for hashes");
    h->hash = grown, h->capacity = capacity;
  }
  hash_of(e, h->hash[h->count++]);
  return true;
}

/* ---- a step ------------------------------------------------------------------------------------------------------------------------- */

static bool see_a(void *context, const struct step_event *e, struct error *err) {
  struct lockstep *l = context;
  struct digest g;
  if (l->count == l->capacity) {
    int capacity = l->capacity ? 2 * l->capacity : 1024;
    struct lockstep_tensor *grown = realloc(l->tensor, (size_t)capacity * sizeof *grown);
    if (!grown) return fail(err, "out of memory for digests");
    l->tensor = grown, l->capacity = capacity;
  }
  digest_tensor(&g, &e->data);
  struct lockstep_tensor *t = &l->tensor[l->count];
  size_t bytes = (size_t)digest_length(e->data.dtype, tensor_count(&e->data)) * sizeof *t->row;
  memcpy(t->name, e->data.name, sizeof t->name);
  if (!(t->row = malloc(bytes))) return fail(err, "out of memory for digests");
  memcpy(t->row, g.value, bytes);
  l->count++;
  return keep_hash(&l->hashes_a, e, err);
}

/* Matched regions that are others; of very many, at least so many. */
static void count_matches(struct lockstep_step *s, ptrdiff_t count, const double *a, const double *b) {
  s->regions += count;
  if (digest_form(DTYPE_I32, count) == DIGEST_WHOLE) {
    for (ptrdiff_t i = 0; i < count; i++) s->matched_apart += a[1 + i] != b[1 + i];
    return;
  }
  double moved = 0;
  for (int i = 0; i < DIGEST_BINS; i++) moved += fabs(a[1 + i] - b[1 + i]) / 2;
  s->matched_apart += (ptrdiff_t)moved;
}

static bool see_b(void *context, const struct step_event *e, struct error *err) {
  struct lockstep *l = context;
  struct digest g;
  if (l->next == l->count || strcmp(l->tensor[l->next].name, e->data.name) != 0)
    return fail(err, "the backends do not make the same tensors: %s of the second is not of the first", e->data.name);
  const struct lockstep_tensor *t = &l->tensor[l->next++];
  const ptrdiff_t count = tensor_count(&e->data);
  const int group = group_of(e);
  digest_tensor(&g, &e->data);
  if (strcmp(e->phase, "match") == 0) count_matches(l->now, count, t->row, g.value);
  if (group >= 0) {
    struct digest_distance d = digest_compare(t->name, e->data.dtype, count, t->row, g.value);
    double off = d.finite_alike ? d.off : INFINITY;
    l->off[group] += off * off, l->norm[group] += d.norm * d.norm;
  }
  return keep_hash(&l->hashes_b, e, err);
}

static void forget(struct lockstep *l) {
  for (int i = 0; i < l->count; i++) free(l->tensor[i].row);
  l->count = l->next = 0;
}

bool lockstep_next(struct lockstep *l, struct lockstep_step *step, struct error *err) {
  const struct step_sink of_a = {see_a, l}, of_b = {see_b, l};
  *step = (struct lockstep_step){.regions = 0};
  l->now = step;
  memset(l->off, 0, sizeof l->off), memset(l->norm, 0, sizeof l->norm);
  forget(l);
  if (!step_runner_step(l->a, &of_a, &step->a, err) || !step_runner_step(l->b, &of_b, &step->b, err)) return false;
  if (l->next != l->count)
    return fail(err, "the backends do not make the same tensors: %s of the first is not of the second", l->tensor[l->next].name);
  for (int g = 0; g < LOCKSTEP_GROUPS; g++) step->drift[g] = l->off[g] > 0 ? sqrt(l->off[g] / l->norm[g]) : 0;
  return true;
}

/* ---- begin and end ------------------------------------------------------------------------------------------------------------------ */

bool lockstep_begin(struct lockstep *l, struct step_source *source, const struct step_backend *a, const struct step_backend *b,
                    struct error *err) {
  *l = (struct lockstep){.a = NULL};
  if (step_runner_open(&l->a, source, a, err) && step_runner_open(&l->b, source, b, err)) return true;
  lockstep_end(l);
  return false;
}

void lockstep_end(struct lockstep *l) {
  step_runner_close(l->a);
  step_runner_close(l->b);
  forget(l);
  free(l->tensor);
  free(l->hashes_a.hash);
  free(l->hashes_b.hash);
  *l = (struct lockstep){.a = NULL};
}

/* ---- once more ---------------------------------------------------------------------------------------------------------------------- */

struct repeat {
  const struct lockstep_hashes *hashes;
  int next;
  bool same;
  char *where;
};

static bool see_again(void *context, const struct step_event *e, struct error *err) {
  struct repeat *r = context;
  unsigned char hash[32];
  (void)err;
  if (!r->same) return true;
  hash_of(e, hash);
  r->same = r->next < r->hashes->count && memcmp(hash, r->hashes->hash[r->next++], sizeof hash) == 0;
  if (!r->same) memcpy(r->where, e->data.name, TENSOR_MAX_NAME);
  return true;
}

bool lockstep_again(const struct lockstep_hashes *hashes, struct step_source *source, const struct step_backend *b, int steps, bool *same,
                    char where[TENSOR_MAX_NAME], struct error *err) {
  struct step_runner *r;
  struct repeat repeat = {.hashes = hashes, .same = true, .where = where};
  const struct step_sink sink = {see_again, &repeat};
  where[0] = 0;
  if (!step_runner_open(&r, source, b, err)) return false;
  bool ok = true;
  for (int k = 0; ok && repeat.same && k < steps; k++) ok = step_runner_step(r, &sink, NULL, err);
  step_runner_close(r);
  *same = repeat.same;
  return ok;
}
