/* Faults in a whole training step, which replay must find where they are: in the plain backend's code, so that every call of the operation
 * has the fault, as in a real kernel; and, harder, in one call alone, so that one layer has it. EDIY_TEST_FAULTS=N: every N-th fault (1:
 * all of the catalogue) in place of a few. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "oracle/mutants/plain.h"
#include "oracle/replay.h"
#include "support/cmocka.h"
#include "support/recorded.h"

/* ---- where a fault is ---------------------------------------------------------------------------------------------------------------- */

static bool starts(const char *s, const char *start) { return strncmp(s, start, strlen(start)) == 0; }

/* The function of the table that the fault is in; PLAIN_CALLS: in none that a training step calls. */
static enum plain_call call_of(const struct fault_description *d) {
  static const struct {
    const char *op, *name, *tensors; /* beginnings */
    enum plain_call call;
  } rows[] = {{"conv", "", "out", CALL_CONV_FORWARD},
              {"conv", "", "grad_in", CALL_CONV_DATA},
              {"conv", "", "grad_param", CALL_CONV_WEIGHTS},
              {"linear", "", "out", CALL_LINEAR_FORWARD},
              {"linear", "", "grad_in", CALL_LINEAR_DATA},
              {"linear", "", "grad_param", CALL_LINEAR_WEIGHTS},
              {"norm", "bn-eval", "", CALL_NORM_EVAL},
              {"norm", "", "out", CALL_NORM_TRAIN},
              {"norm", "", "grad", CALL_NORM_BACKWARD},
              {"maxpool", "", "out", CALL_MAXPOOL},
              {"maxpool", "", "grad", CALL_MAXPOOL_BACKWARD},
              {"avgpool", "", "out", CALL_AVGPOOL},
              {"avgpool", "", "grad", CALL_AVGPOOL_BACKWARD},
              {"match", "", "out.s", CALL_INVARIANCE},
              {"match", "", "out", CALL_DIVERSITY},
              {"loss", "byol", "", CALL_BYOL},
              {"loss", "rdem", "", CALL_RDEM},
              {"loss", "instance", "", CALL_INSTANCE},
              {"loss", "riem", "", CALL_RIEM},
              {"lars", "", "", CALL_LARS},
              {"ema", "", "", CALL_EMA}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (starts(d->op, rows[i].op) && starts(d->name, rows[i].name) && starts(d->tensors, rows[i].tensors)) return rows[i].call;
  }
  return PLAIN_CALLS;
}

/* The recording at the moment of the call. */
struct place {
  struct dump *d;
  int entries;
  bool seen;
};

static void note_place(void *context) {
  struct place *p = context;
  if (!p->seen) p->entries = p->d->count;
  p->seen = true;
}

/* The layer whose operation was called: forward, in a loss or an update the next tensor is its; a pool's gradient has none, and the tensor
 * before is the gradient that it reads. */
static const struct dump_entry *entry_of(const struct dump *d, const struct place *p, enum plain_call call) {
  bool before = call == CALL_MAXPOOL_BACKWARD || call == CALL_AVGPOOL_BACKWARD || call == CALL_LARS;
  int at = before ? p->entries - 1 : p->entries;
  return p->seen && at >= 0 && at < d->count ? &d->entry[at] : NULL;
}

/* ---- a step with a fault in it ------------------------------------------------------------------------------------------------------- */

static struct recorded_options small(void) {
  struct recorded_options o = recorded_small();
  struct model_config *c = &o.config;
  c->arch.base_width = 4, c->batch = 3, c->arch.hidden = 24, c->arch.out = 16;
  o.backend = backend_plain();
  return o;
}

static bool same_numbers(const struct dump *a, const struct dump *b) {
  bool same = a->count == b->count;
  for (int i = 0; same && i < a->count; i++) {
    const struct tensor *x = &a->entry[i].data, *y = &b->entry[i].data;
    same = memcmp(x->data, y->data, (size_t)tensor_count(x) * dtype_size(x->dtype)) == 0;
  }
  return same;
}

struct found {
  const struct dump *d;
  const struct units *u;
  char first[TENSOR_MAX_NAME]; /* the first tensor that is wrong */
  char rule[64];
  int wrong;
  const char *op; /* null, or the operation that has a fault */
  bool of_it;     /* the first wrong tensor is one that the operation has a part in */
};

/* Whether a layer of this kind reads the value. */
static bool is_read_by(const struct net *net, int value, enum layer_kind kind) {
  for (int i = 0; i < net->layers; i++) {
    if (net->layer[i].kind == kind && (net->layer[i].x == value || net->layer[i].residual == value)) return true;
  }
  return false;
}

/* Whether the losses read the value: dy has their gradient in it. */
static bool is_read_by_losses(const struct net *net, int value) {
  return value == net->prediction || value == net->regions || value == net->region_prediction;
}

/* Whether the unit is one that this operation of the catalogue has a part in, forward or backward. */
static bool is_of_operation(const struct units *u, const struct unit *at, const char *op) {
  static const struct {
    const char *op; /* a beginning: "norm relu" */
    enum unit_kind kind;
    int layer; /* enum layer_kind, or -1 */
  } rows[] = {{"conv", UNIT_FORWARD, LAYER_CONV},
              {"linear", UNIT_FORWARD, LAYER_LINEAR},
              {"norm", UNIT_FORWARD, LAYER_NORM},
              {"maxpool", UNIT_FORWARD, LAYER_MAXPOOL},
              {"avgpool", UNIT_FORWARD, LAYER_AVGPOOL},
              {"match", UNIT_MATCH, -1},
              {"loss", UNIT_LOSS, -1},
              {"lars", UNIT_OPTIMISER, -1},
              {"ema", UNIT_EMA, -1}};
  const struct net *net = &u->net[at->network];
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (!starts(op, rows[i].op)) continue;
    if (rows[i].layer < 0)
      return at->kind == rows[i].kind ||
             (at->kind == UNIT_GRADIENT && rows[i].kind == UNIT_LOSS && is_read_by_losses(net, net->layer[at->index].y));
    if (at->kind == UNIT_GRADIENT) return is_read_by(net, net->layer[at->index].y, (enum layer_kind)rows[i].layer);
    return (at->kind == UNIT_FORWARD || at->kind == UNIT_WEIGHTS) && (int)net->layer[at->index].kind == rows[i].layer;
  }
  return false;
}

static bool see(void *context, const struct replay_row *row) {
  struct found *f = context;
  if (row->judged.judgement <= JUDGED_VACUOUS) return true;
  if (f->wrong++ == 0) {
    f->of_it = f->op && row->unit && is_of_operation(f->u, row->unit, f->op);
    snprintf(f->first, sizeof f->first, "%s", row->judged.finding.tensor);
    snprintf(f->rule, sizeof f->rule, "%.63s", row->judged.finding.rule);
  }
  return true;
}

static void replay(const struct dump *d, struct units *u, const char *op, struct found *f) {
  struct error err;
  struct replay r = {.u = u, .options = {.precision = -1}, .see = see, .context = f};
  *f = (struct found){.d = d, .u = u, .op = op};
  if (!units_open(u, d, &err) || !replay_open(&r, &err)) fail_msg("%s", err.text);
  for (int i = 0; i < u->count; i++) {
    if (!replay_unit(&r, &u->unit[i], &err)) fail_msg("%s", err.text);
  }
  replay_extra(&r);
  replay_close(&r);
}

/* Whether the first wrong tensor is of the layer that went wrong, or is the gradient of one of the values it reads, which is named after
 * the layer that writes it. */
static bool is_located(const struct found *f, const struct dump_entry *where, enum plain_call call) {
  const struct dump_entry *first = dump_find(f->d, "%s", f->first);
  if (!first || !where || first->step != where->step || first->micro != where->micro) return false;
  if (call == CALL_INVARIANCE || call == CALL_DIVERSITY) return strcmp(first->phase, "match") == 0;
  if (strcmp(first->layer, where->layer) == 0) return true;
  bool gradient = strcmp(first->tensor, "dy") == 0 && first->view == where->view;
  const struct net *net = &f->u->net[UNIT_ONLINE];
  if (gradient && strcmp(where->phase, "loss") == 0) { /* of what the losses read */
    const int read[] = {net->prediction, net->regions, net->region_prediction};
    for (int i = 0; i < 3; i++) {
      if (read[i] >= 0 && strcmp(net->value[read[i]].name, first->layer) == 0) return true;
    }
  }
  int layer = net_find_layer_f32(net, where->layer);
  if (!gradient || layer < 0) return false;
  const int read[] = {net->layer[layer].x, net->layer[layer].residual};
  for (int i = 0; i < 2; i++) {
    if (read[i] >= 0 && strcmp(net->value[read[i]].name, first->layer) == 0) return true;
  }
  return false;
}

/* ---- the tests ----------------------------------------------------------------------------------------------------------------------- */

static void a_right_step_of_the_plain_backend_passes(void **state) {
  (void)state;
  struct dump d;
  struct units u;
  struct found f;
  struct recorded_options o = small();
  plain_fault(FAULT_NONE, -1);
  recorded_make(&d, &o);
  replay(&d, &u, NULL, &f);
  units_close(&u);
  recorded_free(&d);
  if (f.wrong) fail_msg("%d wrong, first %s (%s)", f.wrong, f.first, f.rule);
}

struct score {
  int changed, killed, located;
};

/* One fault, in call number `index` of its function, or in all (-1). Returns whether it changed a bit. */
static bool try_fault(enum fault fault, enum plain_call call, int index, const struct recorded_options *o, const struct dump *right,
                      struct score *s) {
  struct dump d;
  struct units u;
  struct found f;
  struct place place = {.d = &d};
  plain_fault(fault, index);
  plain_watch(call, note_place, &place);
  recorded_make(&d, o);
  plain_watch(call, NULL, NULL);
  plain_fault(FAULT_NONE, -1);
  bool changed = !same_numbers(&d, right);
  if (changed) {
    const char *name = fault_catalogue[fault].name;
    const struct dump_entry *where = index < 0 ? NULL : entry_of(&d, &place, call);
    replay(&d, &u, fault_catalogue[fault].op, &f);
    bool located = f.wrong > 0 && (index < 0 ? f.of_it : is_located(&f, where, call));
    s->changed++;
    s->killed += f.wrong > 0;
    s->located += located;
    if (f.wrong == 0) print_message("survived: %s in %s\n", name, index < 0 ? "every call" : where ? where->name : "?");
    if (f.wrong > 0 && !located) {
      print_message("elsewhere: %s in %s: first %s (%s), %d wrong\n", name,
                    index < 0 ? "every call"
                    : where   ? where->name
                              : "?",
                    f.first, f.rule, f.wrong);
    }
    units_close(&u);
  }
  recorded_free(&d);
  return changed;
}

/* The steps that faults are tried in: the second has images as negatives, and a function that the first has not. */
enum { STEPS = 2 };
struct steps {
  struct recorded_options o[STEPS];
  struct dump right[STEPS];
  int calls[PLAIN_CALLS];
};

static int make_steps(void **state) {
  struct steps *s = calloc(1, sizeof *s);
  if (!s) return -1;
  for (int i = 0; i < STEPS; i++) {
    s->o[i] = small();
    if (i == 1) s->o[i].config.negative = NEGATIVE_INSTANCE;
    plain_fault(FAULT_NONE, -1);
    recorded_make(&s->right[i], &s->o[i]);
    for (int c = 0; c < PLAIN_CALLS; c++) {
      if ((c == CALL_INSTANCE) == (i == 1)) s->calls[c] = plain_calls((enum plain_call)c);
    }
  }
  *state = s;
  return 0;
}

static int free_steps(void **state) {
  struct steps *s = *state;
  for (int i = 0; i < STEPS; i++) recorded_free(&s->right[i]);
  free(s);
  return 0;
}

/* Every fault that a step can have, or every 29th of them; in all calls, or in one of up to three that are drawn (not every layer has a
 * bias, a residual, a padding), until it changes a bit. */
static struct score try_catalogue(const struct steps *steps, bool everywhere) {
  const char *wanted = getenv("EDIY_TEST_FAULTS");
  int stride = wanted && atoi(wanted) > 0 ? atoi(wanted) : 29, tried = 0;
  struct score s = {0};
  struct philox g = philox_stream(5, PHILOX_TEST, 9, 0, 0);
  for (enum fault f = FAULT_NONE + 1; f < FAULTS; f++) {
    enum plain_call call = call_of(&fault_catalogue[f]);
    bool changed = false;
    if ((f - 1) % stride != 0 || call == PLAIN_CALLS || steps->calls[call] == 0) continue;
    int which = call == CALL_INSTANCE;
    tried++;
    for (int again = 0; again < (everywhere ? 1 : 3) && !changed; again++) {
      int index = everywhere ? -1 : (int)philox_below(&g, (uint32_t)steps->calls[call]);
      changed = try_fault(f, call, index, &steps->o[which], &steps->right[which], &s);
    }
  }
  print_message("%d faults tried, %d changed a bit: %d found, %d of them in the right place\n", tried, s.changed, s.killed, s.located);
  return s;
}

static void faults_are_found_where_they_are(void **state) {
  struct score s = try_catalogue(*state, true);
  assert_true(s.changed > 0);
  assert_true(100 * s.killed >= 99 * s.changed);
  assert_true(s.located == s.killed);
}

static void faults_in_one_call_are_found_in_their_layer(void **state) {
  struct score s = try_catalogue(*state, false);
  assert_true(s.changed > 0);
  assert_true(100 * s.killed >= 90 * s.changed); /* one call of one layer: the rule sees few elements */
  assert_true(100 * s.located >= 95 * s.killed);
}

int main(void) {
  omp_set_num_threads(1); /* shapes too small to share out: threads would spend their time waiting */
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_right_step_of_the_plain_backend_passes),
                                     cmocka_unit_test(faults_are_found_where_they_are),
                                     cmocka_unit_test(faults_in_one_call_are_found_in_their_layer)};
  return cmocka_run_group_tests(tests, make_steps, free_steps);
}
