/* oracle check's comparator: what each kind of difference between two dumps gives, in full and in digests (the table of docs/oracle.md). */
#include <float.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "oracle/dump_check.h"

#include "support/cmocka.h"
#include "support/folder.h"
#include "support/support.h"

static char folder[FOLDER_PATH], path_a[IN_FOLDER_PATH], path_b[IN_FOLDER_PATH];
static struct error err;

static int enter(void **state) {
  (void)state;
  folder_make(folder);
  snprintf(path_a, sizeof path_a, "%s/a", folder);
  snprintf(path_b, sizeof path_b, "%s/b", folder);
  err.text[0] = 0;
  return 0;
}

static int leave(void **state) {
  (void)state;
  folder_remove(folder);
  return 0;
}

/* ---- dumps -------------------------------------------------------------------------------------------------------------------------- */

#define Y "0.0/forward/online/1/conv1/y"
#define Z "0.0/forward/online/1/bn1/y"
#define INDEX "0.0/match/-/1/rdem/index"

static void write_steps(const char *path, enum dump_kind kind, const struct tensor *t, int count, int batch, double lr, double tau) {
  struct dump_writer *w;
  if (!dump_create(&w, path, kind, &err)) fail_msg("%s", err.text);
  dump_describe(w, "producer", json_string("test"));
  dump_describe(w, "precision", json_string("fp32"));
  dump_describe(w, "attrs", json_pack("{s:i}", "batch", batch));
  dump_describe(w, "steps", json_pack("[{s:i,s:f,s:f}]", "step", 0, "lr", lr, "tau", tau));
  for (int i = 0; i < count; i++)
    if (!dump_add(w, &t[i], &err)) fail_msg("%s", err.text);
  if (!dump_commit(w, &err)) fail_msg("%s", err.text);
}

static void write_dump(const char *path, enum dump_kind kind, const struct tensor *t, int count) {
  write_steps(path, kind, t, count, 2, 0.1, 0.9);
}

static void remove_dumps(void) {
  folder_remove(path_a);
  folder_remove(path_b);
}

/* Gives every tensor of A this drift. */
static void annotate(double drift) {
  struct dump d;
  double of[8];
  for (int i = 0; i < 8; i++) of[i] = drift;
  assert_true(dump_open(&d, path_a, &err));
  assert_true(dump_annotate(&d, of, &err));
  dump_close(&d);
}

struct result {
  enum check_verdict worst, verdict[8];
  char rule[8][16], first[TENSOR_MAX_NAME], text[8][300];
  double l2[8];
  ptrdiff_t where[8];
  int count;
  bool reordered;
};

static struct result run(void) {
  struct dump a, b;
  struct dump_check c;
  struct result r = {.count = 0};
  if (!dump_open(&a, path_a, &err) || !dump_open(&b, path_b, &err) || !dump_check(&c, &a, &b, "", &err)) fail_msg("%s", err.text);
  r.worst = c.worst, r.count = c.count, r.reordered = c.reordered;
  if (c.first) strcpy(r.first, check_row_name(c.first));
  for (int i = 0; i < c.count && i < 8; i++) {
    r.verdict[i] = c.row[i].verdict, r.l2[i] = c.row[i].l2, r.where[i] = c.row[i].where;
    strcpy(r.rule[i], c.row[i].rule);
    check_row_text(&c.row[i], r.text[i], sizeof r.text[i]);
  }
  dump_check_free(&c);
  dump_close(&a), dump_close(&b);
  return r;
}

/* One tensor against another, under a drift (below 0: none). */
static struct result one(enum dump_kind kind_a, enum dump_kind kind_b, struct tensor a, struct tensor b, double drift) {
  remove_dumps();
  write_dump(path_a, kind_a, &a, 1);
  write_dump(path_b, kind_b, &b, 1);
  if (drift >= 0) annotate(drift);
  return run();
}

#define assert_gives(r, expected_verdict, expected_rule) given(&(r), expected_verdict, expected_rule, __LINE__)
static void given(const struct result *r, enum check_verdict verdict, const char *rule, int line) {
  if (r->verdict[0] != verdict || strcmp(r->rule[0], rule) != 0)
    fail_msg("line %d: verdict %d by rule %s, expected %d by %s: %s", line, r->verdict[0], r->rule[0], verdict, rule, r->text[0]);
  assert_int_equal(r->worst, verdict);
}

/* ---- the table ---------------------------------------------------------------------------------------------------------------------- */

enum { N = 300000 /* more than a window */ };

static float *x, *y;

/* x normal, y a copy. */
static struct tensor tensor_x(void) { return tensor_make(DTYPE_F32, x, 2, (ptrdiff_t[]){N / 100, 100}, Y); }
static struct tensor tensor_y(void) { return tensor_make(DTYPE_F32, y, 2, (ptrdiff_t[]){N / 100, 100}, Y); }

static void fresh(void) {
  free(x), free(y);
  x = test_reals(N), y = test_reals(N);
  test_fill_normal(x, N, 1);
  memcpy(y, x, N * sizeof *x);
}

static void equal_bytes_are_identical(void **state) {
  (void)state;
  const enum dump_kind kinds[] = {DUMP_FULL, DUMP_DIGEST};
  fresh();
  for (int a = 0; a < 2; a++)
    for (int b = 0; b < 2; b++) {
      struct result r = one(kinds[a], kinds[b], tensor_x(), tensor_y(), -1);
      assert_gives(r, CHECK_PASS, "identical");
    }
}

static void without_drift_every_value_is_equal(void **state) {
  (void)state;
  fresh();
  y[270001] = nextafterf(y[270001], 9);
  struct result r = one(DUMP_FULL, DUMP_FULL, tensor_x(), tensor_y(), -1);
  assert_gives(r, CHECK_MISMATCH, "exact");
  assert_int_equal(r.where[0], 270001);
  assert_non_null(strstr(r.text[0], Y "[2700, 1] is "));
  r = one(DUMP_DIGEST, DUMP_FULL, tensor_x(), tensor_y(), -1);
  assert_gives(r, CHECK_MISMATCH, "exact");
  x[0] = 5, y[0] = 6;
  r = one(DUMP_FULL, DUMP_FULL, tensor_x(), tensor_y(), -1);
  assert_non_null(strstr(r.text[0], Y "[0, 0] is 6, expected 5 (exact)"));
}

static void zeros_of_either_sign_are_equal(void **state) {
  (void)state;
  fresh();
  x[7] = 0, y[7] = -0.0f;
  struct result r = one(DUMP_FULL, DUMP_FULL, tensor_x(), tensor_y(), -1);
  assert_gives(r, CHECK_PASS, "exact");
  const ptrdiff_t few = 20; /* of which a digest keeps the values */
  r = one(DUMP_DIGEST, DUMP_FULL, tensor_make(DTYPE_F32, x, 1, &few, Y), tensor_make(DTYPE_F32, y, 1, &few, Y), -1);
  assert_gives(r, CHECK_PASS, "exact");
}

static void a_flushed_denormal_is_seen(void **state) {
  (void)state;
  fresh();
  x[7] = FLT_MIN / 4, y[7] = 0;
  struct result r = one(DUMP_FULL, DUMP_FULL, tensor_x(), tensor_y(), -1);
  assert_gives(r, CHECK_MISMATCH, "exact");
  r = one(DUMP_FULL, DUMP_FULL, tensor_x(), tensor_y(), 1e-7);
  assert_gives(r, CHECK_PASS, "drift");
}

/* y = x (1 + e) is e off; the limit is 4 drift, of sketches 1.65 times that. */
static void drift_allows_four_times_itself(void **state) {
  (void)state;
  fresh();
  for (int i = 0; i < N; i++) y[i] = (float)((double)x[i] * (1 + 1e-4));
  struct result r = one(DUMP_FULL, DUMP_FULL, tensor_x(), tensor_y(), 0.26e-4);
  assert_gives(r, CHECK_PASS, "drift");
  assert_true(fabs(r.l2[0] - 1e-4) < 1e-6);
  r = one(DUMP_FULL, DUMP_FULL, tensor_x(), tensor_y(), 0.24e-4);
  assert_gives(r, CHECK_MISMATCH, "drift");
  r = one(DUMP_DIGEST, DUMP_FULL, tensor_x(), tensor_y(), 0.26e-4);
  assert_gives(r, CHECK_PASS, "drift");
  r = one(DUMP_DIGEST, DUMP_DIGEST, tensor_x(), tensor_y(), 0.24e-4 / 2);
  assert_gives(r, CHECK_MISMATCH, "drift");
}

static void no_drift_at_all_is_exact(void **state) {
  (void)state;
  fresh();
  y[0] = nextafterf(y[0], 9);
  struct result r = one(DUMP_FULL, DUMP_FULL, tensor_x(), tensor_y(), 0);
  assert_gives(r, CHECK_MISMATCH, "drift");
}

static void what_is_not_finite_must_be_where_it_was(void **state) {
  (void)state;
  const float wrong[] = {NAN, INFINITY, -INFINITY};
  for (int i = 0; i < 3; i++) {
    fresh();
    y[131073] = wrong[i];
    struct result r = one(DUMP_FULL, DUMP_FULL, tensor_x(), tensor_y(), 1e-3);
    assert_gives(r, CHECK_MISMATCH, "not finite");
    assert_int_equal(r.where[0], 131073);
    r = one(DUMP_DIGEST, DUMP_FULL, tensor_x(), tensor_y(), 1e-3);
    assert_gives(r, CHECK_MISMATCH, "not finite");
  }
  fresh();
  x[5] = INFINITY, y[5] = -INFINITY;
  struct result r = one(DUMP_FULL, DUMP_FULL, tensor_x(), tensor_y(), 1e-3);
  assert_gives(r, CHECK_MISMATCH, "not finite");
  x[5] = NAN, y[5] = -NAN, x[9] = y[9] = INFINITY;
  y[6] = nextafterf(x[6], 9);
  r = one(DUMP_FULL, DUMP_FULL, tensor_x(), tensor_y(), 1e-3);
  assert_gives(r, CHECK_PASS, "drift");
  assert_true(r.l2[0] > 0 && r.l2[0] < 1e-7);
}

static void a_drift_of_a_quarter_proves_nothing(void **state) {
  (void)state;
  fresh();
  for (int i = 0; i < N; i++) y[i] *= 1.01f;
  struct result r = one(DUMP_FULL, DUMP_FULL, tensor_x(), tensor_y(), 0.3);
  assert_gives(r, CHECK_VACUOUS, "drift");
  r = one(DUMP_FULL, DUMP_FULL, tensor_x(), tensor_y(), 1e8); /* zero but for rounding */
  assert_gives(r, CHECK_PASS, "drift");
}

static void other_dtypes_are_wrong_unless_values_decide(void **state) {
  (void)state;
  double wide[6] = {1, 2, 3, 4, 5, 6};
  float narrow[6] = {1, 2, 3, 4, 5, 6};
  int32_t index[6] = {1, 2, 3, 4, 5, 6};
  int64_t long_index[6] = {1, 2, 3, 4, 5, 6};
  struct tensor f64 = tensor_make(DTYPE_F64, wide, 1, (ptrdiff_t[]){6}, Y), f32 = tensor_make(DTYPE_F32, narrow, 1, (ptrdiff_t[]){6}, Y);
  struct tensor i32 = tensor_make(DTYPE_I32, index, 1, (ptrdiff_t[]){6}, Y),
                i64 = tensor_make(DTYPE_I64, long_index, 1, (ptrdiff_t[]){6}, Y);
  struct result r = one(DUMP_FULL, DUMP_FULL, f64, f32, -1);
  assert_gives(r, CHECK_MISMATCH, "dtype");
  assert_non_null(strstr(r.text[0], "is F32 [6], expected F64 [6]"));
  r = one(DUMP_FULL, DUMP_FULL, f64, f32, 1e-7);
  assert_gives(r, CHECK_PASS, "drift");
  r = one(DUMP_FULL, DUMP_FULL, f32, i32, 1e-7);
  assert_gives(r, CHECK_MISMATCH, "dtype");
  r = one(DUMP_FULL, DUMP_FULL, i32, i64, -1);
  assert_gives(r, CHECK_PASS, "exact");
}

static void other_shapes_are_wrong(void **state) {
  (void)state;
  fresh();
  struct tensor t = tensor_y();
  t.shape[0] = 100, t.shape[1] = N / 100;
  struct result r = one(DUMP_FULL, DUMP_FULL, tensor_x(), t, 1);
  assert_gives(r, CHECK_MISMATCH, "shape");
}

/* Of 64 indices one is another: sqrt(2 / 64) of the one-hot rows. */
static void indices_are_counted(void **state) {
  (void)state;
  int32_t a[64], b[64];
  for (int i = 0; i < 64; i++) a[i] = b[i] = i;
  b[40] = 1000000;
  struct tensor ta = tensor_make(DTYPE_I32, a, 2, (ptrdiff_t[]){4, 16}, INDEX),
                tb = tensor_make(DTYPE_I32, b, 2, (ptrdiff_t[]){4, 16}, INDEX);
  for (int kind = DUMP_FULL; kind <= DUMP_DIGEST; kind++) {
    struct result r = one((enum dump_kind)kind, DUMP_FULL, ta, tb, -1);
    assert_gives(r, CHECK_MISMATCH, "exact");
    assert_true(fabs(r.l2[0] - sqrt(2.0 / 64)) < 1e-12);
    assert_int_equal(r.where[0], 40);
    r = one((enum dump_kind)kind, DUMP_FULL, ta, tb, 0.05);
    assert_gives(r, CHECK_PASS, "drift");
  }
}

/* ---- several tensors ---------------------------------------------------------------------------------------------------------------- */

static float p[3] = {1, 2, 3}, q[3] = {4, 5, 6};
static int32_t s[2] = {1, 0};

static void three(struct tensor t[3]) {
  t[0] = tensor_make(DTYPE_I32, s, 1, (ptrdiff_t[]){2}, INDEX);
  t[1] = tensor_make(DTYPE_F32, p, 1, (ptrdiff_t[]){3}, Y);
  t[2] = tensor_make(DTYPE_F32, q, 1, (ptrdiff_t[]){3}, Z);
}

static void missing_and_extra_are_incomplete(void **state) {
  (void)state;
  struct tensor t[3];
  three(t);
  write_dump(path_a, DUMP_FULL, t, 3);
  write_dump(path_b, DUMP_FULL, t, 2);
  struct result r = run();
  assert_int_equal(r.worst, CHECK_INCOMPLETE);
  assert_string_equal(r.rule[2], "missing");
  assert_string_equal(r.first, Z);
}

static void a_renamed_tensor_is_missing_and_extra(void **state) {
  (void)state;
  struct tensor t[3];
  three(t);
  write_dump(path_a, DUMP_FULL, t, 3);
  strcpy(t[2].name, "0.0/forward/online/1/bn2/y");
  write_dump(path_b, DUMP_FULL, t, 3);
  struct result r = run();
  assert_int_equal(r.worst, CHECK_INCOMPLETE);
  assert_int_equal(r.count, 4);
  assert_string_equal(r.rule[2], "missing");
  assert_string_equal(r.rule[3], "extra");
}

static void another_order_is_said(void **state) {
  (void)state;
  struct tensor t[3];
  three(t);
  write_dump(path_a, DUMP_FULL, t, 3);
  struct tensor other[3] = {t[0], t[2], t[1]};
  write_dump(path_b, DUMP_FULL, other, 3);
  struct result r = run();
  assert_int_equal(r.worst, CHECK_PASS);
  assert_true(r.reordered);
}

static void the_first_in_the_order_of_execution_is_named(void **state) {
  (void)state;
  struct tensor t[3];
  float wrong[3] = {1, 2, 4}, worse[3] = {0, 0, 0};
  three(t);
  write_dump(path_a, DUMP_FULL, t, 3);
  t[1].data = wrong, t[2].data = worse;
  write_dump(path_b, DUMP_FULL, t, 3);
  struct result r = run();
  assert_int_equal(r.worst, CHECK_MISMATCH);
  assert_string_equal(r.first, Y);
  assert_string_equal(r.text[1], Y "[2] is 4, expected 3 (exact): off by 0.267 of its norm, allowed 0");
}

static void manifests_are_compared(void **state) {
  (void)state;
  struct tensor t[3];
  static const struct {
    int batch;
    double lr, tau;
    const char *first;
  } others[] = {{2, 0.1000001, 0.9, "steps[0].lr"}, {2, 0.1, 0.9000001, "steps[0].tau"}, {3, 0.1, 0.9, "attrs.batch"}};
  three(t);
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    remove_dumps();
    write_dump(path_a, DUMP_FULL, t, 3);
    write_steps(path_b, DUMP_FULL, t, 3, others[i].batch, others[i].lr, others[i].tau);
    struct result r = run();
    assert_gives(r, CHECK_MISMATCH, "manifest");
    assert_string_equal(r.first, others[i].first);
  }
}

static void a_truncated_part_is_unreadable(void **state) {
  (void)state;
  struct tensor t[3];
  struct dump d;
  char part[IN_FOLDER_PATH + 32];
  three(t);
  write_dump(path_a, DUMP_FULL, t, 3);
  snprintf(part, sizeof part, "%s/part-00000.safetensors", path_a);
  assert_int_equal(truncate(part, 200), 0);
  assert_false(dump_open(&d, path_a, &err));
  assert_non_null(strstr(err.text, "truncated"));
}

/* bn1 of 100 outputs, dy of all ones: one that is 1e-9 here and 0 there, or not; then a gradient that is 0.1 off. The share of one flip is
 * sqrt(8 / 100) = 0.28. */
static enum check_verdict with_flip(bool flip, enum dump_kind kind, char rule[16]) {
  float a[100], b[100], dy[100], da[50], db[50];
  remove_dumps();
  for (int i = 0; i < 100; i++) a[i] = b[i] = (float)(1 + i % 7), dy[i] = 1;
  for (int i = 0; i < 50; i++) da[i] = 1, db[i] = 1.1f;
  a[40] = 1e-9f, b[40] = flip ? 0 : 1e-9f;
  struct tensor t[3] = {tensor_make(DTYPE_F32, a, 1, (ptrdiff_t[]){100}, Z),
                        tensor_make(DTYPE_F32, dy, 1, (ptrdiff_t[]){100}, "0.0/backward/online/1/bn1/dy"),
                        tensor_make(DTYPE_F32, da, 1, (ptrdiff_t[]){50}, "0.0/backward/online/1/conv1/dweight")};
  write_dump(path_a, kind, t, 3);
  annotate(1e-7);
  t[0].data = b, t[2].data = db;
  write_dump(path_b, DUMP_FULL, t, 3);
  struct result r = run();
  strcpy(rule, r.rule[2]);
  return r.worst;
}

static void a_relu_that_falls_the_other_way_is_allowed_for(void **state) {
  (void)state;
  char rule[16];
  for (int kind = DUMP_FULL; kind <= DUMP_DIGEST; kind++) {
    assert_int_equal(with_flip(true, (enum dump_kind)kind, rule), CHECK_PASS);
    assert_string_equal(rule, "relu");
    assert_int_equal(with_flip(false, (enum dump_kind)kind, rule), CHECK_MISMATCH);
    assert_string_equal(rule, "drift");
  }
}

/* What that share is, to the number: of the gradient behind the flip and the max pool, whose winner may be another; of the momentum; of
 * parameters by how far the step moves them, and of the target's by how far it follows. The largest gradient at the pool is negative. */
static void a_flip_is_allowed_its_share(void **state) {
  (void)state;
  enum { N_ROWS = 7, FEW = 64 };
  static const char *const names[N_ROWS] = {Z,
                                            "0.0/backward/online/1/maxpool/dy",
                                            "0.0/backward/online/1/bn1/dy",
                                            "0.0/backward/online/1/conv1/dweight",
                                            "0.0/optimiser/online/0/conv1.weight/momentum",
                                            "0.0/optimiser/online/0/conv1.weight/parameter",
                                            "0.0/ema/target/0/conv1.weight/parameter"};
  static const float size[N_ROWS] = {1, 1, 1, 1, 0.125F, 1, 1}; /* lr 0.1 and tau 0.9: write_dump */
  const double share = sqrt(8.0 * 9 / (FEW - 1 + 9) + 8.0 / FEW), moved = share * 0.1 * 0.125;
  const double shares[N_ROWS] = {0, 0, 0, share, share, moved, moved * (1 - 0.9)};
  for (int kind = DUMP_FULL; kind <= DUMP_DIGEST; kind++) {
    static float a[N_ROWS][FEW], b[N_ROWS][FEW];
    struct tensor t[N_ROWS];
    struct dump of_a, of_b;
    struct dump_check c;
    remove_dumps();
    for (int k = 0; k < N_ROWS; k++) {
      for (int i = 0; i < FEW; i++) a[k][i] = size[k], b[k][i] = k < 3 ? a[k][i] : a[k][i] * 1.001F;
      t[k] = tensor_make(DTYPE_F32, a[k], 1, (ptrdiff_t[]){FEW}, "%s", names[k]);
    }
    a[0][5] = 1e-9F, b[0][5] = 0, a[1][7] = b[1][7] = -3;
    write_dump(path_a, (enum dump_kind)kind, t, N_ROWS);
    annotate(1e-7);
    for (int k = 0; k < N_ROWS; k++) t[k].data = b[k];
    write_dump(path_b, DUMP_FULL, t, N_ROWS);
    if (!dump_open(&of_a, path_a, &err) || !dump_open(&of_b, path_b, &err) || !dump_check(&c, &of_a, &of_b, "", &err))
      fail_msg("%s", err.text);
    assert_int_equal(c.flips, 1);
    for (int k = 3; k < N_ROWS; k++) {
      double expected = (kind == DUMP_FULL ? 4 : 4 * 1.65) * (1e-7 + shares[k]);
      assert_string_equal(c.row[k].rule, "relu");
      if (!(fabs(c.row[k].allowed / expected - 1) < 1e-6)) fail_msg("%s: %g, not %g", names[k], c.row[k].allowed, expected);
    }
    dump_check_free(&c);
    dump_close(&of_a), dump_close(&of_b);
    remove_dumps(); /* without the momentum nothing is known of how far a step moves */
    for (int k = 4; k + 1 < N_ROWS; k++) t[k] = t[k + 1];
    write_dump(path_b, DUMP_FULL, t, N_ROWS - 1);
    for (int k = 0; k + 1 < N_ROWS; k++) t[k].data = a[k < 4 ? k : k + 1];
    write_dump(path_a, (enum dump_kind)kind, t, N_ROWS - 1);
    annotate(1e-7);
    struct result r = run();
    assert_string_equal(r.rule[4], "drift");
    assert_string_equal(r.first, names[5]);
  }
}

int main(void) {
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter, leave)
  const struct CMUnitTest tests[] = {
      IN_FOLDER(equal_bytes_are_identical),
      IN_FOLDER(without_drift_every_value_is_equal),
      IN_FOLDER(zeros_of_either_sign_are_equal),
      IN_FOLDER(a_flushed_denormal_is_seen),
      IN_FOLDER(drift_allows_four_times_itself),
      IN_FOLDER(no_drift_at_all_is_exact),
      IN_FOLDER(what_is_not_finite_must_be_where_it_was),
      IN_FOLDER(a_drift_of_a_quarter_proves_nothing),
      IN_FOLDER(other_dtypes_are_wrong_unless_values_decide),
      IN_FOLDER(other_shapes_are_wrong),
      IN_FOLDER(indices_are_counted),
      IN_FOLDER(missing_and_extra_are_incomplete),
      IN_FOLDER(a_renamed_tensor_is_missing_and_extra),
      IN_FOLDER(another_order_is_said),
      IN_FOLDER(the_first_in_the_order_of_execution_is_named),
      IN_FOLDER(manifests_are_compared),
      IN_FOLDER(a_truncated_part_is_unreadable),
      IN_FOLDER(a_relu_that_falls_the_other_way_is_allowed_for),
      IN_FOLDER(a_flip_is_allowed_its_share),
  };
  int failed = cmocka_run_group_tests_name("oracle check", tests, NULL, NULL);
  free(x), free(y);
  return failed;
}
