/* Dumps: what is written is read back to the bit, a dump is whole or not there, and a bad one is refused with one line. */
#include <dirent.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "oracle/digest.h"
#include "oracle/dump.h"

#include "support/cmocka.h"
#include "support/folder.h"
#include "support/support.h"

static char folder[FOLDER_PATH], path[IN_FOLDER_PATH];
static struct error err;

static int enter(void **state) {
  (void)state;
  folder_make(folder);
  snprintf(path, sizeof path, "%s/dump", folder);
  err.text[0] = 0;
  return 0;
}

static int leave(void **state) {
  (void)state;
  folder_remove(folder);
  return 0;
}

/* ---- a small dump ------------------------------------------------------------------------------------------------------------------- */

enum { TENSORS = 6, LARGE = 3000000 };

static float *large;
static struct tensor sample[TENSORS];

/* All kinds of sizes: one byte more than a multiple, one that no buffer holds. */
static void make_sample(void) {
  static float image[2 * 3];
  static int32_t index[5] = {4, 3, 2, 1, 0};
  static double loss[2] = {0.5, NAN};
  static uint8_t source[7] = {1, 2, 3, 4, 5, 6, 7};
  large = test_reals(LARGE);
  test_fill_normal(large, LARGE, 1);
  test_fill_normal(image, 6, 2);
  sample[0] = tensor_make(DTYPE_F32, large, 2, (ptrdiff_t[]){3, LARGE / 3}, "0.0/state/online/0/fc.weight/parameter");
  sample[1] = tensor_make(DTYPE_U8, source, 1, (ptrdiff_t[]){7}, "0.0/augment/-/0/0/source");
  sample[2] = tensor_make(DTYPE_F32, image, 2, (ptrdiff_t[]){2, 3}, "0.0/input/-/1/image/view");
  sample[3] = tensor_make(DTYPE_I32, index, 1, (ptrdiff_t[]){5}, "0.0/match/-/1/rdem/index");
  sample[4] = tensor_make(DTYPE_F64, loss, 1, (ptrdiff_t[]){2}, "0.0/loss/online/1/byol/value");
  sample[5] = tensor_make(DTYPE_F32, large, 1, (ptrdiff_t[]){LARGE}, "1.0/ema/target/0/fc.weight/parameter");
}

static void describe(struct dump_writer *w) {
  dump_describe(w, "producer", json_string("test"));
  dump_describe(w, "precision", json_string("fp32"));
  dump_describe(w, "attrs", json_object());
  dump_describe(w, "steps", json_pack("[{s:i,s:f,s:f},{s:i,s:f,s:f}]", "step", 7, "lr", 0.1, "tau", 0.9, "step", 8, "lr", 0.2, "tau", 0.9));
}

static void write_sample(enum dump_kind kind) {
  struct dump_writer *w;
  make_sample();
  assert_true(dump_create(&w, path, kind, &err));
  describe(w);
  for (int i = 0; i < TENSORS; i++) assert_true(dump_add(w, &sample[i], &err));
  assert_true(dump_commit(w, &err));
}

static void full_dumps_are_read_back(void **state) {
  (void)state;
  struct dump d;
  write_sample(DUMP_FULL);
  if (!dump_open(&d, path, &err)) fail_msg("%s", err.text);
  assert_true(dump_verify(&d, &err));
  assert_int_equal(d.kind, DUMP_FULL);
  assert_int_equal(d.precision, PRECISION_FP32);
  assert_int_equal(d.count, TENSORS);
  for (int i = 0; i < TENSORS; i++) {
    const struct dump_entry *e = dump_find(&d, "%s", sample[i].name);
    assert_ptr_equal(e, &d.entry[i]);
    assert_int_equal(e->dtype, sample[i].dtype);
    assert_int_equal(e->ndim, sample[i].ndim);
    assert_memory_equal(e->shape, sample[i].shape, (size_t)e->ndim * sizeof e->shape[0]);
    assert_memory_equal(e->data.data, sample[i].data, (size_t)tensor_count(&sample[i]) * dtype_size(sample[i].dtype));
    assert_true(e->drift < 0);
  }
  const struct dump_entry *e = &d.entry[5];
  assert_int_equal(e->step, 1);
  assert_string_equal(e->phase, "ema");
  assert_string_equal(e->network, "target");
  assert_string_equal(e->layer, "fc.weight");
  assert_string_equal(e->tensor, "parameter");
  assert_null(dump_find(&d, "0.0/input/-/2/image/view"));
  dump_close(&d);
  free(large);
}

static void digest_dumps_hold_digests(void **state) {
  (void)state;
  struct dump d;
  struct digest g;
  write_sample(DUMP_DIGEST);
  if (!dump_open(&d, path, &err)) fail_msg("%s", err.text);
  assert_int_equal(d.kind, DUMP_DIGEST);
  for (int i = 0; i < TENSORS; i++) {
    digest_tensor(&g, &sample[i]);
    assert_memory_equal(d.entry[i].data.data, g.value, (size_t)tensor_count(&d.entry[i].data) * sizeof(double));
    assert_int_equal(d.entry[i].dtype, sample[i].dtype);
  }
  dump_close(&d);
  free(large);
}

static void annotating_changes_drift_alone(void **state) {
  (void)state;
  struct dump before, after;
  double drift[TENSORS] = {0, -1, 1e-7, 0.5, -1, 3e-6};
  write_sample(DUMP_FULL);
  assert_true(dump_open(&before, path, &err));
  assert_true(dump_annotate(&before, drift, &err));
  if (!dump_open(&after, path, &err)) fail_msg("%s", err.text);
  for (int i = 0; i < TENSORS; i++) {
    assert_true(after.entry[i].drift == drift[i]);
    assert_string_equal(after.entry[i].sha256, before.entry[i].sha256);
  }
  assert_true(json_equal(before.manifest, after.manifest));
  dump_close(&before), dump_close(&after);
  free(large);
}

/* More tensors than the room of one header holds: the next part begins, and everything is where the manifest says. */
static void a_full_part_is_followed_by_another(void **state) {
  (void)state;
  enum { MANY = 14000, EACH = 100 };
  struct dump_writer *w;
  struct dump d;
  make_sample();
  assert_true(dump_create(&w, path, DUMP_FULL, &err));
  describe(w);
  for (int i = 0; i < MANY; i++) {
    struct tensor t = tensor_make(DTYPE_F32, large + i, 1, (ptrdiff_t[]){EACH}, "0.0/state/online/0/layer%d.weight/parameter", i);
    if (!dump_add(w, &t, &err)) fail_msg("%s", err.text);
  }
  assert_true(dump_commit(w, &err));
  if (!dump_open(&d, path, &err) || !dump_verify(&d, &err)) fail_msg("%s", err.text);
  assert_int_equal(d.count, MANY);
  assert_true(d.parts >= 2);
  for (int i = 0; i < MANY; i++) assert_memory_equal(d.entry[i].data.data, large + i, EACH * sizeof *large);
  dump_close(&d);
  free(large);
}

/* Tensors gather until there are 64 MB of them; one that is larger than that comes in between. */
static void any_number_of_bytes_is_read_back(void **state) {
  (void)state;
  enum { MANY = 12, HUGE_ONE = 5, MOST = (64 << 20) / 4 + 1001 };
  struct tensor t[MANY];
  large = test_reals(MOST);
  test_fill_normal(large, LARGE, 1);
  for (ptrdiff_t i = LARGE; i < MOST; i++) large[i] = large[i - LARGE];
  for (int i = 0; i < MANY; i++) {
    ptrdiff_t count = i == HUGE_ONE ? MOST : LARGE - 1000 * i;
    t[i] = tensor_make(DTYPE_F32, large + (i == HUGE_ONE ? 0 : i), 1, &count, "0.0/state/online/0/layer%d.weight/parameter", i);
  }
  for (int kind = 0; kind < 2; kind++) {
    struct dump_writer *w;
    struct dump d;
    assert_true(dump_create(&w, path, kind ? DUMP_DIGEST : DUMP_FULL, &err));
    describe(w);
    for (int i = 0; i < MANY; i++) assert_true(dump_add(w, &t[i], &err));
    assert_true(dump_commit(w, &err));
    if (!dump_open(&d, path, &err) || !dump_verify(&d, &err)) fail_msg("%s", err.text);
    assert_int_equal(d.count, MANY);
    for (int i = 0; i < MANY; i++) {
      const struct tensor *got = &d.entry[i].data;
      struct digest g;
      assert_string_equal(d.entry[i].name, t[i].name);
      digest_tensor(&g, &t[i]);
      const void *expected = kind ? (const void *)g.value : t[i].data;
      assert_memory_equal(got->data, expected, (size_t)tensor_count(got) * dtype_size(got->dtype));
    }
    dump_close(&d);
    folder_remove(path);
  }
  free(large);
}

/* A file may not grow beyond 20 MB, as on a full disk: one line, and nothing is left. 24 MB are written at the end, 144 MB on the way. */
static void a_dump_that_cannot_be_written_leaves_nothing(void **state) {
  (void)state;
  struct rlimit before, limit;
  make_sample();
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  limit = (struct rlimit){.rlim_cur = 20 << 20, .rlim_max = before.rlim_max};
  void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
  for (int count = 2; count <= 12; count += 10) {
    struct dump_writer *w;
    bool added = true;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_true(dump_create(&w, path, DUMP_FULL, &err));
    describe(w);
    for (int i = 0; added && i < count; i++) {
      struct tensor t = tensor_make(DTYPE_F32, large, 1, (ptrdiff_t[]){LARGE}, "0.0/state/online/0/layer%d.weight/parameter", i);
      added = dump_add(w, &t, &err);
    }
    if (!added) dump_abandon(w);
    bool ok = added && dump_commit(w, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_false(ok);
    assert_true(added == (count == 2)); /* what fails on the way is said on the way */
    assert_non_null(strstr(err.text, "part 0: "));
    assert_int_equal(access(path, F_OK), -1);
  }
  signal(SIGXFSZ, handler);
  free(large);
}

static void damaged_numbers_are_found(void **state) {
  (void)state;
  struct dump d;
  char part[IN_FOLDER_PATH + 32];
  write_sample(DUMP_FULL);
  snprintf(part, sizeof part, "%s/part-00000.safetensors", path);
  FILE *f = fopen(part, "r+b");
  assert_non_null(f);
  fseek(f, -8, SEEK_END);
  fputc('x', f);
  fclose(f);
  assert_true(dump_open(&d, path, &err));
  assert_false(dump_verify(&d, &err));
  assert_non_null(strstr(err.text, sample[5].name));
  dump_close(&d);
  free(large);
}

/* ---- whole or not there ------------------------------------------------------------------------------------------------------------- */

static void an_abandoned_dump_leaves_nothing(void **state) {
  (void)state;
  struct dump_writer *w;
  make_sample();
  assert_true(dump_create(&w, path, DUMP_FULL, &err));
  assert_true(dump_add(w, &sample[0], &err));
  dump_abandon(w);
  assert_int_equal(access(path, F_OK), -1);
  free(large);
}

static void a_dump_is_not_overwritten(void **state) {
  (void)state;
  struct dump_writer *w;
  write_sample(DUMP_FULL);
  assert_false(dump_create(&w, path, DUMP_FULL, &err));
  assert_non_null(strstr(err.text, "there is a dump already"));
  free(large);
}

/* Of two at once the second would leave its parts among those of the first, and take the first's with it where it ends early. */
static void two_dumps_are_not_written_into_one_folder(void **state) {
  (void)state;
  struct dump_writer *w, *other;
  struct dump d;
  make_sample();
  assert_true(dump_create(&w, path, DUMP_FULL, &err));
  assert_true(dump_add(w, &sample[0], &err));
  assert_false(dump_create(&other, path, DUMP_DIGEST, &err));
  assert_null(other);
  assert_non_null(strstr(err.text, ": another process is writing a dump there; wait for it, or choose another folder"));
  describe(w);
  assert_true(dump_commit(w, &err));
  assert_true(dump_open(&d, path, &err) && dump_verify(&d, &err));
  assert_int_equal(d.count, 1);
  dump_close(&d);
  free(large);
}

static void an_empty_dump_is_none(void **state) {
  (void)state;
  struct dump_writer *w;
  assert_true(dump_create(&w, path, DUMP_FULL, &err));
  describe(w);
  assert_false(dump_commit(w, &err));
  assert_int_equal(access(path, F_OK), -1);
}

/* ---- bad dumps ---------------------------------------------------------------------------------------------------------------------- */

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ENTRY(name) "{\"name\":\"" name "\",\"part\":0,\"dtype\":\"F32\",\"shape\":[2],\"sha256\":\"" HASH "\"}"
#define HEAD                                                                                                                               \
  "{\"format\":\"ediy-dump-1\",\"kind\":\"full\",\"layout\":\"NHWC,KRSC\",\"precision\":\"fp32\",\"producer\":\"x\",\"attrs\":{},"
#define STEPS "\"steps\":[{\"step\":0,\"lr\":1,\"tau\":1}],"
#define MANIFEST(tensors) HEAD STEPS "\"tensors\":[" tensors "]}"

static void bad_manifests_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *text, *words;
  } bad[] = {
      {"", "not valid JSON"},
      {"{\"format\":\"ediy-dump-2\"}", "\"format\" is \"ediy-dump-2\""},
      {"[]", "not a dump"},
      {"{\"format\":\"ediy-dump-1\",\"kind\":\"both\"}", "\"kind\""},
      {"{\"format\":\"ediy-dump-1\",\"kind\":\"full\",\"layout\":\"NCHW\"}", "\"layout\""},
      {"{\"format\":\"ediy-dump-1\",\"kind\":\"full\",\"layout\":\"NHWC,KRSC\",\"precision\":\"fp31\"}", "\"precision\""},
      {HEAD "\"tensors\":[]}", "\"tensors\" is not a list"},
      {HEAD "\"tensors\":[" ENTRY("0.0/ema/target/0/a/parameter") "]}", "\"steps\" is not a list"},
      {MANIFEST("{}"), "without a name"},
      {MANIFEST(ENTRY("y")), "a name is STEP.MICRO/PHASE/NETWORK/VIEW/LAYER/TENSOR"},
      {MANIFEST(ENTRY("0.0/forward/online/3/a/y")), "a name is"},
      {MANIFEST(ENTRY("0.0/forward/online/1/a/y/z")), "a name is"},
      {MANIFEST(ENTRY("00.0/forward/online/1/a/y")), "a name is"},
      {MANIFEST(ENTRY("0.0/forwards/online/1/a/y")), "no phase forwards"},
      {MANIFEST(ENTRY("0.0/forward/offline/1/a/y")), "no network offline"},
      {MANIFEST(ENTRY("1.0/forward/online/1/a/y")), "tensors are of step 1"},
      {MANIFEST(ENTRY("0.0/forward/online/1/a/y") "," ENTRY("0.0/forward/online/1/a/y")), "is there twice"},
      {MANIFEST(ENTRY("0.0/ema/target/0/a/parameter") "," ENTRY("0.0/forward/online/1/a/y")), "the order is that of execution"},
      {MANIFEST(ENTRY("0.0/backward/online/2/a/dy") "," ENTRY("0.0/backward/online/1/a/dy")), "the order is that of execution"},
      {MANIFEST("{\"name\":\"0.0/forward/online/1/a/y\",\"dtype\":\"F16\"}"), "dtype is one of"},
      {MANIFEST("{\"name\":\"0.0/forward/online/1/a/y\",\"dtype\":\"F32\",\"shape\":[0]}"), "shape is a list"},
      {MANIFEST("{\"name\":\"0.0/forward/online/1/a/y\",\"dtype\":\"F32\",\"shape\":[9223372036854775807,2]}"), "shape is a list"},
      {MANIFEST("{\"name\":\"0.0/forward/online/1/a/y\",\"dtype\":\"F32\",\"shape\":[2]}"), "sha256 is not 64 digits"},
      {MANIFEST("{\"name\":\"0.0/forward/online/1/a/y\",\"dtype\":\"F32\",\"shape\":[2],\"sha256\":\"" HASH "\"}"), "part is not"},
      {MANIFEST("{\"name\":\"0.0/forward/online/1/a/y\",\"dtype\":\"F32\",\"shape\":[2],\"sha256\":\"" HASH
                "\",\"part\":0,\"drift\":{\"l2\":-1}}"),
       "drift is"},
      {MANIFEST("{\"name\":\"0.0/forward/online/1/a/y\",\"dtype\":\"F32\",\"shape\":[2],\"sha256\":\"" HASH
                "\",\"part\":0,\"precision\":\"fp8\"}"),
       "no such precision"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct dump d;
    err.text[0] = 0;
    if (dump_parse(&d, bad[i].text, strlen(bad[i].text), "here", &err)) fail_msg("accepted: %s", bad[i].text);
    if (!strstr(err.text, bad[i].words)) fail_msg("%s\nhas not: %s", err.text, bad[i].words);
    assert_ptr_equal(strstr(err.text, "here/manifest.json: "), err.text);
    assert_null(d.entry);
  }
  struct dump d;
  const char *good = MANIFEST(ENTRY("0.0/forward/online/1/a/y"));
  if (!dump_parse(&d, good, strlen(good), "here", &err)) fail_msg("%s", err.text);
  dump_close(&d);
}

/* Writes this manifest beside a part with one tensor, and opens it. */
static void refused_with_part(const char *manifest, const struct tensor *t, const char *words) {
  struct dump d;
  char file[IN_FOLDER_PATH + 32];
  assert_true(folder_create(path, &err));
  snprintf(file, sizeof file, "%s/" DUMP_MANIFEST, path);
  assert_true(file_replace(file, manifest, strlen(manifest), &err));
  snprintf(file, sizeof file, "%s/part-00000.safetensors", path);
  if (t) assert_true(safetensors_write(file, t, 1, NULL, &err));
  err.text[0] = 0;
  if (dump_open(&d, path, &err)) fail_msg("accepted; expected: %s", words);
  if (!strstr(err.text, words)) fail_msg("%s\nhas not: %s", err.text, words);
  unlink(file);
}

static void parts_must_be_as_the_manifest_says(void **state) {
  (void)state;
  float x[4] = {0};
  const char *manifest = MANIFEST(ENTRY("0.0/forward/online/1/a/y"));
  const char *digests =
      "{\"format\":\"ediy-dump-1\",\"kind\":\"digest\",\"layout\":\"NHWC,KRSC\",\"precision\":\"fp32\",\"producer\":\"x\","
      "\"attrs\":{}," STEPS "\"tensors\":[" ENTRY("0.0/forward/online/1/a/y") "]}";
  struct tensor right = tensor_make(DTYPE_F32, x, 1, (ptrdiff_t[]){2}, "0.0/forward/online/1/a/y"), t = right;
  refused_with_part(manifest, NULL, "part-00000.safetensors: no such file");
  t.shape[0] = 3;
  refused_with_part(manifest, &t, "dtype or shape");
  t = right, t.dtype = DTYPE_I32;
  refused_with_part(manifest, &t, "dtype or shape");
  t = right, strcpy(t.name, "0.0/forward/online/1/b/y");
  refused_with_part(manifest, &t, "which the manifest does not say");
  refused_with_part(MANIFEST(ENTRY("0.0/forward/online/1/a/y") "," ENTRY("0.0/forward/online/1/b/y")), &right, "has no tensor");
  refused_with_part(digests, &right, "no digest of such a tensor");
}

static void a_folder_without_manifest_is_no_dump(void **state) {
  (void)state;
  struct dump d;
  assert_false(dump_open(&d, folder, &err));
  assert_non_null(strstr(err.text, "is no dump: "));
  assert_non_null(strstr(err.text, "manifest.json: no such file"));
}

/* ---- attributes --------------------------------------------------------------------------------------------------------------------- */

static void attributes_come_back(void **state) {
  (void)state;
  struct dump d = {.path = "here", .manifest = json_object()};
  struct model_config c = {.batch = 3, .height = 33, .width = 65, .regions = true, .teacher = true, .lambda_rdem = 0.1, .lambda_riem = 1};
  assert_true(architecture_named_f32("resnet50", &c.arch));
  c.region_predictor = c.teacher_batch = true;
  c.stopgrad = RDEM_STOPGRAD_MATCH, c.negative = NEGATIVE_INSTANCE, c.similarity = SIMILARITY_DOT;
  c.lars = (struct lars){.variant = LARS_OPENSELFSUP, .trust = 1e-3, .momentum = 0.9, .weight_decay = 1.5e-6};
  struct model_config back;
  int micro;
  json_object_set_new(d.manifest, "attrs", dump_attributes(&c, 4));
  if (!dump_model_config(&d, &back, &micro, &err)) fail_msg("%s", err.text);
  assert_int_equal(micro, 4);
  json_t *again = dump_attributes(&back, micro), *first = json_object_get(d.manifest, "attrs");
  assert_true(json_equal(first, again));
  json_decref(again);

  const char *key;
  json_t *value;
  void *next;
  json_object_foreach_safe(first, next, key, value) { /* each is needed, and may not be a list */
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    json_incref(value);
    json_object_set_new(first, key, json_array());
    assert_false(dump_model_config(&d, &back, &micro, &err));
    if (!strstr(err.text, quoted)) fail_msg("%s\nhas not: %s", err.text, quoted);
    json_object_set(first, key, value);
    json_decref(value);
  }
  json_object_del(first, "trust");
  assert_false(dump_model_config(&d, &back, &micro, &err));
  assert_non_null(strstr(err.text, "attrs has no \"trust\""));
  json_decref(d.manifest);
}

int main(void) {
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter, leave)
  const struct CMUnitTest tests[] = {
      IN_FOLDER(full_dumps_are_read_back),
      IN_FOLDER(digest_dumps_hold_digests),
      IN_FOLDER(annotating_changes_drift_alone),
      IN_FOLDER(damaged_numbers_are_found),
      IN_FOLDER(a_full_part_is_followed_by_another),
      IN_FOLDER(any_number_of_bytes_is_read_back),
      IN_FOLDER(a_dump_that_cannot_be_written_leaves_nothing),
      IN_FOLDER(an_abandoned_dump_leaves_nothing),
      IN_FOLDER(a_dump_is_not_overwritten),
      IN_FOLDER(two_dumps_are_not_written_into_one_folder),
      IN_FOLDER(an_empty_dump_is_none),
      IN_FOLDER(bad_manifests_are_refused),
      IN_FOLDER(parts_must_be_as_the_manifest_says),
      IN_FOLDER(a_folder_without_manifest_is_no_dump),
      IN_FOLDER(attributes_come_back),
  };
  return cmocka_run_group_tests_name("oracle dump", tests, NULL, NULL);
}
