#include "oracle/decisions.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct decision_layer {
  char name[160]; /* network, view, layer */
  ptrdiff_t size;
  float *value;      /* the candidate's output; null: it is not that of a ReLU */
  ptrdiff_t *closed; /* closings: elements that are open in the truth, but closed by force */
  ptrdiff_t closings;
};

static void name_of(const struct trace_event *e, char name[160]) { snprintf(name, 160, "%s view %d %s", e->network, e->view, e->layer); }

static bool is_output(const struct trace_event *e) { return e->phase == PHASE_FORWARD && strcmp(e->tensor, "y") == 0; }

/* Nowhere negative: the output of a ReLU, or of a pool behind one. */
static bool rectified(const struct tensor *t) {
  for (ptrdiff_t i = 0, n = tensor_count(t); i < n; i++) {
    if (!(tensor_at(t, i) >= 0)) return false;
  }
  return true;
}

static void record(void *context, const struct trace_event *e) {
  struct decisions *d = context;
  if (!is_output(e) || d->broken) return;
  if (d->count == d->capacity) {
    int capacity = d->capacity ? 2 * d->capacity : 64;
    struct decision_layer *grown = realloc(d->layer, (size_t)capacity * sizeof *grown);
    if (!grown) {
      d->broken = true;
      return;
    }
    d->layer = grown;
    d->capacity = capacity;
  }
  struct decision_layer *l = &d->layer[d->count++];
  *l = (struct decision_layer){.size = tensor_count(&e->data)};
  name_of(e, l->name);
  if (!rectified(&e->data)) return;
  if (!(l->value = malloc((size_t)l->size * sizeof *l->value))) {
    d->broken = true;
    return;
  }
  for (ptrdiff_t i = 0; i < l->size; i++) l->value[i] = (float)tensor_at(&e->data, i);
}

static void note_flip(struct decisions *d, const struct decision_layer *l, ptrdiff_t i, double width) {
  d->flips++;
  if (d->flips == 1 || !(width <= d->widest)) {
    d->widest = width;
    snprintf(d->where, sizeof d->where, "%.90s [%td]", l->name, i);
  }
}

static void force_forward(struct decisions *d, const struct trace_event *e) {
  struct decision_layer *l = d->next < d->count ? &d->layer[d->next++] : NULL;
  char name[160];
  name_of(e, name);
  if (!l || strcmp(name, l->name) != 0 || tensor_count(&e->data) != l->size || e->data.dtype != DTYPE_F64) {
    d->broken = true;
    return;
  }
  if (!l->value || !rectified(&e->data)) return;
  double *y = e->data.data, most = 0;
  for (ptrdiff_t i = 0; i < l->size; i++) most = fmax(most, y[i]);
  d->seen += l->size;
  for (ptrdiff_t i = 0; i < l->size; i++) {
    bool open = l->value[i] > 0;
    if (open == (y[i] > 0)) continue;
    note_flip(d, l, i, fmax((double)l->value[i], y[i]) / most);
    if (open) {
      y[i] = DBL_MIN;
      continue;
    }
    ptrdiff_t *grown = realloc(l->closed, (size_t)(l->closings + 1) * sizeof *grown);
    if (!grown) {
      d->broken = true;
      return;
    }
    l->closed = grown;
    l->closed[l->closings++] = i;
  }
}

/* The gradient of a layer's output, just before it flows through the layer. */
static void force_backward(struct decisions *d, const struct trace_event *e) {
  char name[160];
  name_of(e, name);
  for (int k = d->next - 1; k >= 0; k--) { /* the latest pass of this layer */
    const struct decision_layer *l = &d->layer[k];
    if (strcmp(l->name, name) != 0) continue;
    double *dy = e->data.data;
    for (ptrdiff_t i = 0; i < l->closings; i++) dy[l->closed[i]] = 0;
    return;
  }
}

static void force(void *context, const struct trace_event *e) {
  struct decisions *d = context;
  if (d->broken) return;
  if (is_output(e)) force_forward(d, e);
  if (e->phase == PHASE_BACKWARD && strcmp(e->tensor, "dy") == 0) force_backward(d, e);
}

struct trace decisions_record(struct decisions *d) {
  return (struct trace){.see = record, .context = d};
}
struct trace decisions_force(struct decisions *d) {
  return (struct trace){.see = force, .context = d};
}

void decisions_free(struct decisions *d) {
  for (int i = 0; i < d->count; i++) {
    free(d->layer[i].value);
    free(d->layer[i].closed);
  }
  free(d->layer);
  *d = (struct decisions){0};
}
