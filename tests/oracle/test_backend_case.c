/* Cases on a backend: every operation reaches the table, and an operation that misbehaves beside its results is found out. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/backends.h"
#include "oracle/trial.h"
#include "support/cmocka.h"

/* How the table behaves on a case of this operation, and what the judge says. */
static enum judgement judged(int op, const struct backend *table, struct conduct *conduct) {
  struct trial *t = calloc(1, sizeof *t);
  struct make_options *o = calloc(1, sizeof *o);
  struct case_run results;
  struct judged_file j;
  struct error err;
  assert_true(t && o);
  make_defaults(o);
  o->op = op, o->seed = 3, o->h = 5, o->w = 4, o->c = 6, o->k = 7, o->m = 6, o->i = 9, o->o = 5, o->steps = 2;
  o->relu = o->residual = o->before = true;
  if (!trial_make(t, o, table, &err) || !trial_run(t, table, true, &results, conduct, &err) ||
      !trial_judge(t, &results, &precision_classes[PRECISION_FP32], CHAIN_USUAL, &j, &err)) {
    fail_msg("%s", err.text);
  }
  assert_true(j.count > 0);
  enum judgement worst = j.worst;
  judged_free(&j);
  run_end(&results);
  trial_free(t);
  free(t);
  free(o);
  return worst;
}

static void every_operation_of_every_table_passes(void **state) {
  (void)state;
  static const char *const names[] = {"reference", "plain"};
  for (int i = 0; i < 2; i++) {
    struct error err;
    struct named_backend b;
    if (!backend_named(names[i], &b, &err)) fail_msg("%s", err.text);
    for (int op = 0; op < MAKE_RANDOM; op++) {
      struct conduct conduct;
      assert_int_equal(judged(op, b.table, &conduct), JUDGED_PASS);
      assert_int_equal(conduct.kind, CONDUCT_GOOD);
    }
  }
}

static void an_unknown_backend_names_those_that_there_are(void **state) {
  (void)state;
  struct error err;
  struct named_backend b;
  assert_false(backend_named("cuda9", &b, &err));
  assert_non_null(strstr(err.text, "ref32, ref64, reference, plain, cuda, cuda:tf32, cuda:bf16, cuda:libraries, cuda:tf32:libraries, "
                                   "cuda:bf16:libraries, cuda:plain, cuda:tf32:plain, cuda:bf16:plain, cuda:bf16:wgmma"));
}

/* ---- chains -------------------------------------------------------------------------------------------------------------------------- */

/* Of a shape that a table has not got: what it was asked for. */
static ptrdiff_t chain_of_shape(const struct conv *g, int direction) {
  return 2000 + 1000 * direction + g->n * g->p * g->q * g->k + g->r * g->s * g->c;
}

static double chain_of_case(int op, const struct backend *table, const char *result) {
  struct trial *t = calloc(1, sizeof *t);
  struct make_options *o = calloc(1, sizeof *o);
  struct error err;
  assert_true(t && o);
  make_defaults(o);
  o->op = op, o->seed = 3, o->n = 2, o->h = 5, o->w = 4, o->c = 6, o->k = 7, o->r = 3, o->pad = 0, o->m = 6, o->i = 9, o->o = 5;
  if (!trial_make(t, o, table, &err)) fail_msg("%s", err.text);
  double chain = backend_case_chain(&t->part.file, table, result);
  trial_free(t);
  free(t);
  free(o);
  return chain;
}

static void a_case_has_the_chains_of_the_table(void **state) {
  (void)state;
  static const char *const results[] = {"out.y", "grad_in.x", "grad_param.weight"};
  const int conv = 2 * 3 * 2 * 7 + 3 * 3 * 6, linear = 6 * 5 + 9;
  struct backend table = *backend_reference();
  assert_true(chain_of_case(MAKE_CONV, &table, NULL) == CHAIN_USUAL); /* says nothing */
  assert_true(chain_of_case(MAKE_CONV, NULL, NULL) == CHAIN_USUAL);
  table.conv_chain = chain_of_shape;
  for (int d = 0; d < 3; d++) {
    assert_true(chain_of_case(MAKE_CONV, &table, results[d]) == 2000 + 1000 * d + conv);
    assert_true(chain_of_case(MAKE_LINEAR, &table, results[d]) == 2000 + 1000 * d + linear);
  }
  assert_true(chain_of_case(MAKE_CONV, &table, NULL) == 4000 + conv);
  assert_true(chain_of_case(MAKE_LINEAR, &table, "grad_param.bias") == CHAIN_USUAL);
  assert_true(chain_of_case(MAKE_NORM, &table, NULL) == CHAIN_USUAL);
}

/* ---- operations that misbehave ------------------------------------------------------------------------------------------------------- */

/* y is right, and an element before or behind it is written, or x is. */
static void conv_behind(const struct conv *g, const float *x, const float *w, float *y, void *scratch) {
  backend_reference()->conv_forward(g, x, w, y, scratch);
  y[g->n * g->p * g->q * g->k] = 0;
}
static void conv_before(const struct conv *g, const float *x, const float *w, float *y, void *scratch) {
  backend_reference()->conv_forward(g, x, w, y, scratch);
  y[-1] = 0;
}
static void conv_on_input(const struct conv *g, const float *x, const float *w, float *y, void *scratch) {
  float *to = (float *)(uintptr_t)x;
  backend_reference()->conv_forward(g, x, w, y, scratch);
  to[1] += 1;
}

/* The last bit of an element depends on how often it was called: an unordered sum. */
static void conv_unsteady(const struct conv *g, const float *x, const float *w, float *y, void *scratch) {
  static int calls;
  uint32_t bits;
  backend_reference()->conv_forward(g, x, w, y, scratch);
  memcpy(&bits, &y[3], sizeof bits);
  bits ^= (uint32_t)(calls++ & 1);
  memcpy(&y[3], &bits, sizeof bits);
}

/* Weights are transformed once for an address, and kept. */
static void conv_cached(const struct conv *g, const float *x, const float *w, float *y, void *scratch) {
  static const float *known;
  static float kept[4096];
  if (w != known) memcpy(kept, w, (size_t)(g->k * g->r * g->s * g->c) * sizeof *w);
  known = w;
  backend_reference()->conv_forward(g, x, kept, y, scratch);
}

/* An element beside x is read, and goes into y[0]. */
static enum { ADDED, MULTIPLIED_BY_ZERO, LARGEST, SMALLEST, USES } use;
static ptrdiff_t beside; /* -1, or from the end of x */
static void conv_reading(const struct conv *g, const float *x, const float *w, float *y, void *scratch) {
  float read = beside < 0 ? x[beside] : x[g->n * g->h * g->w * g->c + beside];
  backend_reference()->conv_forward(g, x, w, y, scratch);
  if (use == ADDED) y[0] += read;
  if (use == MULTIPLIED_BY_ZERO) y[0] += 0 * read;
  if (use == LARGEST) y[0] = fmaxf(y[0], read);
  if (use == SMALLEST) y[0] = fminf(y[0], read);
}

static struct conduct conduct_of(void (*conv)(const struct conv *, const float *, const float *, float *, void *), enum judgement *j) {
  struct backend table = *backend_reference();
  struct conduct conduct;
  table.conv_forward = conv;
  *j = judged(MAKE_CONV, &table, &conduct);
  return conduct;
}

static void writing_outside_or_to_an_input_is_found(void **state) {
  (void)state;
  enum judgement j;
  struct conduct c = conduct_of(conv_behind, &j);
  assert_int_equal(c.kind, CONDUCT_OUTSIDE);
  assert_string_equal(c.text, "operation conv wrote outside out.y (1120 bytes)");
  assert_int_equal(conduct_of(conv_before, &j).kind, CONDUCT_OUTSIDE);
  c = conduct_of(conv_on_input, &j);
  assert_int_equal(c.kind, CONDUCT_OUTSIDE);
  assert_string_equal(c.text, "operation conv changed its input in.x");
}

static void other_bits_for_the_same_inputs_are_found(void **state) {
  (void)state;
  enum judgement j;
  struct conduct c = conduct_of(conv_unsteady, &j);
  assert_int_equal(c.kind, CONDUCT_NONDETERMINISTIC);
  assert_non_null(strstr(c.text, "out.y[0, 0, 0, 3] is "));
  assert_int_equal(j, JUDGED_PASS); /* every call's numbers are right */
}

static void what_was_kept_from_other_inputs_is_found(void **state) {
  (void)state;
  enum judgement j;
  struct conduct c = conduct_of(conv_cached, &j);
  assert_int_equal(c.kind, CONDUCT_STALE);
  assert_int_equal(j, JUDGED_MISMATCH);
}

static void what_is_read_beside_an_input_is_found(void **state) {
  (void)state;
  static const ptrdiff_t places[] = {-1, 0, 100};
  enum judgement j;
  for (int i = 0; i < 3; i++) {
    for (use = 0; use < USES; use++) {
      beside = places[i];
      struct conduct c = conduct_of(conv_reading, &j);
      if (c.kind == CONDUCT_GOOD && j == JUDGED_PASS) fail_msg("use %d of what stands at %td passes", (int)use, beside);
    }
  }
}

/* The largest of a window, and the smallest of a row, begin with what stands in y: fmaxf and fminf pass NaN by. */
static bool smallest;
static void maxpool_on(const struct pool *g, const float *x, float *y, int32_t *index) {
  const ptrdiff_t size = g->n * maxpool_out(g->h) * maxpool_out(g->w) * g->c;
  float *was = malloc((size_t)size * sizeof *was);
  assert_non_null(was);
  memcpy(was, y, (size_t)size * sizeof *was);
  backend_reference()->maxpool_forward(g, x, y, index);
  for (ptrdiff_t i = 0; i < size; i++) y[i] = smallest ? fminf(was[i], y[i]) : fmaxf(was[i], y[i]);
  free(was);
}

static void what_was_never_begun_is_found(void **state) {
  (void)state;
  struct backend table = *backend_reference();
  struct conduct c;
  table.maxpool_forward = maxpool_on;
  for (int s = 0; s < 2; s++) {
    smallest = s == 1;
    judged(MAKE_MAXPOOL, &table, &c);
    assert_int_equal(c.kind, smallest ? CONDUCT_STALE : CONDUCT_NONDETERMINISTIC);
    assert_non_null(strstr(c.text, "out.y[0, 0, 0, 0] is "));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_operation_of_every_table_passes),         cmocka_unit_test(a_case_has_the_chains_of_the_table),
      cmocka_unit_test(an_unknown_backend_names_those_that_there_are), cmocka_unit_test(writing_outside_or_to_an_input_is_found),
      cmocka_unit_test(other_bits_for_the_same_inputs_are_found),      cmocka_unit_test(what_was_kept_from_other_inputs_is_found),
      cmocka_unit_test(what_is_read_beside_an_input_is_found),         cmocka_unit_test(what_was_never_begun_is_found),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
