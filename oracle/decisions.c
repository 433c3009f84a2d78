#include "oracle/decisions.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "op/pool.h"

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

/* Windows of the 3x3/2 max pool (op/pool.h): where output (p, q) of one channel looks, and the order in which it does. */
struct window {
  ptrdiff_t first, row, column; /* flat index of its top left element in the tensor, and the steps between rows and columns */
  ptrdiff_t rows, columns;
};

static struct window window_of(const struct tensor *x, ptrdiff_t n, ptrdiff_t p, ptrdiff_t q, ptrdiff_t c) {
  ptrdiff_t h = x->shape[1], w = x->shape[2], channels = x->shape[3], top = size_max(2 * p - 1, 0), left = size_max(2 * q - 1, 0);
  return (struct window){.first = ((n * h + top) * w + left) * channels + c,
                         .row = w * channels,
                         .column = channels,
                         .rows = size_min(2 * p + 2, h) - top,
                         .columns = size_min(2 * q + 2, w) - left};
}

/* The first maximum in row-major order, in the candidate's values and in the truth's. */
static void winners(const struct window *w, const float *candidate, const double *truth, ptrdiff_t *by_candidate, ptrdiff_t *by_truth) {
  *by_candidate = *by_truth = w->first;
  for (ptrdiff_t i = 0; i < w->rows; i++) {
    for (ptrdiff_t j = 0; j < w->columns; j++) {
      ptrdiff_t at = w->first + i * w->row + j * w->column;
      if (candidate[at] > candidate[*by_candidate]) *by_candidate = at;
      if (truth[at] > truth[*by_truth]) *by_truth = at;
    }
  }
}

static void force_winners(struct decisions *d, const struct decision_layer *l, const struct tensor *x, double most) {
  double *y = x->data;
  ptrdiff_t ours, theirs;
  for (ptrdiff_t n = 0; n < x->shape[0]; n++) {
    for (ptrdiff_t p = 0; p < maxpool_out(x->shape[1]); p++) {
      for (ptrdiff_t q = 0; q < maxpool_out(x->shape[2]); q++) {
        for (ptrdiff_t c = 0; c < x->shape[3]; c++) {
          struct window w = window_of(x, n, p, q, c);
          winners(&w, l->value, y, &theirs, &ours);
          d->seen++;
          if (ours == theirs) continue;
          note_flip(d, l, theirs, (y[ours] - y[theirs]) / most);
          y[theirs] = nextafter(y[ours], INFINITY);
        }
      }
    }
  }
}

static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s), m = strlen(end);
  return n >= m && strcmp(s + n - m, end) == 0;
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
  bool pooled = d->next < d->count && ends_with(d->layer[d->next].name, " maxpool");
  if (pooled && e->data.ndim == 4) force_winners(d, l, &e->data, most);
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
