/* Faults in a whole training step: the plain backend runs it with a fault in one call of one operation, and replay must find the fault, in the
 * layer where it is. EDIY_TEST_FAULTS=N: every N-th fault (1: all of the catalogue) in place of a few. */
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

/* The layer whose operation was called: forward, in a loss or an update the next tensor is its; a pool's gradient has none, and the tensor before
 * is the gradient that it reads. */
static const struct dump_entry *entry_of(const struct dump *d, const struct place *p, enum plain_call call) {
  bool before = call == CALL_MAXPOOL_BACKWARD || call == CALL_AVGPOOL_BACKWARD || call == CALL_LARS;
  int at = before ? p->entries - 1 : p->entries;
  return p->seen && at >= 0 && at < d->count ? &d->entry[at] : NULL;
}

/* ---- a step with a fault in it --------------------------------------------------------------------------------------------------------- */

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
};

static bool see(void *context, const struct replay_row *row) {
  struct found *f = context;
  if (row->judged.judgement <= JUDGED_VACUOUS) return true;
  if (f->wrong++ == 0) {
    snprintf(f->first, sizeof f->first, "%s", row->judged.finding.tensor);
    snprintf(f->rule, sizeof f->rule, "%.63s", row->judged.finding.rule);
  }
  return true;
}

static void replay(const struct dump *d, struct units *u, struct found *f) {
  struct error err;
  struct replay r = {.u = u, .options = {.precision = -1}, .see = see, .context = f};
  *f = (struct found){.d = d, .u = u};
  if (!units_open(u, d, &err) || !replay_open(&r, &err)) fail_msg("%s", err.text);
  for (int i = 0; i < u->count; i++) {
    if (!replay_unit(&r, &u->unit[i], &err)) fail_msg("%s", err.text);
  }
  replay_extra(&r);
  replay_close(&r);
}

/* Whether the first wrong tensor is of the layer that went wrong, or is the gradient of one of the values it reads, which is named after the layer
 * that writes it. */
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

/* ---- the tests ------------------------------------------------------------------------------------------------------------------------- */

static void a_right_step_of_the_plain_backend_passes(void **state) {
  (void)state;
  struct dump d;
  struct units u;
  struct found f;
  struct recorded_options o = small();
  plain_fault(FAULT_NONE, -1);
  recorded_make(&d, &o);
  replay(&d, &u, &f);
  units_close(&u);
  recorded_free(&d);
  if (f.wrong) fail_msg("%d wrong, first %s (%s)", f.wrong, f.first, f.rule);
}

struct score {
  int changed, killed, located;
};

/* One fault, in a call drawn from those of its function. Returns whether it changed a bit. */
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
    const struct dump_entry *where = entry_of(&d, &place, call);
    replay(&d, &u, &f);
    bool located = f.wrong > 0 && is_located(&f, where, call);
    s->changed++;
    s->killed += f.wrong > 0;
    s->located += located;
    if (f.wrong == 0) print_message("survived: %s in %s\n", fault_catalogue[fault].name, where ? where->name : "?");
    if (f.wrong > 0 && !located) {
      print_message("elsewhere: %s in %s: first %s (%s), %d wrong\n", fault_catalogue[fault].name, where ? where->name : "?", f.first,
                    f.rule, f.wrong);
    }
    units_close(&u);
  }
  recorded_free(&d);
  return changed;
}

static void faults_in_one_call_are_found_in_their_layer(void **state) {
  (void)state;
  const char *wanted = getenv("EDIY_TEST_FAULTS");
  int stride = wanted && atoi(wanted) > 0 ? atoi(wanted) : 29, calls[PLAIN_CALLS], tried = 0;
  struct dump right[2];
  struct recorded_options o[2] = {small(), small()}; /* the second: negatives are images */
  struct score s = {0};
  o[1].config.negative = NEGATIVE_INSTANCE;
  for (int i = 0; i < 2; i++) {
    plain_fault(FAULT_NONE, -1);
    recorded_make(&right[i], &o[i]);
    for (int c = 0; c < PLAIN_CALLS && i == 0; c++) calls[c] = plain_calls((enum plain_call)c);
  }
  calls[CALL_INSTANCE] = plain_calls(CALL_INSTANCE);
  struct philox g = philox_stream(5, PHILOX_TEST, 9, 0, 0);
  for (enum fault f = FAULT_NONE + 1; f < FAULTS; f++) {
    enum plain_call call = call_of(&fault_catalogue[f]);
    bool changed = false;
    if ((f - 1) % stride != 0 || call == PLAIN_CALLS || calls[call] == 0) continue;
    int which = call == CALL_INSTANCE;
    tried++;
    for (int again = 0; again < 3 && !changed; again++) /* not every layer has a bias, a residual, a padding */
      changed = try_fault(f, call, (int)philox_below(&g, (uint32_t)calls[call]), &o[which], &right[which], &s);
  }
  for (int i = 0; i < 2; i++) recorded_free(&right[i]);
  print_message("%d faults tried, %d changed a bit: %d found, %d of them in the right layer\n", tried, s.changed, s.killed, s.located);
  assert_true(s.changed > 0);
  assert_true(100 * s.killed >= (stride == 1 ? 90 : 80) * s.changed); /* one call of one layer: the rule sees few elements */
  assert_true(100 * s.located >= 95 * s.killed);
}

int main(void) {
  omp_set_num_threads(1); /* shapes too small to share out: threads would spend their time waiting */
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_right_step_of_the_plain_backend_passes),
                                     cmocka_unit_test(faults_in_one_call_are_found_in_their_layer)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
