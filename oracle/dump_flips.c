#include "oracle/dump_flips.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/digest.h"
#include "oracle/distance.h"

/* |a| and max |a| of a row whose bytes were not looked into, because they are those of B. */
static bool measure(const struct dump_side *a, struct check_row *r, struct error *err) {
  const ptrdiff_t count = dump_elements(r->a);
  if (a->d->kind == DUMP_DIGEST) {
    double row[DIGEST_MAX_LENGTH];
    memcpy(row, r->a->data.data, (size_t)digest_length(r->a->dtype, count) * sizeof *row);
    struct digest_distance d = digest_compare(r->a->name, r->a->dtype, count, row, row);
    r->norm = d.norm, r->max = d.max;
    return true;
  }
  struct distance d = {.where = -1};
  char *window = malloc((size_t)WINDOW_ELEMENTS * WINDOW_ELEMENT);
  bool ok = window || fail(err, "out of memory");
  for (ptrdiff_t i = 0; ok && i < count; i += WINDOW_ELEMENTS) {
    ptrdiff_t n = count - i < WINDOW_ELEMENTS ? count - i : WINDOW_ELEMENTS;
    ok = dump_side_read(a, r->a, i, n, window, err);
    if (ok) distance_add(&d, r->a->dtype, window, r->a->dtype, window, n);
  }
  free(window);
  r->norm = distance_norm(&d), r->max = d.max;
  return ok;
}

/* A row whose network is online, of this step, micro-batch and view, by name; rows of A begin at `first`. */
static struct check_row *row_of(const struct dump_check *c, const struct dump *a, int first, const char *name) {
  const struct dump_entry *e = dump_find(a, "%s", name);
  if (!e || first + (e - a->entry) >= c->count) return NULL;
  struct check_row *r = &c->row[first + (e - a->entry)];
  return r->a == e ? r : NULL;
}

/* Adds to r^2 what the flips of this layer's outputs are in the gradient that has passed it. */
static bool add_flips(struct dump_check *c, const struct dump_side *a, int first, struct check_row *dy, double *squares,
                      struct error *err) {
  char name[TENSOR_MAX_NAME];
  ptrdiff_t flips = strcmp(dy->a->layer, "maxpool") == 0;
  snprintf(name, sizeof name, "%d.%d/forward/online/%d/%s/y", dy->a->step, dy->a->micro, dy->a->view, dy->a->layer);
  const struct check_row *y = row_of(c, a->d, first, name);
  if (y && y->verdict == CHECK_PASS && y->zeros_apart > 0) {
    flips += y->zeros_apart;
    c->flips += y->zeros_apart;
  }
  if (flips == 0) return true;
  if (!(dy->norm > 0) && !measure(a, dy, err)) return false;
  if (dy->norm > 0) *squares += 8 * (double)flips * (dy->max / dy->norm) * (dy->max / dy->norm);
  return true;
}

/* r of a row: as it is for gradients and what follows; smaller by how far a step moves parameters. */
static double share_of_row(const struct dump_check *c, const struct dump *a, int first, const struct check_row *r, double share) {
  const struct dump_entry *e = r->a;
  bool optimiser = strcmp(e->phase, "optimiser") == 0, ema = strcmp(e->phase, "ema") == 0;
  if (!ema && !(optimiser && strcmp(e->tensor, "parameter") == 0)) return share;
  char name[TENSOR_MAX_NAME];
  snprintf(name, sizeof name, "%d.0/optimiser/online/0/%s/momentum", e->step, e->layer);
  const struct check_row *m = row_of(c, a, first, name);
  const json_t *step = json_array_get(json_object_get(a->manifest, "steps"), (size_t)e->step);
  double lr = json_number_value(json_object_get(step, "lr")), tau = json_number_value(json_object_get(step, "tau"));
  if (!m || !(r->norm > 0)) return 0;
  return share * lr * m->norm / r->norm * (ema ? 1 - tau : 1);
}

bool check_allow_flips(struct dump_check *c, const struct dump_side *a, int first, struct error *err) {
  double squares = 0;
  for (int i = first; i < c->count && c->row[i].a; i++) {
    struct check_row *r = &c->row[i];
    const struct dump_entry *e = r->a;
    double share = squares > 0 ? share_of_row(c, a->d, first, r, sqrt(squares)) : 0;
    if (share > 0 && r->verdict == CHECK_MISMATCH && strcmp(r->rule, "drift") == 0) {
      r->allowed = r->factor * (e->drift + share);
      if (r->l2 <= r->allowed) r->rule = "relu", r->verdict = CHECK_PASS;
    }
    bool gradient = r->b && strcmp(e->phase, "backward") == 0 && strcmp(e->tensor, "dy") == 0;
    if (gradient && !add_flips(c, a, first, r, &squares, err)) return false;
  }
  return true;
}
