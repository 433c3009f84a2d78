/* bf16 on the host: exact to widen, to nearest and to even to round, for every bf16 and the floats around it. */
#include <math.h>

#include "base/bf16.h"
#include "support/cmocka.h"

enum { LARGEST = 0x7f7f, INFINITE = 0x7f80, SIGN = 0x8000 };

static float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static void every_bf16_comes_back(void **state) {
  (void)state;
  for (uint32_t h = 0; h <= 0xffff; h++) {
    float x = bf16_widen((uint16_t)h);
    if (isnan(x))
      assert_true(isnan(bf16_widen(bf16_round(x))));
    else
      assert_int_equal(bf16_round(x), h);
  }
}

/* Of two neighbours the nearer one, and half way the one whose last bit is 0; beyond the largest, where its neighbour would be,
 * infinity. */
static void between_neighbours_the_nearer_and_of_two_the_even_one(void **state) {
  (void)state;
  for (uint32_t h = 0; h <= LARGEST; h++)
    for (uint32_t sign = 0; sign <= SIGN; sign += SIGN) {
      uint32_t middle = (sign | h) << 16 | 0x8000;
      assert_int_equal(bf16_round(float_of(middle - 1)), sign | h);
      assert_int_equal(bf16_round(float_of(middle)), sign | (h + (h & 1)));
      assert_int_equal(bf16_round(float_of(middle + 1)), sign | (h + 1));
    }
  assert_int_equal(bf16_round(INFINITY), INFINITE);
}

/* Also one whose mark is in the bits that are cut off. */
static void a_nan_stays_one(void **state) {
  (void)state;
  assert_true(isnan(bf16_widen(bf16_round(float_of(0x7f800001)))));
  assert_true(isnan(bf16_widen(bf16_round(float_of(0xffffffff)))));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_bf16_comes_back),
                                     cmocka_unit_test(between_neighbours_the_nearer_and_of_two_the_even_one),
                                     cmocka_unit_test(a_nan_stays_one)};
  return cmocka_run_group_tests_name("bf16", tests, NULL, NULL);
}
