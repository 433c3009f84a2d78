/* ediy_oracle_judge: draws cases, runs the kernel on them, judges what comes out, and says it in one line. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/numerals.h"
#include "base/plural.h"
#include "ediy.h"
#include "oracle/candidate.h"
#include "oracle/kernel.h"
#include "oracle/memory_case.h"

enum { CASES_USUAL = 24, NAMES = 16, MOST_CASES = 1 << 20 };

/* How often a result was right, and its check not vacuous. */
struct tally {
  char tensor[TENSOR_MAX_NAME];
  const char *accepted; /* what a vacuous check would have accepted, the last time */
  int solid, vacuous;
};

struct session {
  struct numerals numerals;
  const ediy_oracle_kernel *kernel;
  const ediy_oracle_memory *where; /* null: the host's */
  enum precision precision;
  struct precision_class p; /* of that, as declared */
  double chain;
  ediy_oracle_verdict *v;
  struct error err;
  const struct kernel_operation *op;
  const struct make_options *o;
  struct tally tally[NAMES]; /* of the operation at hand */
  int names;
  int calls;                                              /* of the case at hand */
  int taken[KERNEL_FUNCTIONS], refused[KERNEL_FUNCTIONS]; /* cases of the operation at hand, by each function */
  char closest_rule[64];
  char shapes[640];   /* the shape that was given, as each operation was told of it */
  char unsteady[512]; /* the first result that came out differently the second time */
  char vacuous[512];  /* the first result whose check was never anything else */
  char declined[400]; /* which function declined how many cases */
  bool incomplete;    /* some function declined all */
};

/* ---- what is said -------------------------------------------------------------------------------------------------------------------- */

/* Behind the text, as much as there is room for. */
static void append(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void append(char *text, size_t size, const char *format, ...) {
  size_t used = strlen(text);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text + used, size - used, format, arguments);
  va_end(arguments);
}

static void note_tensor(struct session *s, const char *tensor, double ratio) {
  s->v->ratio = ratio;
  snprintf(s->v->tensor, sizeof s->v->tensor, "%.*s", (int)sizeof s->v->tensor - 1, tensor);
  snprintf(s->v->operation, sizeof s->v->operation, "%s", s->op->name);
}

/* A result, or the kernel itself, is wrong. tensor: the array that it is about, "" where it is about none. Returns false: nothing more is
 * judged. */
static bool mismatch(struct session *s, const char *tensor, double ratio, const char *what) {
  static const char *const when[] = {"", ", in the second call, on other inputs in the same memory",
                                     ", in the third call, on the first inputs again"};
  char command[440];
  make_command(s->o, "case.safetensors", command, sizeof command);
  note_tensor(s, tensor, ratio);
  s->v->status = EDIY_ORACLE_MISMATCH;
  snprintf(s->v->text, sizeof s->v->text, "%s: %.440s%s; the case: %s", s->op->name, what, when[s->calls > 0 ? s->calls - 1 : 0], command);
  return false;
}

static struct tally *tally_of(struct session *s, const char *tensor) {
  for (int i = 0; i < s->names; i++) {
    if (strcmp(s->tally[i].tensor, tensor) == 0) return &s->tally[i];
  }
  if (s->names == NAMES) return NULL; /* no operation has so many results */
  struct tally *t = &s->tally[s->names++];
  *t = (struct tally){.solid = 0};
  snprintf(t->tensor, sizeof t->tensor, "%s", tensor);
  return t;
}

/* ---- one call ------------------------------------------------------------------------------------------------------------------------ */

static bool is_gradient_given(const struct tensor *t) { return strncmp(t->name, "grad_out.", strlen("grad_out.")) == 0; }

/* The case of these inputs in which the results that the kernel makes, and no others, are expected. */
static bool case_of(const struct kernel_memory *m, const struct made_case *inputs, struct memory_case *c, struct error *err) {
  bool gradients = false;
  memory_case_begin(c, inputs->file.op, inputs->file.op);
  json_object_update(c->file.attributes, inputs->file.attributes);
  for (int i = 0; i < m->count; i++) {
    const struct kernel_buffer *b = &m->buffer[i];
    gradients = gradients || strncmp(b->t.name, "grad_", 5) == 0;
    if (kernel_is_judged(m, b)) memory_case_expect(c, b->t.name, b->t.dtype == DTYPE_I32 ? DTYPE_I64 : DTYPE_F64, b->t.ndim, b->t.shape);
  }
  for (int i = 0; i < inputs->file.file.count; i++) {
    const struct tensor *t = &inputs->file.file.tensor[i];
    if (gradients || !is_gradient_given(t)) memory_case_give(c, t->name, t);
  }
  return memory_case_end(c, err);
}

static bool judge_tensor(struct session *s, const struct judged *j) {
  const struct finding *f = &j->finding;
  double ratio = j->profiled ? j->profile.ratio : f->allowed > 0 ? f->error / f->allowed : 0;
  struct tally *t = tally_of(s, f->tensor);
  s->v->tensors++;
  if (j->judgement != JUDGED_PASS && j->judgement != JUDGED_VACUOUS) {
    char text[600];
    judged_text(f, text, sizeof text);
    return mismatch(s, f->tensor, f->allowed > 0 ? f->error / f->allowed : INFINITY, text);
  }
  if (t) t->solid += j->judgement == JUDGED_PASS, t->vacuous += j->judgement == JUDGED_VACUOUS;
  if (t && j->accepted) t->accepted = j->accepted;
  if (ratio > s->v->ratio) note_tensor(s, f->tensor, ratio), snprintf(s->closest_rule, sizeof s->closest_rule, "%s", f->rule);
  return true;
}

/* What the kernel made of these inputs. */
static bool judge_results(struct session *s, const struct kernel_memory *m, const struct made_case *inputs) {
  struct tensor result[KERNEL_BUFFERS];
  struct memory_case *c = malloc(sizeof *c);
  struct judged_file j = {0};
  int count = 0;
  if (!c) return fail(&s->err, "out of memory");
  for (int i = 0; i < m->count; i++) {
    if (kernel_is_judged(m, &m->buffer[i])) result[count++] = m->buffer[i].t;
  }
  bool ok = case_of(m, inputs, c, &s->err) && candidate_judge_tensors(&c->file, result, count, &s->p, s->chain, true, &j, &s->err);
  for (int i = 0; ok && i < j.count; i++) ok = judge_tensor(s, &j.tensor[i]);
  judged_free(&j);
  memory_case_free(c);
  free(c);
  return ok;
}

/* Calls the kernel on these inputs, made of o. */
static bool call(struct session *s, struct kernel_memory *m, const struct made_case *inputs, const struct make_options *o) {
  char what[256];
  s->o = o;
  s->calls = m->calls + 1;
  kernel_memory_begin(m, inputs);
  numerals_of_program(&s->numerals);
  s->op->call(s->kernel, o, m);
  numerals_own_again(&s->numerals);
  if (m->failed) return false;
  if (m->status != 0) snprintf(what, sizeof what, "%s returned %d", s->op->functions[m->by], m->status);
  if (m->status == EDIY_ORACLE_DECLINE) snprintf(what, sizeof what, "%s declined a shape that it had taken", s->op->functions[m->by]);
  if (m->status != 0) return mismatch(s, "", INFINITY, what);
  const char *harmed = kernel_memory_harmed(m, what, sizeof what);
  return !harmed || mismatch(s, harmed, INFINITY, what);
}

/* ---- one case ------------------------------------------------------------------------------------------------------------------------ */

static size_t result_bytes(const struct kernel_memory *m) {
  size_t bytes = 0;
  for (int i = 0; i < m->count; i++) {
    if (kernel_is_judged(m, &m->buffer[i])) bytes += (size_t)tensor_count(&m->buffer[i].t) * dtype_size(m->buffer[i].t.dtype);
  }
  return bytes;
}

/* Copies the results to `to`, or, where it is null, compares them with `kept`; the name of the first that differs, or null. */
static const char *keep(const struct kernel_memory *m, unsigned char *to, const unsigned char *kept) {
  for (int i = 0; i < m->count; i++) {
    const struct tensor *t = &m->buffer[i].t;
    size_t bytes = (size_t)tensor_count(t) * dtype_size(t->dtype);
    if (!kernel_is_judged(m, &m->buffer[i])) continue;
    if (to) memcpy(to, t->data, bytes), to += bytes;
    if (!to && memcmp(kept, t->data, bytes) != 0) return t->name;
    if (!to) kept += bytes;
  }
  return NULL;
}

/* Counts what each function did with the case. False: none took it. */
static bool count_case(struct session *s, const struct kernel_memory *m) {
  const unsigned has = s->op->has(s->kernel), took = has & ~m->declined;
  for (int f = 0; f < KERNEL_FUNCTIONS; f++) s->taken[f] += took >> f & 1, s->refused[f] += (has & m->declined) >> f & 1;
  s->v->cases += took != 0;
  s->v->declined += took != has;
  return took != 0;
}

/* On the inputs, on others in the same memory, on the first again. o, another: what they were made of. */
static bool run_case(struct session *s, const struct made_case *first, const struct make_options *o, const struct made_case *other,
                     const struct make_options *another) {
  struct kernel_memory *m = calloc(1, sizeof *m);
  unsigned char *kept = NULL;
  if (!m) return fail(&s->err, "out of memory");
  m->err = &s->err;
  m->where = s->where;
  bool ok = call(s, m, first, o);
  if (ok && count_case(s, m)) {
    ok = judge_results(s, m, first) && ((kept = malloc(result_bytes(m) + 1)) || fail(&s->err, "out of memory"));
    if (ok) keep(m, kept, NULL);
    ok = ok && call(s, m, other, another) && judge_results(s, m, other) && call(s, m, first, o);
    const char *differs = ok ? keep(m, NULL, kept) : NULL;
    if (differs && !s->unsteady[0]) {
      char command[384];
      make_command(s->o, "case.safetensors", command, sizeof command);
      snprintf(s->unsteady, sizeof s->unsteady, "%s: %.60s has other bits when the same inputs come again; the case: %s", s->op->name,
               differs, command);
    }
  }
  kernel_memory_free(m);
  free(kept);
  free(m);
  return ok;
}

static bool judge_case(struct session *s, struct make_options *o) {
  struct made_case *first = malloc(sizeof *first), *other = malloc(sizeof *other);
  bool ok = first && other ? make_inputs(first, o, &s->err) : fail(&s->err, "out of memory");
  if (ok) {
    struct make_options another = *o;
    another.seed = o->seed + 1;
    if ((ok = make_inputs(other, &another, &s->err))) {
      ok = run_case(s, first, o, other, &another);
      made_case_free(other);
    }
    made_case_free(first);
  }
  free(first);
  free(other);
  return ok;
}

/* ---- one operation ------------------------------------------------------------------------------------------------------------------- */

/* Whether inputs of this kind are drawn unasked. Denormals are flushed, and NaN passed by, by many a kernel that is meant to. round: what
 * inputs are rounded to leaves as little of numbers that differ by less as a class that rounds them itself. */
static bool is_drawn(const struct session *s, int fill, int round) {
  return fill != FILL_DENORMAL && fill != FILL_INF && kernel_fill_fits(s->op, fill) && make_fill_fits(s->op->op, fill, s->precision) &&
         !(round != ROUND_NO && fill == FILL_OFFSET && !make_fill_fits(s->op->op, fill, PRECISION_BF16));
}

/* The kinds that are drawn, in turn. */
static int drawn_fills(const struct session *s, int round, int fills[MAKE_FILLS]) {
  int count = 0;
  for (int fill = 0; fill < MAKE_FILLS; fill++)
    if (is_drawn(s, fill, round)) fills[count++] = fill;
  return count;
}

/* The shape that was given, as this operation was told of it, for the verdict. */
static void note_shape(struct session *s, const struct make_options *o) {
  append(s->shapes, sizeof s->shapes, "%s%s of", s->shapes[0] ? "; " : "", s->op->name);
  for (int i = 0; i < MAKE_KEYS; i++) {
    char value[OPTION_TEXT_SIZE];
    if (strcmp(make_keys[i].key, "fill") == 0 || !kernel_is_told(s->op, make_keys[i].key)) continue;
    options_value(&make_keys[i], o, value, sizeof value);
    append(s->shapes, sizeof s->shapes, " %s=%s", make_keys[i].key, value);
  }
}

/* Case i: each kind of inputs comes with the usual settings and with others, and when the kinds come again a third has extreme shapes. */
static void draw_shape(struct make_options *o, int i, int fill, int fills) {
  make_draw(o);
  o->fill = fill;
  if (i >= fills && (i - fills) % 3 == 0) make_draw_extreme(o, (i - fills) / 3);
  if ((i / fills + i % fills) % 2 == 1) make_draw_settings(o);
}

static bool judge_operation(struct session *s, const ediy_oracle_options *options, struct make_options *o) {
  static const int rounds[] = {[EDIY_ORACLE_FP32] = ROUND_NO, [EDIY_ORACLE_TF32] = ROUND_TF32, [EDIY_ORACLE_BF16] = ROUND_BF16};
  bool filled = false, ok = true;
  int fill[MAKE_FILLS], fills = drawn_fills(s, rounds[options->round], fill);
  int count = options->shape ? fills : options->cases ? options->cases : CASES_USUAL;
  s->names = 0;
  memset(s->taken, 0, sizeof s->taken);
  memset(s->refused, 0, sizeof s->refused);
  for (int i = 0; ok && i < count && !(filled && i > 0); i++) {
    options_default(make_keys, MAKE_KEYS, o);
    o->seed = (int64_t)(options->seed % 1000000000) * 1000000 + 2 * i;
    o->op = (int)s->op->op;
    if (!options->shape) draw_shape(o, i, fill[i % fills], fills);
    o->fill = fill[i % fills];
    o->round = rounds[options->round];
    if (options->shape && !kernel_read_shape(s->kernel, options->shape, o, &filled, &s->err)) return false;
    if (options->shape && i == 0) note_shape(s, o);
    if (s->op->prepare) s->op->prepare(o);
    ok = judge_case(s, o);
  }
  for (int f = 0; ok && f < KERNEL_FUNCTIONS; f++) {
    if (s->refused[f] == 0) continue;
    const bool all = s->taken[f] == 0;
    s->incomplete = s->incomplete || all;
    append(s->declined, sizeof s->declined, "%s%s declined ", s->declined[0] ? ", " : "", s->op->functions[f]);
    if (all) append(s->declined, sizeof s->declined, "all of %d cases", s->refused[f]);
    if (!all) append(s->declined, sizeof s->declined, "%d of %d", s->refused[f], s->taken[f] + s->refused[f]);
  }
  for (int i = 0; ok && i < s->names && !s->vacuous[0]; i++) {
    const struct tally *t = &s->tally[i];
    if (t->solid == 0)
      snprintf(s->vacuous, sizeof s->vacuous, "%s: %.60s: VACUOUS: right, but in %d cases the rule would have accepted %s as well",
               s->op->name, t->tensor, t->vacuous, t->accepted ? t->accepted : "something wrong");
  }
  return ok;
}

/* ---- the verdict --------------------------------------------------------------------------------------------------------------------- */

static bool check_options(const ediy_oracle_kernel *kernel, const ediy_oracle_options *o, struct error *err) {
  if (!kernel) return fail(err, "kernel is null");
  if ((int)o->precision < 0 || o->precision > EDIY_ORACLE_FP32_RZ) return fail(err, "precision: %d is none", (int)o->precision);
  if (o->chain < 0) return fail(err, "chain: %d is negative", o->chain);
  if (o->cases < 0 || o->cases > MOST_CASES) return fail(err, "cases: %d is not from 0 to %d", o->cases, MOST_CASES);
  if (o->round != EDIY_ORACLE_FP32 && o->round != EDIY_ORACLE_TF32 && o->round != EDIY_ORACLE_BF16)
    return fail(err, "round: inputs are rounded to tf32 or bf16, or not; %d is neither", (int)o->round);
  const ediy_oracle_memory *m = &o->memory;
  const int given = (m->reserve != NULL) + (m->release != NULL) + (m->upload != NULL) + (m->download != NULL);
  if (given != 0 && given != 4)
    return fail(err, "memory: reserve, release, upload and download go together; %d of them are null", 4 - given);
  if (o->winograd && !kernel->conv_forward) return fail(err, "winograd: is of conv_forward, which is null");
  for (int i = 0; i < KERNEL_OPERATIONS; i++) {
    if (kernel_operations[i]->has(kernel)) return true;
  }
  return fail(err, "kernel: all functions are null");
}

/* Nothing was wrong: one line about it. */
static void conclude(struct session *s, const char *names) {
  ediy_oracle_verdict *v = s->v;
  if (s->unsteady[0]) {
    v->status = EDIY_ORACLE_NONDETERMINISTIC;
    snprintf(v->text, sizeof v->text, "%s", s->unsteady);
    return;
  }
  if (s->incomplete) {
    v->status = EDIY_ORACLE_INCOMPLETE;
    snprintf(v->text, sizeof v->text,
             "%s: incomplete: %s; give a shape that is taken; else nothing is wrong, %ld tensor%s of %d case%s as %s", names, s->declined,
             v->tensors, plural(v->tensors), v->cases, plural(v->cases), s->p.name);
    return;
  }
  if (s->vacuous[0]) {
    v->status = EDIY_ORACLE_VACUOUS;
    snprintf(v->text, sizeof v->text, "%s", s->vacuous);
    return;
  }
  append(v->text, sizeof v->text, "%s: pass, %ld tensor%s of %d case%s as %s", names, v->tensors, plural(v->tensors), v->cases,
         plural(v->cases), s->p.name);
  if (s->p.winograd) append(v->text, sizeof v->text, " by Winograd's algorithm");
  if (s->declined[0]) append(v->text, sizeof v->text, "; %s", s->declined);
  if (s->shapes[0]) append(v->text, sizeof v->text, "; %s", s->shapes);
  if (v->tensor[0])
    append(v->text, sizeof v->text, "; closest to its limit: %s %s (%s), at %.2g of it", v->operation, v->tensor, s->closest_rule,
           v->ratio);
}

ediy_oracle_status ediy_oracle_judge(const ediy_oracle_kernel *kernel, const ediy_oracle_options *options, ediy_oracle_verdict *v) {
  static const enum precision classes[] = {PRECISION_FP32, PRECISION_TF32,     PRECISION_BF16,
                                           PRECISION_FP16, PRECISION_BF16_OUT, PRECISION_FP32_RZ};
  static const ediy_oracle_options usual;
  ediy_oracle_verdict ignored;
  char names[256] = "";
  if (!options) options = &usual;
  if (!v) v = &ignored;
  struct numerals numerals = numerals_own(); /* shapes are read, and a command is written that another program reads */
  *v = (ediy_oracle_verdict){.status = EDIY_ORACLE_PASS};
  struct session *s = calloc(1, sizeof *s);
  struct make_options *o = calloc(1, sizeof *o);
  struct error err = {.text = ""};
  bool ok = s && o ? check_options(kernel, options, &err) : fail(&err, "out of memory");
  if (ok) {
    s->kernel = kernel, s->v = v, s->numerals = numerals;
    s->where = options->memory.reserve ? &options->memory : NULL;
    s->precision = classes[options->precision];
    s->p = precision_classes[s->precision];
    s->p.winograd = options->winograd;
    s->chain = options->chain ? options->chain : CHAIN_USUAL;
    for (int i = 0; ok && i < KERNEL_OPERATIONS; i++) {
      s->op = kernel_operations[i];
      if (!s->op->has(kernel)) continue;
      append(names, sizeof names, "%s%s", names[0] ? ", " : "", s->op->name);
      ok = judge_operation(s, options, o);
    }
    if (ok) conclude(s, names);
    err = s->err;
  }
  if (!ok && v->status == EDIY_ORACLE_PASS) {
    v->status = EDIY_ORACLE_BAD_INPUT;
    snprintf(v->text, sizeof v->text, "%.*s", (int)sizeof v->text - 1, err.text);
  }
  free(s);
  free(o);
  numerals_give_back(&numerals);
  return v->status;
}

const char *ediy_oracle_version(void) { return EDIY_VERSION; }
