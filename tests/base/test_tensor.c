/* Tensors: every dtype reads back as the number that was stored, aligned or not; counts overflow into an answer, not into a size. */
#include "base/tensor.h"

#include <math.h>
#include <string.h>

#include "base/f16.h"
#include "support/cmocka.h"

static void names_and_sizes_are_those_of_the_format(void **state) {
  (void)state;
  static const struct {
    enum dtype dtype;
    const char *name;
    size_t size;
  } known[] = {{DTYPE_F32, "F32", 4}, {DTYPE_F64, "F64", 8}, {DTYPE_BF16, "BF16", 2}, {DTYPE_F16, "F16", 2},
               {DTYPE_I32, "I32", 4}, {DTYPE_I64, "I64", 8}, {DTYPE_U8, "U8", 1}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    enum dtype parsed = DTYPE_U8;
    assert_true(dtype_parse(known[i].name, &parsed));
    assert_int_equal(parsed, known[i].dtype);
    assert_string_equal(dtype_name(known[i].dtype), known[i].name);
    assert_int_equal(dtype_size(known[i].dtype), known[i].size);
  }
  enum dtype untouched = DTYPE_I32;
  assert_false(dtype_parse("F8_E4M3", &untouched));
  assert_false(dtype_parse("f32", &untouched));
  assert_false(dtype_parse("", &untouched));
  assert_int_equal(untouched, DTYPE_I32);
}

static void count_is_the_product_or_minus_one(void **state) {
  (void)state;
  static const struct {
    int ndim;
    ptrdiff_t shape[TENSOR_MAX_DIMS], count;
  } known[] = {
      {0, {0}, 1},
      {1, {7}, 7},
      {3, {2, 3, 4}, 24},
      {2, {0, 5}, 0},
      {6, {1, 1, 2, 1, 1, 2}, 4},
      {2, {PTRDIFF_MAX, 1}, PTRDIFF_MAX},
      {2, {PTRDIFF_MAX / 2 + 1, 2}, -1},
      {4, {1 << 20, 1 << 20, 1 << 20, 1 << 20}, -1},
      {2, {-1, 5}, -1},
      {2, {-1, -1}, -1},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    struct tensor t = tensor_make(DTYPE_U8, NULL, known[i].ndim, known[i].shape, "t");
    assert_true(tensor_count(&t) == known[i].count);
  }
}

static void every_dtype_reads_back_at_any_address(void **state) {
  (void)state;
  const float f32[] = {0.0f, -1.5f, 0x1.fffffep127f, 0x1p-149f};
  const double f64[] = {0.1, -0x1.fffffffffffffp1023, 0x1p-1074, 3.0};
  const uint16_t bf16[] = {0x3f80, 0xc020, 0x0001, 0x7f7f}; /* 1, -2.5, the smallest subnormal 2^-133, the largest */
  const double bf16_value[] = {1.0, -2.5, 0x1p-133, 0x1.fep127};
  const uint16_t f16[] = {0x3c00, 0xc100, 0x0001, 0x7bff}; /* 1, -2.5, the smallest subnormal 2^-24, the largest */
  const double f16_value[] = {1.0, -2.5, 0x1p-24, 65504.0};
  const int32_t i32[] = {0, -1, INT32_MAX, INT32_MIN};
  const int64_t i64[] = {0, -1, 9007199254740992, INT64_MIN};
  const unsigned char u8[] = {0, 1, 128, 255};
  const struct {
    enum dtype dtype;
    const void *data;
    size_t size;
  } kinds[] = {{DTYPE_F32, f32, sizeof f32}, {DTYPE_F64, f64, sizeof f64}, {DTYPE_BF16, bf16, sizeof bf16}, {DTYPE_F16, f16, sizeof f16},
               {DTYPE_I32, i32, sizeof i32}, {DTYPE_I64, i64, sizeof i64}, {DTYPE_U8, u8, sizeof u8}};
  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
    for (int shift = 0; shift < 8; shift++) {
      _Alignas(8) char bytes[64];
      memcpy(bytes + shift, kinds[k].data, kinds[k].size);
      struct tensor t = tensor_make(kinds[k].dtype, bytes + shift, 1, (ptrdiff_t[]){4}, "t");
      for (int i = 0; i < 4; i++) {
        double expected = 0;
        switch (kinds[k].dtype) {
        case DTYPE_F32: expected = (double)f32[i]; break;
        case DTYPE_F64: expected = f64[i]; break;
        case DTYPE_BF16: expected = bf16_value[i]; break;
        case DTYPE_F16: expected = f16_value[i]; break;
        case DTYPE_I32: expected = (double)i32[i]; break;
        case DTYPE_I64: expected = (double)i64[i]; break;
        case DTYPE_U8: expected = (double)u8[i]; break;
        }
        assert_true(tensor_at(&t, i) == expected);
      }
    }
}

/* By the definition of the format: sign, exponent with a bias of 15, ten digits of fraction; every one of them is a float. */
static void every_f16_is_what_it_says(void **state) {
  (void)state;
  for (uint32_t h = 0; h <= 0xffff; h++) {
    const int exponent = h >> 10 & 31, fraction = h & 1023;
    double x = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    if (exponent == 31) x = fraction ? (double)NAN : (double)INFINITY;
    if (h >> 15) x = -x;
    const float f = f16_widen((uint16_t)h);
    assert_true(isnan(x) ? isnan(f) : (double)f == x && !signbit(f) == !signbit(x));
  }
}

static void a_name_may_be_a_format(void **state) {
  (void)state;
  double x;
  struct tensor t = tensor_make(DTYPE_F64, &x, 2, (ptrdiff_t[]){1, 1}, "layer%d.%s", 3, "conv1.weight");
  assert_string_equal(t.name, "layer3.conv1.weight");
  assert_ptr_equal(t.data, &x);
  assert_int_equal(t.ndim, 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(names_and_sizes_are_those_of_the_format),
                                     cmocka_unit_test(count_is_the_product_or_minus_one),
                                     cmocka_unit_test(every_dtype_reads_back_at_any_address), cmocka_unit_test(every_f16_is_what_it_says),
                                     cmocka_unit_test(a_name_may_be_a_format)};
  return cmocka_run_group_tests_name("tensor", tests, NULL, NULL);
}
