/* The golden cases of the shared folder, in float and double: every expected tensor of every case is produced and agrees.
 *
 * The folder is $EDIY_SHARED, or ../shared beside the repository. It is not part of the project: where it is missing, one test says so and
 * is skipped. What needs no folder is in test_formula.c, test_compare.c and test_runner_*.c. EDIY_CASE=TEXT runs only the cases whose name
 * has TEXT in it.
 */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/philox.h"
#include "base/sha256.h"
#include "oracle/check.h"
#include "oracle/exact_sum.h"
#include "oracle/formula.h"
#include "support/cmocka.h"

enum { MAX_FILE = 1 << 28, MAX_CASES = 4096, LINES_PER_CASE = 5 };

static char cases_folder[4096];

static bool find_folder(void) {
  const char *shared = getenv("EDIY_SHARED");
  snprintf(cases_folder, sizeof cases_folder, "%s/cases", shared ? shared : "../shared");
  char path[4200];
  snprintf(path, sizeof path, "%s/index.json", cases_folder);
  FILE *f = fopen(path, "r");
  if (f) fclose(f);
  return f != NULL;
}

static void folder_is_there(void **state) {
  (void)state;
  skip_because("no golden cases in %s; set EDIY_SHARED to the folder that holds cases/", cases_folder);
}

static json_t *load_json(const char *name) {
  char path[4200];
  json_error_t problem;
  snprintf(path, sizeof path, "%s/%s", cases_folder, name);
  json_t *j = json_load_file(path, JSON_REJECT_DUPLICATES, &problem);
  if (!j) fail_msg("%s: %s", path, problem.text);
  return j;
}

static const char *text_of(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  if (!text) fail_msg("no text \"%s\"", key);
  return text;
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- cases ------------------------------------------------------------------------------------------------------------------------- */

/* Runs one case; prints a line for each tensor that fails (the first few). Returns true if all agree. */
static bool check_case(const char *name, int bits, bool sound, int *tensors) {
  char path[4200], line[600];
  struct error err = {0};
  struct case_file file;
  struct verdict v;
  snprintf(path, sizeof path, "%s/%s.safetensors", cases_folder, name);
  if (!case_open(&file, path, &err)) {
    print_error("%s f%d: %s\n", name, bits, err.text);
    return false;
  }
  bool ok = case_check(&file, bits, sound, &v, &err);
  if (!ok) {
    print_error("%s f%d: %s\n", name, bits, err.text);
  } else {
    for (int i = 0, shown = 0; i < v.count && shown < LINES_PER_CASE; i++) {
      if (v.finding[i].pass) continue;
      finding_text(&v.finding[i], line, sizeof line);
      print_error("%s f%d: %s\n", name, bits, line);
      shown++;
    }
    if (v.failures > LINES_PER_CASE) print_error("%s f%d: %d tensors of %d fail\n", name, bits, v.failures, v.count);
    ok = v.failures == 0;
    *tensors += v.count;
    verdict_free(&v);
  }
  case_close(&file);
  return ok;
}

static bool agrees_in_double[MAX_CASES]; /* by place in the index; filled by the test in double, which runs first */

static void check_all(int bits) {
  json_t *index = load_json("index.json"), *entry;
  size_t i;
  int failed = 0, count = 0, tensors = 0;
  double start = seconds();
  json_array_foreach(json_object_get(index, "cases"), i, entry) {
    double before = seconds();
    const char *name = text_of(entry, "case");
    if (getenv("EDIY_CASE") && !strstr(name, getenv("EDIY_CASE"))) continue;
    count++;
    assert_in_range(i, 0, MAX_CASES - 1);
    bool agrees = check_case(name, bits, bits == 32 && agrees_in_double[i], &tensors);
    if (bits == 64) agrees_in_double[i] = agrees;
    if (!agrees) failed++;
    double took = seconds() - before;
    if (took > 1) print_message("%s f%d took %.1f s\n", name, bits, took);
  }
  print_message("f%d: %d cases, %d tensors, %.1f s\n", bits, count, tensors, seconds() - start);
  json_decref(index);
  assert_true(count > 0);
  assert_int_equal(failed, 0);
}

static void every_case_agrees_in_double(void **state) {
  (void)state;
  check_all(64);
}

static void every_case_agrees_in_float(void **state) {
  (void)state;
  check_all(32);
}

/* The files are those of the index. */
static void files_have_the_hashes_of_the_index(void **state) {
  (void)state;
  json_t *index = load_json("index.json"), *entry;
  size_t i;
  json_array_foreach(json_object_get(index, "cases"), i, entry) {
    char path[4200], *data, hex[65];
    size_t size;
    unsigned char digest[32];
    struct error err;
    struct sha256 sha;
    snprintf(path, sizeof path, "%s/%s.safetensors", cases_folder, text_of(entry, "case"));
    if (!file_read(path, MAX_FILE, &data, &size, &err)) fail_msg("%s", err.text);
    sha256_begin(&sha);
    sha256_add(&sha, data, size);
    sha256_end(&sha, digest);
    sha256_hex(digest, hex);
    free(data);
    assert_int_equal(size, json_integer_value(json_object_get(entry, "bytes")));
    if (strcmp(hex, text_of(entry, "sha256")) != 0) fail_msg("%s: SHA-256 is %s, the index says %s", path, hex, text_of(entry, "sha256"));
  }
  assert_true(i > 0);
  json_decref(index);
}

/* ---- formulas and random numbers ---------------------------------------------------------------------------------------------------- */

static void check_values(const json_t *known, const double *values, ptrdiff_t count) {
  const json_t *at = json_object_get(known, "index"), *expected = json_object_get(known, "value");
  const json_t *bits = json_object_get(known, "value_float32_bits");
  assert_true(json_array_size(at) > 0);
  for (size_t j = 0; j < json_array_size(at); j++) {
    json_int_t i = json_integer_value(json_array_get(at, j));
    assert_in_range(i, 0, count - 1);
    float f = (float)values[i];
    uint32_t pattern;
    memcpy(&pattern, &f, sizeof f);
    assert_true(values[i] == json_number_value(json_array_get(expected, j)));
    assert_int_equal(pattern, strtoul(json_string_value(json_array_get(bits, j)), NULL, 16));
  }
}

static void check_sum(const json_t *known, const char *key, const double *values, ptrdiff_t count, bool absolute) {
  struct exact_sum sum = {0};
  for (ptrdiff_t i = 0; i < count; i++) exact_sum_add(&sum, absolute ? fabs(values[i]) : values[i]);
  assert_true(exact_sum_value(&sum) == json_number_value(json_object_get(known, key)));
}

static void formulas_have_the_known_answers(void **state) {
  (void)state;
  json_t *known = load_json("formula.json"), *value;
  const char *key;
  size_t k;
  uint64_t seed = (uint64_t)json_integer_value(json_object_get(known, "seed"));
  json_object_foreach(json_object_get(known, "fnv1a64"), key, value) {
    assert_int_equal(fnv1a64(key), strtoull(json_string_value(value), NULL, 16));
  }
  json_object_foreach(json_object_get(known, "splitmix64"), key, value) {
    assert_int_equal(splitmix64(strtoull(key, NULL, 10)), strtoull(json_string_value(value), NULL, 16));
  }
  json_array_foreach(json_object_get(known, "tensors"), k, value) {
    ptrdiff_t shape[4] = {1, 1, 1, 1}, count = 1;
    const json_t *dims = json_object_get(value, "shape"), *at = json_object_get(value, "index");
    int ndim = (int)json_array_size(dims);
    for (int d = 0; d < ndim; d++) count *= shape[d] = (ptrdiff_t)json_integer_value(json_array_get(dims, (size_t)d));
    const char *name = text_of(value, "name");
    for (size_t j = 0; j < json_array_size(at); j++) {
      uint64_t i = (uint64_t)json_integer_value(json_array_get(at, j));
      assert_int_equal(formula_bits(seed, name, i),
                       strtoull(json_string_value(json_array_get(json_object_get(value, "bits"), j)), NULL, 16));
      assert_true(formula_unit(seed, name, i) == json_number_value(json_array_get(json_object_get(value, "unit"), j)));
    }
    double *x = malloc((size_t)count * sizeof *x);
    struct error err;
    assert_non_null(x);
    if (!formula_parameter(seed, name, ndim, shape, x, &err)) fail_msg("%s", err.text);
    check_values(value, x, count);
    check_sum(value, "sum", x, count, false);
    check_sum(value, "sum_abs", x, count, true);
    free(x);
  }
  assert_true(k > 0);
  const json_t *image = json_object_get(known, "image"), *dims = json_object_get(image, "shape");
  ptrdiff_t s[4], count = 1;
  assert_int_equal(json_array_size(dims), 4);
  for (size_t d = 0; d < 4; d++) count *= s[d] = (ptrdiff_t)json_integer_value(json_array_get(dims, d));
  double *x = malloc((size_t)count * sizeof *x);
  assert_non_null(x);
  formula_image(seed, text_of(image, "name"), s[0], s[1], s[2], x);
  check_values(image, x, count);
  check_sum(image, "sum", x, count, false);
  free(x);
  json_decref(known);
}

static void philox_has_the_known_answers(void **state) {
  (void)state;
  json_t *known = load_json("philox.json"), *vector;
  size_t i;
  json_array_foreach(json_object_get(known, "vectors"), i, vector) {
    uint32_t c[4], k[2], expected[4], out[4];
    assert_int_equal(sscanf(text_of(vector, "counter"), "%" SCNx32 "%" SCNx32 "%" SCNx32 "%" SCNx32, &c[0], &c[1], &c[2], &c[3]), 4);
    assert_int_equal(sscanf(text_of(vector, "key"), "%" SCNx32 "%" SCNx32, &k[0], &k[1]), 2);
    assert_int_equal(sscanf(text_of(vector, "output"), "%" SCNx32 "%" SCNx32 "%" SCNx32 "%" SCNx32, &expected[0], &expected[1],
                            &expected[2], &expected[3]),
                     4);
    philox_block(c, k, out);
    assert_memory_equal(out, expected, sizeof out);
  }
  assert_true(i > 0);
  json_decref(known);
}

int main(void) {
  const struct CMUnitTest absent[] = {cmocka_unit_test(folder_is_there)};
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(files_have_the_hashes_of_the_index), cmocka_unit_test(formulas_have_the_known_answers),
      cmocka_unit_test(philox_has_the_known_answers),       cmocka_unit_test(every_case_agrees_in_double),
      cmocka_unit_test(every_case_agrees_in_float),
  };
  if (!find_folder()) return cmocka_run_group_tests(absent, NULL, NULL);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
