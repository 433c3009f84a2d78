/* Philox4x32-10: the known answers that Random123 publishes (kat_vectors), and what a stream promises. */
#include "base/philox.h"

#include <math.h>

#include "support/cmocka.h"

static void known_answers(void **state) {
  (void)state;
  static const struct {
    uint32_t counter[4], key[2], out[4];
  } kat[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (size_t i = 0; i < sizeof kat / sizeof kat[0]; i++) {
    uint32_t out[4];
    philox_block(kat[i].counter, kat[i].key, out);
    assert_memory_equal(out, kat[i].out, sizeof out);
  }
}

static void streams_differ_in_every_part_of_their_name(void **state) {
  (void)state;
  struct philox g[] = {philox_stream(1, PHILOX_AUGMENT, 0, 2, 3),
                       philox_stream(2, PHILOX_AUGMENT, 0, 2, 3),
                       philox_stream(1, PHILOX_INIT, 0, 2, 3),
                       philox_stream(1, PHILOX_AUGMENT, 1, 2, 3),
                       philox_stream(1, PHILOX_AUGMENT, 0, 3, 3),
                       philox_stream(1, PHILOX_AUGMENT, 0, 2, 4),
                       philox_stream(1ull << 32 | 1, PHILOX_AUGMENT, 0, 2, 3)};
  enum { N = sizeof g / sizeof g[0] };
  uint32_t first[N];
  for (int i = 0; i < N; i++) {
    first[i] = philox_u32(&g[i]);
    for (int j = 0; j < i; j++) assert_int_not_equal(first[i], first[j]);
  }
}

static void uniform_is_exact_in_float_and_below_one(void **state) {
  (void)state;
  struct philox g = philox_stream(5, PHILOX_TEST, 0, 0, 0);
  double sum = 0, most = 0;
  for (int i = 0; i < 100000; i++) {
    double u = philox_uniform(&g);
    assert_true(u == (double)(float)u && u >= 0 && u < 1);
    sum += u;
    most = u > most ? u : most;
  }
  /* sd of the mean is 1 / sqrt(12 n) = 9e-4; six of them */
  assert_true(sum / 100000 > 0.5 - 6 * 9.2e-4 && sum / 100000 < 0.5 + 6 * 9.2e-4 && most > 0.999);
}

/* Of four, all 24 orders come, as often as each other: of N draws N / 24 each, with a standard deviation of sqrt(N 23) / 24. And the first
 * word decides the last place. */
static void permutations_are_equally_likely(void **state) {
  (void)state;
  enum { N = 24 * 1000 };
  int times[4][4][4] = {{{0}}};
  for (uint32_t k = 0; k < N; k++) {
    int32_t order[4], seen = 0;
    struct philox g = philox_stream(6, PHILOX_TEST, 0, k, 0), again = g;
    philox_permutation(&g, 4, order);
    for (int i = 0; i < 4; i++) seen |= 1 << order[i];
    assert_int_equal(seen, 15);
    assert_int_equal(order[3], philox_below(&again, 4));
    times[order[0]][order[1]][order[2]]++;
  }
  for (int i = 0; i < 64; i++) {
    int a = i / 16, b = i / 4 % 4, c = i % 4, n = times[a][b][c];
    if (a == b || b == c || a == c)
      assert_int_equal(n, 0);
    else
      assert_true(fabs(n - N / 24.0) < 6 * sqrt(N * 23.0) / 24);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(known_answers), cmocka_unit_test(streams_differ_in_every_part_of_their_name),
                                     cmocka_unit_test(uniform_is_exact_in_float_and_below_one),
                                     cmocka_unit_test(permutations_are_equally_likely)};
  return cmocka_run_group_tests_name("philox", tests, NULL, NULL);
}
