/* The golden steps of data/golden: whole, small, and a judge of this machine: the reference passes in both precisions, faults do not. */
#include <string.h>
#include <sys/stat.h>

#include "oracle/dump_check.h"
#include "oracle/dump_steps.h"

#include "support/cmocka.h"
#include "support/support.h"
#include "train/folder.h"

static char folder[FOLDER_PATH], path[FOLDER_PATH + 8];
static struct error err;

static int enter(void **state) {
  (void)state;
  folder_make(folder);
  snprintf(path, sizeof path, "%s/step", folder);
  return 0;
}

static int leave(void **state) {
  (void)state;
  folder_remove(folder);
  return 0;
}

/* The small golden against a backend (own: in place of ref32's table). first: the first row that is wrong, or "". */
static enum check_verdict judge(const char *backend, const struct backend_f32 *own, char first[TENSOR_MAX_NAME]) {
  static struct step_source s;
  char preset[] = "preset=data/golden/small.conf", *keys[] = {preset};
  const struct dump_steps_options o = {.steps = 1, .kind = DUMP_DIGEST, .no_states = true};
  struct dump_steps_result r;
  struct step_backend b;
  struct dump golden, step;
  struct dump_check c;
  char command[FOLDER_PATH + 32];
  snprintf(command, sizeof command, "rm -rf %s", path);
  assert_int_equal(system(command), 0);
  if (!step_backend_named(backend, &b, &err) || !step_source_open(&s, 1, keys, STEP_FORMULA, 1000, &err)) fail_msg("%s", err.text);
  if (own) b.f32 = own;
  if (!dump_steps(&s, &b, &o, path, &r, &err) || !dump_open(&golden, "data/golden/small", &err) || !dump_open(&step, path, &err) ||
      !dump_check(&c, &golden, &step, "", &err))
    fail_msg("%s", err.text);
  enum check_verdict worst = c.worst;
  strcpy(first, c.first ? check_row_name(c.first) : "");
  if (worst != CHECK_PASS && !own) {
    char text[400];
    check_row_text(c.first, text, sizeof text);
    print_error("%s\n", text);
  }
  dump_check_free(&c);
  dump_close(&golden), dump_close(&step);
  step_source_close(&s);
  return worst;
}

static void this_machine_passes(void **state) {
  (void)state;
  char first[TENSOR_MAX_NAME];
  assert_int_equal(judge("ref64", NULL, first), CHECK_PASS);
  assert_int_equal(judge("ref32", NULL, first), CHECK_PASS);
}

/* ---- faults ------------------------------------------------------------------------------------------------------------------------- */

static struct backend_f32 faulty;

static void lars_with_less_momentum(const struct lars *o, ptrdiff_t size, bool adapt, double lr, const real *g, real *w, real *m) {
  struct lars less = *o;
  less.momentum = 0.899;
  backend_reference_f32()->lars_update(&less, size, adapt, lr, g, w, m);
}

static void ema_a_step_late(ptrdiff_t size, double tau, const real *theta, real *xi) {
  backend_reference_f32()->ema_update(size, tau - 1e-4, theta, xi);
}

static void norm_with_biased_variance(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                                      real *running_mean, real *running_var, real *y, double *mean, double *invstd, void *scratch) {
  backend_reference_f32()->norm_forward_train(g, x, residual, gamma, beta, running_mean, running_var, y, mean, invstd, scratch);
  for (ptrdiff_t c = 0; c < g->c; c++) running_var[c] -= (real)(g->momentum * (1 / (invstd[c] * invstd[c]) - g->eps) / (double)(g->m - 1));
}

static void loss_of_the_other_sign(const struct loss *g, const real *p, const real *z, const int32_t *s, double scale, double *value,
                                   real *dp, void *scratch) {
  backend_reference_f32()->loss_riem(g, p, z, s, -scale, value, dp, scratch);
}

static void faults_are_named(void **state) {
  (void)state;
  char first[TENSOR_MAX_NAME];
  faulty = *backend_reference_f32(), faulty.lars_update = lars_with_less_momentum;
  assert_int_equal(judge("ref32", &faulty, first), CHECK_MISMATCH);
  assert_string_equal(first, "0.0/optimiser/online/0/conv1.weight/momentum");
  faulty = *backend_reference_f32(), faulty.ema_update = ema_a_step_late;
  assert_int_equal(judge("ref32", &faulty, first), CHECK_MISMATCH);
  assert_string_equal(first, "0.0/ema/target/0/conv1.weight/parameter");
  faulty = *backend_reference_f32(), faulty.norm_forward_train = norm_with_biased_variance;
  assert_int_equal(judge("ref32", &faulty, first), CHECK_MISMATCH);
  assert_string_equal(first, "0.0/forward/target/1/bn1/running_var");
  faulty = *backend_reference_f32(), faulty.loss_riem = loss_of_the_other_sign;
  assert_int_equal(judge("ref32", &faulty, first), CHECK_MISMATCH);
  assert_string_equal(first, "0.0/backward/online/1/local_projector.3/dy");
}

/* ---- what is kept ------------------------------------------------------------------------------------------------------------------- */

static void goldens_are_whole_and_small(void **state) {
  (void)state;
  static const char *const names[] = {"small", "resnet50"};
  off_t bytes = 0;
  for (int i = 0; i < 2; i++) {
    char golden[64], file[128];
    struct dump d;
    snprintf(golden, sizeof golden, "data/golden/%s", names[i]);
    if (!dump_open(&d, golden, &err)) fail_msg("%s", err.text);
    assert_int_equal(d.kind, DUMP_DIGEST);
    assert_int_equal(d.precision, PRECISION_FP64);
    for (int k = 0; k < d.count; k++) {
      const struct dump_entry *e = &d.entry[k];
      assert_true(e->drift >= 0);
      /* right implementations match the same regions: no decision of the step hangs on rounding */
      if (strcmp(e->phase, "match") == 0) assert_true(e->drift == 0);
    }
    dump_close(&d);
    for (int part = -1; part < 1; part++) {
      struct stat s;
      if (part < 0)
        snprintf(file, sizeof file, "%s/" DUMP_MANIFEST, golden);
      else
        snprintf(file, sizeof file, "%s/part-%05d.safetensors", golden, part);
      assert_int_equal(stat(file, &s), 0);
      bytes += s.st_size;
    }
  }
  assert_true(bytes < 2000000);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(this_machine_passes), cmocka_unit_test(faults_are_named),
                                     cmocka_unit_test(goldens_are_whole_and_small)};
  return cmocka_run_group_tests_name("oracle golden", tests, enter, leave);
}
