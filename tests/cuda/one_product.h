/* One product of one warp (faulty_tensor.h), sound or with a mistake, and what it has to be: for the tests of whatever runs it. */
#ifndef EDIY_TESTS_CUDA_ONE_PRODUCT_H
#define EDIY_TESTS_CUDA_ONE_PRODUCT_H

#include "cuda/device.h"
#include "cuda/faulty_tensor.h"

enum { ROWS = 16, COLUMNS = 8, MOST_DEPTH = 16, INTS = 8 };

static inline real *multiplied(bool half, enum product_mistake mistake, const real *a, const real *b) {
  int depth = half ? MOST_DEPTH : MOST_DEPTH / 2;
  real *c = device_reals(ROWS * COLUMNS);
  (half ? product_bf16 : product_tf32)(mistake, device_from(a, ROWS * depth), device_from(b, depth * COLUMNS), c);
  return c;
}

static inline void multiply_mistaken(bool half, enum product_mistake mistake) {
  real *a = test_ints(ROWS * MOST_DEPTH, INTS, 1), *b = test_ints(MOST_DEPTH * COLUMNS, INTS, 2);
  multiplied(half, mistake, a, b);
  free(a), free(b);
}

/* Whether the kernel's c is a b. Integers: exact in either class. */
static inline bool is_product(bool half, enum product_mistake mistake) {
  int depth = half ? MOST_DEPTH : MOST_DEPTH / 2;
  real *a = test_ints(ROWS * depth, INTS, 1), *b = test_ints(depth * COLUMNS, INTS, 2);
  real *got = device_read(multiplied(half, mistake, a, b), ROWS * COLUMNS);
  bool same = true;
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < COLUMNS; j++) {
      real sum = 0;
      for (int k = 0; k < depth; k++) sum += a[i * depth + k] * b[k * COLUMNS + j];
      same &= got[i * COLUMNS + j] == sum;
    }
  free(a), free(b), free(got);
  return same;
}

static inline void registers_are_where_they_are_documented(void **state) {
  (void)state;
  for (int half = 0; half < 2; half++) {
    assert_true(is_product(half, PRODUCT_SOUND));
    assert_true(is_product(half, PRODUCT_SOUND_LOADED));
    assert_false(is_product(half, PRODUCT_A_SWAPPED));
    assert_false(is_product(half, PRODUCT_B_SWAPPED));
    assert_false(is_product(half, PRODUCT_ROW_OF_WARP));
  }
  assert_false(is_product(true, PRODUCT_HALVES));
  assert_false(is_product(true, PRODUCT_NOT_TRANSPOSED));
  device_end();
}

#endif
