#include "oracle/dump_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/compare.h"
#include "oracle/digest.h"
#include "oracle/distance.h"
#include "oracle/dump_flips.h"
#include "oracle/dump_window.h"

/* ---- one thread -------------------------------------------------------------------------------------------------------------------- */

struct bench { /* one thread's */
  char *a, *b; /* windows */
  struct digest digest;
  double row_a[DIGEST_MAX_LENGTH], row_b[DIGEST_MAX_LENGTH];
};

/* ---- what is allowed ---------------------------------------------------------------------------------------------------------------- */

static void judge_l2(struct check_row *r, ptrdiff_t differ, double l2, double factor) {
  r->l2 = l2;
  if (r->a->drift < 0) {
    r->rule = "exact";
    r->verdict = differ == 0 ? CHECK_PASS : CHECK_MISMATCH;
    return;
  }
  r->rule = "drift";
  r->factor = factor;
  r->allowed = factor * r->a->drift;
  bool ok = l2 <= r->allowed;
  r->verdict = !ok ? CHECK_MISMATCH : r->allowed >= 1 && r->a->drift <= 1 ? CHECK_VACUOUS : CHECK_PASS;
}

static void not_finite(struct check_row *r) { r->rule = "not finite", r->verdict = CHECK_MISMATCH, r->l2 = INFINITY; }

/* ---- both in full ------------------------------------------------------------------------------------------------------------------- */

/* True in *same if every byte is equal. */
static bool same_bytes(const struct dump_side *a, const struct dump_side *b, struct bench *k, const struct check_row *r, bool *same,
                       struct error *err) {
  ptrdiff_t count = dump_elements(r->a);
  *same = r->a->dtype == r->b->dtype;
  for (ptrdiff_t i = 0; *same && i < count; i += WINDOW_ELEMENTS) {
    ptrdiff_t n = count - i < WINDOW_ELEMENTS ? count - i : WINDOW_ELEMENTS;
    if (!dump_side_read(a, r->a, i, n, k->a, err) || !dump_side_read(b, r->b, i, n, k->b, err)) return false;
    *same = memcmp(k->a, k->b, (size_t)n * dtype_size(r->a->dtype)) == 0;
  }
  return true;
}

static bool check_full(const struct dump_side *a, const struct dump_side *b, struct bench *k, struct check_row *r, struct error *err) {
  bool same;
  struct distance d = {.where = -1};
  ptrdiff_t count = dump_elements(r->a);
  if (!same_bytes(a, b, k, r, &same, err)) return false;
  if (same) {
    r->rule = "identical";
    return true;
  }
  for (ptrdiff_t i = 0; i < count; i += WINDOW_ELEMENTS) {
    ptrdiff_t n = count - i < WINDOW_ELEMENTS ? count - i : WINDOW_ELEMENTS;
    if (!dump_side_read(a, r->a, i, n, k->a, err) || !dump_side_read(b, r->b, i, n, k->b, err)) return false;
    distance_add(&d, r->a->dtype, k->a, r->b->dtype, k->b, n);
  }
  r->norm = distance_norm(&d), r->max = d.max, r->zeros_apart = d.zeros_apart;
  if (d.differ > 0) r->where = d.where, r->candidate = d.b, r->expected = d.a;
  if (d.not_finite_apart > 0)
    not_finite(r);
  else
    judge_l2(r, d.differ, distance_l2(&d, !dtype_is_float(r->a->dtype)), DUMP_CHECK_FACTOR);
  return true;
}

/* ---- digests ------------------------------------------------------------------------------------------------------------------------ */

/* The digest of a tensor, read or made; hash: the SHA-256 of what was read, or of the manifest. */
static bool digest_of(const struct dump_side *s, const struct dump_entry *e, struct bench *k, double *row, char hash[SHA256_HEX_SIZE],
                      struct error *err) {
  ptrdiff_t count = dump_elements(e);
  size_t bytes = (size_t)digest_length(e->dtype, count) * sizeof *row;
  if (s->d->kind == DUMP_DIGEST) {
    memcpy(row, e->data.data, bytes);
    memcpy(hash, e->sha256, SHA256_HEX_SIZE);
    return true;
  }
  struct sha256 sha;
  unsigned char binary[32];
  sha256_begin(&sha);
  digest_begin(&k->digest, e->name, e->dtype, count);
  for (ptrdiff_t i = 0; i < count; i += WINDOW_ELEMENTS) {
    ptrdiff_t n = count - i < WINDOW_ELEMENTS ? count - i : WINDOW_ELEMENTS;
    if (!dump_side_read(s, e, i, n, k->a, err)) return false;
    sha256_add(&sha, k->a, (size_t)n * dtype_size(e->dtype));
    digest_add(&k->digest, k->a, n);
  }
  digest_end(&k->digest);
  sha256_end(&sha, binary);
  sha256_hex(binary, hash);
  memcpy(row, k->digest.value, bytes);
  return true;
}

static bool check_digests(const struct dump_side *a, const struct dump_side *b, struct bench *k, struct check_row *r, struct error *err) {
  char hash_a[SHA256_HEX_SIZE], hash_b[SHA256_HEX_SIZE];
  ptrdiff_t count = dump_elements(r->a);
  if (!digest_of(a, r->a, k, k->row_a, hash_a, err) || !digest_of(b, r->b, k, k->row_b, hash_b, err)) return false;
  bool same_hash = r->a->dtype == r->b->dtype && strcmp(hash_a, hash_b) == 0;
  if (same_hash && memcmp(k->row_a, k->row_b, (size_t)digest_length(r->a->dtype, count) * sizeof(double)) == 0) {
    r->rule = "identical";
    return true;
  }
  struct digest_distance d = digest_compare(r->a->name, r->a->dtype, count, k->row_a, k->row_b);
  bool sketch = digest_form(r->a->dtype, count) != DIGEST_WHOLE;
  r->where = d.where, r->candidate = d.b, r->expected = d.a;
  r->estimated = sketch;
  r->norm = d.norm, r->max = d.max, r->zeros_apart = d.zeros_apart;
  /* Other bytes of equal digests: a whole one says that the values are equal, a sketch says nothing. */
  ptrdiff_t differ = sketch || d.l2 > 0;
  if (!d.finite_alike)
    not_finite(r);
  else
    judge_l2(r, differ, fmax(d.l2, d.lower), sketch ? DUMP_CHECK_SKETCH * DUMP_CHECK_FACTOR : DUMP_CHECK_FACTOR);
  return true;
}

/* ---- a row -------------------------------------------------------------------------------------------------------------------------- */

static bool same_kind(const struct dump_entry *a, const struct dump_entry *b) {
  if (a->dtype == b->dtype) return true;
  if (dtype_is_float(a->dtype) && dtype_is_float(b->dtype)) return a->drift >= 0;
  bool index_a = a->dtype == DTYPE_I32 || a->dtype == DTYPE_I64, index_b = b->dtype == DTYPE_I32 || b->dtype == DTYPE_I64;
  return index_a && index_b;
}

static bool same_shape(const struct dump_entry *a, const struct dump_entry *b) {
  return a->ndim == b->ndim && memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof a->shape[0]) == 0;
}

static bool check_row(const struct dump_side *a, const struct dump_side *b, struct bench *k, struct check_row *r, struct error *err) {
  r->where = -1;
  if (!r->a || !r->b) {
    if (r->what[0]) return true;
    r->rule = r->a ? "missing" : "extra", r->verdict = CHECK_INCOMPLETE, r->l2 = INFINITY;
  } else if (!same_kind(r->a, r->b)) {
    r->rule = "dtype", r->verdict = CHECK_MISMATCH, r->l2 = INFINITY;
  } else if (!same_shape(r->a, r->b)) {
    r->rule = "shape", r->verdict = CHECK_MISMATCH, r->l2 = INFINITY;
  } else if (a->d->kind == DUMP_FULL && b->d->kind == DUMP_FULL) {
    return check_full(a, b, k, r, err);
  } else {
    return check_digests(a, b, k, r, err);
  }
  return true;
}

/* Every row, by as many threads as there are. */
static bool check_rows(struct dump_check *c, const struct dump_side *a, const struct dump_side *b, struct error *err) {
  bool ok = true;
#pragma omp parallel
  {
    struct bench *k = malloc(sizeof *k);
    struct error own = {.text = ""};
    if (k) k->a = malloc((size_t)WINDOW_ELEMENTS * WINDOW_ELEMENT), k->b = malloc((size_t)WINDOW_ELEMENTS * WINDOW_ELEMENT);
    bool ready = (k && k->a && k->b) || fail(&own, "out of memory");
#pragma omp for schedule(dynamic)
    for (int i = 0; i < c->count; i++)
      if (ready) ready = check_row(a, b, k, &c->row[i], &own);
#pragma omp critical
    if (!ready && ok) ok = fail(err, "%s", own.text);
    if (k) free(k->a), free(k->b);
    free(k);
  }
  return ok;
}

/* ---- the manifests ------------------------------------------------------------------------------------------------------------------ */

static void manifest_row(struct dump_check *c, const char *what) {
  struct check_row *r = &c->row[c->count++];
  *r = (struct check_row){.verdict = CHECK_MISMATCH, .rule = "manifest", .l2 = INFINITY, .where = -1};
  snprintf(r->what, sizeof r->what, "%s", what);
}

/* Equal, or numbers that differ by no more than how they were computed and printed. */
static bool alike(const json_t *a, const json_t *b) {
  if (!json_is_number(a) || !json_is_number(b)) return json_equal(a, b);
  double x = json_number_value(a), y = json_number_value(b);
  return fabs(x - y) <= 1e-12 * fabs(x);
}

enum { MANIFEST_ROWS = 64 };

static void check_manifests(struct dump_check *c, const struct dump *a, const struct dump *b) {
  const char *key;
  json_t *value, *attrs = json_object_get(a->manifest, "attrs"), *others = json_object_get(b->manifest, "attrs");
  char what[96];
  json_object_foreach(attrs, key, value) {
    snprintf(what, sizeof what, "attrs.%s", key);
    if (!alike(value, json_object_get(others, key)) && c->count < MANIFEST_ROWS) manifest_row(c, what);
  }
  const json_t *steps = json_object_get(a->manifest, "steps"), *theirs = json_object_get(b->manifest, "steps");
  for (size_t k = 0; k < json_array_size(steps); k++) {
    static const char *const keys[] = {"step", "lr", "tau"};
    for (int i = 0; i < 3; i++) {
      snprintf(what, sizeof what, "steps[%zu].%s", k, keys[i]);
      bool same = alike(json_object_get(json_array_get(steps, k), keys[i]), json_object_get(json_array_get(theirs, k), keys[i]));
      if (!same && c->count < MANIFEST_ROWS) manifest_row(c, what);
    }
  }
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------------------- */

static bool wanted(const struct dump_entry *e, const char *only) { return strncmp(e->name, only, strlen(only)) == 0; }

static void pair(struct dump_check *c, const struct dump *a, const struct dump *b, const char *only) {
  int last = -1;
  for (int i = 0; i < a->count; i++) {
    if (!wanted(&a->entry[i], only)) continue;
    const struct dump_entry *other = dump_find(b, "%s", a->entry[i].name);
    c->row[c->count++] = (struct check_row){.a = &a->entry[i], .b = other};
    if (!other) continue;
    int at = (int)(other - b->entry);
    if (at < last) c->reordered = true;
    last = at;
  }
  for (int i = 0; i < b->count; i++)
    if (wanted(&b->entry[i], only) && !dump_find(a, "%s", b->entry[i].name)) c->row[c->count++] = (struct check_row){.b = &b->entry[i]};
}

static void summarise(struct dump_check *c) {
  for (int i = 0; i < c->count; i++) {
    const struct check_row *r = &c->row[i];
    c->rows_with[r->verdict]++;
    if (r->verdict > c->worst) c->worst = r->verdict;
    if (strcmp(r->rule, "identical") == 0) c->identical++;
    if (!c->first && r->verdict >= CHECK_INCOMPLETE) c->first = r;
    if (r->a && r->b) c->bytes += (double)dump_elements(r->a) * (double)dtype_size(r->a->dtype);
  }
}

bool dump_check(struct dump_check *c, const struct dump *a, const struct dump *b, const char *only, struct error *err) {
  struct dump_side sides[2] = {{.fd = NULL}, {.fd = NULL}};
  *c = (struct dump_check){.row = calloc((size_t)a->count + (size_t)b->count + MANIFEST_ROWS, sizeof *c->row)};
  if (!c->row) return fail(err, "out of memory");
  check_manifests(c, a, b);
  const int first = c->count;
  pair(c, a, b, only);
  bool ok = dump_side_open(&sides[0], a, err) && dump_side_open(&sides[1], b, err) && check_rows(c, &sides[0], &sides[1], err) &&
            (*only || check_allow_flips(c, &sides[0], first, err)); /* a part of a dump does not say what fell before it */
  for (int i = 0; i < 2; i++)
    if (sides[i].fd) dump_side_close(&sides[i]);
  if (ok)
    summarise(c);
  else
    dump_check_free(c);
  return ok;
}

void dump_check_free(struct dump_check *c) {
  free(c->row);
  *c = (struct dump_check){0};
}

const char *check_row_name(const struct check_row *r) { return r->a ? r->a->name : r->b ? r->b->name : r->what; }

static void shape_text(const struct dump_entry *e, char *text, size_t size) {
  int used = snprintf(text, size, "%s [", dtype_name(e->dtype));
  for (int i = 0; i < e->ndim && used >= 0 && (size_t)used < size; i++)
    used += snprintf(text + used, size - (size_t)used, i ? ", %td" : "%td", e->shape[i]);
  if (used >= 0 && (size_t)used < size) snprintf(text + used, size - (size_t)used, "]");
}

void check_row_text(const struct check_row *r, char *text, size_t size) {
  const char *name = check_row_name(r);
  char a[128], b[128], where[96] = "";
  if (!r->a && !r->b) {
    snprintf(text, size, "manifest: %s differs", name);
  } else if (!r->b) {
    snprintf(text, size, "%s: missing", name);
  } else if (!r->a) {
    snprintf(text, size, "%s: not expected", name);
  } else if (strcmp(r->rule, "dtype") == 0 || strcmp(r->rule, "shape") == 0) {
    shape_text(r->a, a, sizeof a);
    shape_text(r->b, b, sizeof b);
    snprintf(text, size, "%s: is %s, expected %s (%s)", name, b, a, r->rule);
  } else {
    struct tensor t = {.ndim = r->a->ndim};
    memcpy(t.shape, r->a->shape, sizeof t.shape);
    if (r->where >= 0) compare_index_text(&t, r->where, where, sizeof where);
    int used = r->where >= 0 ? snprintf(text, size, "%s%s is %.9g, expected %.9g (%s)", name, where, r->candidate, r->expected, r->rule)
                             : snprintf(text, size, "%s (%s)", name, r->rule);
    if (used >= 0 && (size_t)used < size)
      snprintf(text + used, size - (size_t)used, ": off by %.3g of its norm%s, allowed %.3g", r->l2, r->estimated ? " (estimated)" : "",
               r->allowed);
  }
}
