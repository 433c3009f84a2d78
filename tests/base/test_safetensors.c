/* safetensors: what is written is read back to the last bit, and what is wrong with a file is said, with its name, before any of its data
 * is used. */
#include "base/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "support/cmocka.h"
#include "support/folder.h"

static char folder[FOLDER_PATH], path[IN_FOLDER_PATH];

static int make_folder(void **state) {
  (void)state;
  folder_make(folder);
  snprintf(path, sizeof path, "%s/file.safetensors", folder);
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  unlink(path);
  return rmdir(folder);
}

static void write_or_fail(const struct tensor *t, int count, const char *const *metadata) {
  struct error err;
  if (!safetensors_write(path, t, count, metadata, &err)) fail_msg("%s", err.text);
}

static void open_or_fail(struct safetensors *f) {
  struct error err;
  if (!safetensors_open(f, path, &err)) fail_msg("%s", err.text);
}

/* A header with data bytes of data behind it, as a file in memory; free() by the caller. */
static char *file_of(const char *header, size_t header_size, size_t data, size_t *size) {
  uint64_t length = header_size;
  *size = 8 + header_size + data;
  char *bytes = calloc(*size, 1);
  assert_non_null(bytes);
  memcpy(bytes, &length, 8);
  memcpy(bytes + 8, header, header_size);
  return bytes;
}

/* ---- good files ---------------------------------------------------------------------------------------------------------------- */

static void everything_comes_back(void **state) {
  (void)state;
  double f64[] = {0.1, -0.0, 0x1p-1074};
  float f32[] = {1.5f, -2.25f, 3e38f, 0, 1, 2};
  uint16_t bf16[] = {0x3f80, 0xc020};
  int64_t i64[] = {INT64_MIN, 42};
  int32_t i32[] = {-7};
  unsigned char u8[] = {1, 2, 255}, one[] = {9};
  const struct tensor t[] = {
      tensor_make(DTYPE_F64, f64, 1, (ptrdiff_t[]){3}, "x"),
      tensor_make(DTYPE_U8, u8, 3, (ptrdiff_t[]){3, 1, 1}, "odd: 3 bytes, so that what follows is unaligned"),
      tensor_make(DTYPE_F32, f32, 2, (ptrdiff_t[]){2, 3}, "layer1.0.conv1.weight"),
      tensor_make(DTYPE_I64, i64, 1, (ptrdiff_t[]){2}, "quotes \" and \\ and \n and ü"),
      tensor_make(DTYPE_BF16, bf16, 1, (ptrdiff_t[]){2}, "b"),
      tensor_make(DTYPE_F32, NULL, 2, (ptrdiff_t[]){0, 5}, "empty"),
      tensor_make(DTYPE_I32, i32, 0, NULL, "scalar"),
      tensor_make(DTYPE_U8, one, 6, (ptrdiff_t[]){1, 1, 1, 1, 1, 1}, "six"),
  };
  enum { COUNT = sizeof t / sizeof t[0] };
  write_or_fail(t, COUNT, (const char *[]){"format", "pt", "config", "a = 1\nb = \"2\"\n", NULL});
  struct safetensors f;
  open_or_fail(&f);
  assert_int_equal(f.count, COUNT);
  for (int i = 0; i < COUNT; i++) {
    assert_string_equal(f.tensor[i].name, t[i].name);
    const struct tensor *u = safetensors_find(&f, t[i].name);
    assert_ptr_equal(u, &f.tensor[i]);
    assert_int_equal(u->dtype, t[i].dtype);
    assert_int_equal(u->ndim, t[i].ndim);
    assert_memory_equal(u->shape, t[i].shape, sizeof u->shape);
    size_t size = (size_t)tensor_count(u) * dtype_size(u->dtype);
    if (size > 0) assert_memory_equal(u->data, t[i].data, size);
  }
  assert_null(safetensors_find(&f, "layer1.0.conv1"));
  assert_null(safetensors_find(&f, ""));
  assert_null(safetensors_find(&f, "zzz"));
  assert_string_equal(safetensors_metadata(&f, "format"), "pt");
  assert_string_equal(safetensors_metadata(&f, "config"), "a = 1\nb = \"2\"\n");
  assert_null(safetensors_metadata(&f, "Format"));
  assert_null(safetensors_metadata(&f, "for"));
  assert_null(safetensors_metadata(&f, "formats"));
  assert_int_equal(f.metadata_count, 2);
  assert_string_equal(f.path, path);
  safetensors_close(&f);
  safetensors_close(&f); /* twice is allowed */
}

static void no_tensors_and_no_metadata_make_a_file(void **state) {
  (void)state;
  struct safetensors f;
  write_or_fail(NULL, 0, NULL);
  open_or_fail(&f);
  assert_int_equal(f.count, 0);
  assert_int_equal(f.metadata_count, 0);
  assert_null(safetensors_find(&f, "x"));
  safetensors_close(&f);
}

static void the_data_begins_at_a_multiple_of_8(void **state) {
  (void)state;
  unsigned char u8[] = {5};
  for (int n = 1; n < 20; n++) {
    struct tensor t = tensor_make(DTYPE_U8, u8, 0, NULL, "%.*s", n, "abcdefghijklmnopqrstuvwxyz");
    write_or_fail(&t, 1, NULL);
    struct safetensors f;
    open_or_fail(&f);
    assert_int_equal(((const char *)f.tensor[0].data - (const char *)f.map) % 8, 0);
    safetensors_close(&f);
  }
}

/* Sorting and looking up must not be quadratic: 30000 tensors open in well under a second, where 30000^2 steps would take many. */
static void many_tensors_are_no_trouble(void **state) {
  (void)state;
  enum { COUNT = 30000 };
  struct tensor *t = malloc(COUNT * sizeof *t);
  int32_t *values = malloc(COUNT * sizeof *values);
  assert_true(t && values);
  for (int i = 0; i < COUNT; i++) {
    values[i] = i;
    t[i] = tensor_make(DTYPE_I32, &values[i], 0, NULL, "t%d", i * 7919 % COUNT); /* 7919 is prime: every number once, in disorder */
  }
  write_or_fail(t, COUNT, NULL);
  struct safetensors f;
  open_or_fail(&f);
  assert_int_equal(f.count, COUNT);
  for (int i = 0; i < COUNT; i++) {
    const struct tensor *u = safetensors_find(&f, t[i].name);
    assert_non_null(u);
    assert_true(tensor_at(u, 0) == i);
  }
  safetensors_close(&f);
  free(t);
  free(values);
}

static void tensors_are_sorted_by_offset_whatever_the_header_says(void **state) {
  (void)state;
  static const char header[] = "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]},"
                               "\"z\":{\"dtype\":\"F64\",\"shape\":[0],\"data_offsets\":[1,1]},"
                               "\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}";
  size_t size;
  struct error err;
  struct safetensors f;
  char *bytes = file_of(header, strlen(header), 3, &size);
  if (!safetensors_parse(&f, bytes, size, "mem", &err)) fail_msg("%s", err.text);
  assert_string_equal(f.tensor[0].name, "a");
  assert_string_equal(f.tensor[1].name, "z");
  assert_string_equal(f.tensor[2].name, "b");
  assert_ptr_equal(f.tensor[2].data, bytes + size - 2);
  safetensors_close(&f);
  free(bytes);
}

/* ---- loading ------------------------------------------------------------------------------------------------------------------- */

static void loading_converts_between_floats(void **state) {
  (void)state;
  double f64[] = {0.1, -3.0, 1e300};
  float f32[] = {0.1f, -3.0f, 0x1p-149f};
  uint16_t bf16[] = {0x3f80, 0xc020, 0x0001}, f16[] = {0x3c00, 0xc100, 0x0001};
  unsigned char pad[] = {0};
  const struct tensor t[] = {tensor_make(DTYPE_U8, pad, 0, NULL, "pad"), tensor_make(DTYPE_F64, f64, 1, (ptrdiff_t[]){3}, "f64"),
                             tensor_make(DTYPE_F32, f32, 1, (ptrdiff_t[]){3}, "f32"),
                             tensor_make(DTYPE_BF16, bf16, 1, (ptrdiff_t[]){3}, "bf16"),
                             tensor_make(DTYPE_F16, f16, 1, (ptrdiff_t[]){3}, "f16")};
  write_or_fail(t, 5, NULL);
  struct safetensors f;
  struct error err;
  open_or_fail(&f);
  float single[3];
  double twice[3];
  const ptrdiff_t shape[] = {3};
  assert_true(safetensors_load(&f, "f32", DTYPE_F32, 1, shape, single, &err));
  assert_memory_equal(single, f32, sizeof f32);
  assert_true(safetensors_load(&f, "f64", DTYPE_F64, 1, shape, twice, &err));
  assert_memory_equal(twice, f64, sizeof f64);
  assert_true(safetensors_load(&f, "f32", DTYPE_F64, 1, shape, twice, &err));
  for (int i = 0; i < 3; i++) assert_true(twice[i] == (double)f32[i]);
  assert_true(safetensors_load(&f, "f64", DTYPE_F32, 1, shape, single, &err));
  assert_true(single[0] == 0.1f && single[1] == -3.0f && single[2] > 3.4e38f); /* 1e300: infinite */
  assert_true(safetensors_load(&f, "bf16", DTYPE_F32, 1, shape, single, &err));
  assert_true(single[0] == 1.0f && single[1] == -2.5f && single[2] == 0x1p-133f);
  assert_true(safetensors_load(&f, "bf16", DTYPE_F64, 1, shape, twice, &err));
  assert_true(twice[0] == 1.0 && twice[1] == -2.5 && twice[2] == 0x1p-133);
  assert_true(safetensors_load(&f, "f16", DTYPE_F32, 1, shape, single, &err));
  assert_true(single[0] == 1.0f && single[1] == -2.5f && single[2] == 0x1p-24f);
  assert_true(safetensors_load(&f, "f16", DTYPE_F64, 1, shape, twice, &err));
  assert_true(twice[0] == 1.0 && twice[1] == -2.5 && twice[2] == 0x1p-24);
  safetensors_close(&f);
}

static void loading_refuses_what_does_not_fit(void **state) {
  (void)state;
  float x[] = {1, 2, 3, 4, 5, 6};
  int32_t label[] = {3};
  const struct tensor t[] = {tensor_make(DTYPE_F32, x, 2, (ptrdiff_t[]){2, 3}, "fc.weight"),
                             tensor_make(DTYPE_I32, label, 0, NULL, "label")};
  write_or_fail(t, 2, NULL);
  struct safetensors f;
  open_or_fail(&f);
  static const struct {
    const char *name;
    enum dtype dtype;
    int ndim;
    ptrdiff_t shape[2];
    const char *message;
  } bad[] = {
      {"fc.weight", DTYPE_F32, 2, {3, 2}, "tensor fc.weight has shape [2, 3] where [3, 2] is needed"},
      {"fc.weight", DTYPE_F32, 1, {6}, "tensor fc.weight has shape [2, 3] where [6] is needed"},
      {"fc.weight", DTYPE_F32, 0, {0}, "tensor fc.weight has shape [2, 3] where [] is needed"},
      {"fc.weight", DTYPE_BF16, 2, {2, 3}, "tensor fc.weight has dtype F32 where BF16 is needed"},
      {"fc.weight", DTYPE_I32, 2, {2, 3}, "tensor fc.weight has dtype F32 where I32 is needed"},
      {"label", DTYPE_F32, 0, {0}, "tensor label has dtype I32 where F32 is needed"},
      {"label", DTYPE_I64, 0, {0}, "tensor label has dtype I32 where I64 is needed"},
      {"fc.bias", DTYPE_F32, 1, {3}, "has no tensor fc.bias"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct error err;
    char data[64], before[64];
    memset(data, 'd', sizeof data);
    memcpy(before, data, sizeof data);
    assert_false(safetensors_load(&f, bad[i].name, bad[i].dtype, bad[i].ndim, bad[i].shape, data, &err));
    if (!strstr(err.text, bad[i].message) || strncmp(err.text, path, strlen(path)) != 0)
      fail_msg("'%s' is not '%s'", err.text, bad[i].message);
    assert_memory_equal(data, before, sizeof data);
  }
  safetensors_close(&f);
}

/* ---- bad files ----------------------------------------------------------------------------------------------------------------- */

static void assert_refused(const void *bytes, size_t size, const char *message) {
  struct error err = {.text = ""};
  struct safetensors f;
  memset(&f, 0x55, sizeof f);
  if (safetensors_parse(&f, bytes, size, "weights.safetensors", &err)) fail_msg("accepted, without '%s'", message);
  if (strncmp(err.text, "weights.safetensors: ", 21) != 0 || !strstr(err.text, message)) fail_msg("'%s' is not '%s'", err.text, message);
  assert_null(f.tensor);
  assert_int_equal(f.count, 0);
  safetensors_close(&f);
}

#define X(dtype, shape, offsets) "{\"x\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define Y(offsets) ",\"y\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" offsets "}}"

static const struct {
  const char *header;
  size_t data; /* bytes behind it */
  const char *message;
} corrupt[] = {
    /* not JSON, or not such JSON */
    {"", 0, "not a safetensors file (its header does not begin with '{')"},
    {" {}", 0, "does not begin with '{'"},
    {"[]", 0, "does not begin with '{'"},
    {"{", 0, "not valid JSON"},
    {"{}x", 0, "not valid JSON"},
    {"{\"x\":1,}", 0, "not valid JSON"},
    {"{\"\xff\":1}", 0, "not valid JSON"},
    {"{\"a\\u0000b\":1}", 0, "not valid JSON"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}", 4, "not valid JSON"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},\"x\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1,
     "duplicate"},
    {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, "duplicate"},
    {"{\"__metadata__\":[]}", 0, "__metadata__ is not a JSON object"},
    {"{\"__metadata__\":{\"good\":\"1\",\"epoch\":3}}", 0, "metadata epoch is not a string"},
    {"{\"x\":7}", 0, "tensor x: no dtype"},
    {"{\"x\":null}", 0, "tensor x: no dtype"},
    {"{\"x\":{\"dtype\":7,\"shape\":[],\"data_offsets\":[0,1]}}", 1, "tensor x: no dtype"},
    {"{\"x\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "tensor x: no shape"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "tensor x: data_offsets are not two whole numbers"},
    /* dtype */
    {X("BOOL", "[4]", "[0,4]"), 4, "tensor x: dtype BOOL is not known here; convert it to one of F32 F64 BF16 F16 I32 I64 U8"},
    {X("f32", "[1]", "[0,4]"), 4, "dtype f32 is not known"},
    {X("", "[1]", "[0,4]"), 4, "dtype  is not known"},
    /* shape */
    {X("U8", "4", "[0,4]"), 4, "tensor x: no shape"},
    {X("U8", "[1,1,1,1,1,1,4]", "[0,4]"), 4, "tensor x: 7 dimensions, more than the 6"},
    {X("U8", "[-4]", "[0,4]"), 4, "tensor x: dimension 0 of its shape is not a whole number >= 0"},
    {X("U8", "[2,-2]", "[0,4]"), 4, "dimension 1 of its shape"},
    {X("U8", "[4.0]", "[0,4]"), 4, "dimension 0 of its shape"},
    {X("U8", "[\"4\"]", "[0,4]"), 4, "dimension 0 of its shape"},
    {X("U8", "[4294967296,4294967296]", "[0,4]"), 4, "larger than any memory"},
    {X("F64", "[2305843009213693952]", "[0,0]"), 0, "larger than any memory"}, /* 2^61 doubles: 2^64 bytes, which would wrap to 0 */
    /* offsets */
    {X("U8", "[4]", "7"), 4, "data_offsets are not two"},
    {X("U8", "[4]", "[0]"), 4, "data_offsets are not two"},
    {X("U8", "[4]", "[0,2,4]"), 4, "data_offsets are not two"},
    {X("U8", "[4]", "[0,4.0]"), 4, "data_offsets are not two"},
    {X("U8", "[4]", "[-4,0]"), 4, "data_offsets [-4, 0] are no interval"},
    {X("U8", "[4]", "[4,0]"), 4, "data_offsets [4, 0] are no interval"},
    {X("U8", "[4]", "[-9223372036854775808,9223372036854775807]"), 4, "are no interval"},
    {X("U8", "[4]", "[0,9223372036854775807]"), 4, "ends at byte 9223372036854775807 of 4 bytes of data; the file is truncated"},
    {X("U8", "[4]", "[0,4]"), 3, "ends at byte 4 of 3 bytes of data; the file is truncated"},
    {X("F32", "[4]", "[0,4]"), 4, "4 bytes of data where its shape and dtype F32 need 16"},
    {X("F32", "[]", "[0,0]"), 0, "0 bytes of data where its shape and dtype F32 need 4"},
    {X("F32", "[0]", "[0,4]"), 4, "4 bytes of data where its shape and dtype F32 need 0"},
    /* the tensors together */
    {X("U8", "[4]", "[0,4]"), 5, "1 bytes at the end belong to no tensor"},
    {"{}", 1, "1 bytes at the end belong to no tensor"},
    {X("U8", "[4]", "[2,6]"), 6, "2 bytes before tensor x belong to no tensor"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}" Y("[3,7]"), 7, "tensors x and y overlap"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}" Y("[0,4]"), 4, "tensors x and y overlap"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}" Y("[5,9]"), 9, "1 bytes before tensor y"},
};

static void every_corruption_is_named(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof corrupt / sizeof corrupt[0]; i++) {
    size_t size;
    char *bytes = file_of(corrupt[i].header, strlen(corrupt[i].header), corrupt[i].data, &size);
    assert_refused(bytes, size, corrupt[i].message);
    free(bytes);
  }
}

static void a_header_length_that_cannot_be_is_refused(void **state) {
  (void)state;
  static const struct {
    uint64_t length;
    const char *message;
  } bad[] = {{UINT64_MAX, "not a safetensors file"},
             {UINT64_MAX - 7, "not a safetensors file"},
             {(uint64_t)1 << 63, "not a safetensors file"},
             {100000001, "the format allows 100000000"},
             {100000000, "ends beyond the file's 10"},
             {3, "ends beyond the file's 10"},
             {0, "does not begin with '{'"}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    char bytes[10] = {[8] = '{', '}'};
    memcpy(bytes, &bad[i].length, 8);
    assert_refused(bytes, sizeof bytes, bad[i].message);
  }
}

static void long_names_are_refused(void **state) {
  (void)state;
  for (int n = TENSOR_MAX_NAME - 1; n <= TENSOR_MAX_NAME; n++) {
    char header[400], name[TENSOR_MAX_NAME + 1] = {0};
    memset(name, 'n', (size_t)n);
    snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", name);
    size_t size;
    char *bytes = file_of(header, strlen(header), 1, &size);
    if (n < TENSOR_MAX_NAME) {
      struct safetensors f;
      struct error err;
      assert_true(safetensors_parse(&f, bytes, size, "mem", &err));
      assert_string_equal(f.tensor[0].name, name);
      safetensors_close(&f);
    } else {
      assert_refused(bytes, size, "the name has 160 bytes, more than the 159");
    }
    free(bytes);
  }
}

/* Cut anywhere, a file must be refused: in the length, in the header, in the data. Each piece has its own block of memory, so that a
 * sanitizer or valgrind sees a read beyond it. */
static void a_file_cut_anywhere_is_refused(void **state) {
  (void)state;
  float x[] = {1, 2, 3};
  int64_t i = 4;
  const struct tensor t[] = {tensor_make(DTYPE_F32, x, 1, (ptrdiff_t[]){3}, "x"), tensor_make(DTYPE_I64, &i, 0, NULL, "i")};
  write_or_fail(t, 2, (const char *[]){"format", "pt", NULL});
  struct error err;
  char *bytes;
  size_t size;
  if (!file_read(path, 10000, &bytes, &size, &err)) fail_msg("%s", err.text);
  for (size_t n = 0; n < size; n++) {
    char *piece = malloc(n ? n : 1);
    assert_non_null(piece);
    memcpy(piece, bytes, n);
    assert_refused(piece, n, "truncated");
    free(piece);
    if (!file_replace(path, bytes, n, &err)) fail_msg("%s", err.text);
    struct safetensors f;
    assert_false(safetensors_open(&f, path, &err));
    assert_true(strncmp(err.text, path, strlen(path)) == 0 && strstr(err.text, "truncated"));
  }
  free(bytes);
}

/* One byte changed in the header: refused, or a file that is still consistent; reading every element must be safe. */
static void a_file_with_a_changed_byte_is_safe(void **state) {
  (void)state;
  static const char header[] = "{\"__metadata__\":{\"k\":\"v\"},\"x\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
                               "\"y\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[8,11]}}";
  size_t size, refused = 0;
  char *bytes = file_of(header, strlen(header), 11, &size);
  for (size_t i = 0; i < 8 + strlen(header); i++) {
    char original = bytes[i];
    for (int change = 1; change < 256; change++) {
      bytes[i] = (char)(original ^ change);
      struct safetensors f;
      struct error err;
      if (safetensors_parse(&f, bytes, size, "mem", &err)) {
        double sum = 0;
        for (int j = 0; j < f.count; j++)
          for (ptrdiff_t k = 0; k < tensor_count(&f.tensor[j]); k++) sum += tensor_at(&f.tensor[j], k);
        assert_true(sum == 0); /* the data is zeros */
        safetensors_close(&f);
      } else {
        refused++;
      }
    }
    bytes[i] = original;
  }
  assert_true(refused > 255 * 60); /* at least every byte of punctuation */
  free(bytes);
}

static void what_is_not_a_file_is_said(void **state) {
  (void)state;
  struct safetensors f;
  struct error err;
  assert_false(safetensors_open(&f, "/nowhere/x.safetensors", &err));
  assert_string_equal(err.text, "/nowhere/x.safetensors: no such file");
  safetensors_close(&f);
  assert_false(safetensors_open(&f, folder, &err));
  assert_non_null(strstr(err.text, "is a folder"));
  assert_false(safetensors_open(&f, "/dev/zero", &err));
  assert_non_null(strstr(err.text, "is a device"));
}

/* ---- writing ------------------------------------------------------------------------------------------------------------------- */

static void assert_not_written(const struct tensor *t, int count, const char *const *metadata, const char *message) {
  struct error err;
  assert_false(safetensors_write(path, t, count, metadata, &err));
  if (strncmp(err.text, path, strlen(path)) != 0 || !strstr(err.text, message)) fail_msg("'%s' is not '%s'", err.text, message);
}

static void what_no_reader_would_take_is_not_written(void **state) {
  (void)state;
  float x[] = {1};
  const struct tensor good = tensor_make(DTYPE_F32, x, 0, NULL, "precious");
  write_or_fail(&good, 1, NULL);
  const struct tensor twice[] = {good, good}, reserved = tensor_make(DTYPE_F32, x, 0, NULL, "__metadata__"),
                      bytes = tensor_make(DTYPE_F32, x, 0, NULL, "\xff\xfe"),
                      huge = tensor_make(DTYPE_F32, x, 2, (ptrdiff_t[]){PTRDIFF_MAX, 2}, "huge"),
                      sum[] = {tensor_make(DTYPE_U8, x, 1, (ptrdiff_t[]){PTRDIFF_MAX}, "a"), good};
  assert_not_written(twice, 2, NULL, "two tensors precious");
  assert_not_written(&reserved, 1, NULL, "__metadata__");
  assert_not_written(&bytes, 1, NULL, "not UTF-8");
  assert_not_written(&huge, 1, NULL, "size of tensor huge overflows");
  assert_not_written(sum, 2, NULL, "size of tensor precious overflows");
  assert_not_written(&good, 1, (const char *[]){"k", "1", "k", "2", NULL}, "metadata k is given twice");
  assert_not_written(&good, 1, (const char *[]){"k", "\xff", NULL}, "metadata k is not UTF-8");
  struct safetensors f;
  open_or_fail(&f); /* the file that was there is there */
  assert_non_null(safetensors_find(&f, "precious"));
  safetensors_close(&f);
}

static void an_open_file_may_be_replaced(void **state) {
  (void)state;
  float old = 1, new = 2;
  struct tensor t = tensor_make(DTYPE_F32, &old, 0, NULL, "x");
  write_or_fail(&t, 1, NULL);
  struct safetensors f, g;
  open_or_fail(&f);
  t.data = &new;
  write_or_fail(&t, 1, NULL);
  open_or_fail(&g);
  assert_true(tensor_at(safetensors_find(&f, "x"), 0) == 1 && tensor_at(safetensors_find(&g, "x"), 0) == 2);
  safetensors_close(&f);
  safetensors_close(&g);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(everything_comes_back),
                                     cmocka_unit_test(no_tensors_and_no_metadata_make_a_file),
                                     cmocka_unit_test(the_data_begins_at_a_multiple_of_8),
                                     cmocka_unit_test(many_tensors_are_no_trouble),
                                     cmocka_unit_test(tensors_are_sorted_by_offset_whatever_the_header_says),
                                     cmocka_unit_test(loading_converts_between_floats),
                                     cmocka_unit_test(loading_refuses_what_does_not_fit),
                                     cmocka_unit_test(every_corruption_is_named),
                                     cmocka_unit_test(a_header_length_that_cannot_be_is_refused),
                                     cmocka_unit_test(long_names_are_refused),
                                     cmocka_unit_test(a_file_cut_anywhere_is_refused),
                                     cmocka_unit_test(a_file_with_a_changed_byte_is_safe),
                                     cmocka_unit_test(what_is_not_a_file_is_said),
                                     cmocka_unit_test(what_no_reader_would_take_is_not_written),
                                     cmocka_unit_test(an_open_file_may_be_replaced)};
  return cmocka_run_group_tests_name("safetensors", tests, make_folder, remove_folder);
}
