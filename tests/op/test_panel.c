/* The product that convolutions and linear layers are made of: exact on integers, within its bound elsewhere, to the bit the chain that
 * panel.h says, and independent of the tile. */
#include "op/panel.h"

#include <string.h>

#include "op/chain.h"
#include "support/cmocka.h"
#include "support/support.h"

/* Rows below, at and above the kernel's 6 or 12; columns around a panel of 8 to 32; depths around a block of 256. */
static const struct {
  ptrdiff_t rows, columns, depth;
} shapes[] = {{1, 1, 1}, {5, 7, 3}, {6, 16, 9}, {13, 33, 27}, {12, 32, 256}, {25, 70, 257}, {40, 65, 520}, {7, 8, 511}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void fill_nan(real *x, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; i++) x[i] = NAN;
}

/* C = A B by the definition, in double. */
static void define(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, const real *a, const real *b, const real *start, real *c) {
  for (ptrdiff_t i = 0; i < rows; i++)
    for (ptrdiff_t j = 0; j < columns; j++) {
      double sum = start ? (double)start[i * columns + j] : 0;
      for (ptrdiff_t k = 0; k < depth; k++) sum += (double)a[i * depth + k] * (double)b[k * columns + j];
      c[i * columns + j] = (real)sum;
    }
}

struct factors {
  real *a, *b, *panels, *c, *expected;
  const real **at;
  struct panel_rows rows; /* of a, each one piece */
};

/* Pointers to `rows` rows of a, `apart` reals from one to the next, in pieces of `length`. Where there is no row, to NaN. */
static struct panel_rows rows_of(const real *a, ptrdiff_t rows, ptrdiff_t apart, ptrdiff_t depth, ptrdiff_t length, const real **at) {
  static real nothing[1024];
  fill_nan(nothing, 1024);
  assert_true(length <= 1024 && depth % length == 0);
  ptrdiff_t stride = panel_rows_rounded(rows);
  assert_true(stride >= rows);
  for (ptrdiff_t piece = 0; piece < depth / length; piece++)
    for (ptrdiff_t i = 0; i < stride; i++) at[piece * stride + i] = i < rows ? a + i * apart + piece * length : nothing;
  return (struct panel_rows){.at = at, .stride = stride, .length = length};
}

static struct factors make(int s, bool integers, bool transposed) {
  ptrdiff_t rows = shapes[s].rows, columns = shapes[s].columns, depth = shapes[s].depth;
  struct factors f = {test_reals(rows * depth),
                      test_reals(depth * columns),
                      test_reals(panel_size(depth, columns)),
                      test_reals(rows * columns),
                      test_reals(rows * columns),
                      NULL,
                      {0}};
  f.at = malloc((size_t)panel_rows_rounded(rows) * sizeof *f.at);
  f.rows = rows_of(f.a, rows, depth, depth, depth, f.at);
  if (integers)
    test_fill_int(f.a, rows * depth, 4, 1), test_fill_int(f.b, depth * columns, 4, 2);
  else
    test_fill_normal(f.a, rows * depth, 1), test_fill_normal(f.b, depth * columns, 2);
  memset(f.panels, 0xff, (size_t)panel_size(depth, columns) * sizeof(real)); /* NaN: what is not laid out would show */
  if (transposed) {
    real *t = test_reals(depth * columns);
    for (ptrdiff_t k = 0; k < depth; k++)
      for (ptrdiff_t j = 0; j < columns; j++) t[j * depth + k] = f.b[k * columns + j];
    panel_pack(depth, columns, t, 1, depth, 0, depth, f.panels);
    free(t);
  } else { /* in two parts */
    ptrdiff_t first = depth / 3;
    panel_pack(depth, columns, f.b, columns, 1, 0, first, f.panels);
    panel_pack(depth, columns, f.b + first * columns, columns, 1, first, depth - first, f.panels);
  }
  return f;
}

static void release(struct factors *f) { free(f->a), free(f->b), free(f->panels), free(f->c), free(f->expected), free(f->at); }

static void exact_on_integers(void **state) {
  (void)state;
  for (int s = 0; s < SHAPES; s++)
    for (int transposed = 0; transposed < 2; transposed++) {
      ptrdiff_t rows = shapes[s].rows, columns = shapes[s].columns, depth = shapes[s].depth;
      struct factors f = make(s, true, transposed);
      memset(f.c, 0xff, (size_t)(rows * columns) * sizeof(real));
      panel_product(rows, columns, depth, &f.rows, f.panels, 0, PANEL_SET, f.c, columns);
      define(rows, columns, depth, f.a, f.b, NULL, f.expected);
      assert_all_equal(f.c, f.expected, rows * columns);

      real *start = test_reals(rows * columns);
      test_fill_int(start, rows * columns, 9, 3);
      memcpy(f.c, start, (size_t)(rows * columns) * sizeof(real));
      if (depth <= PANEL_DEPTH) {
        panel_product(rows, columns, depth, &f.rows, f.panels, 0, PANEL_ADD, f.c, columns);
      } else {
        panel_product(rows, columns, depth, &f.rows, f.panels, 0, PANEL_GO_ON, f.c, columns);
      }
      define(rows, columns, depth, f.a, f.b, start, f.expected);
      assert_all_equal(f.c, f.expected, rows * columns);
      free(start);
      release(&f);
    }
}

/* A chain of fused multiply-adds: |e| <= depth u / (1 - depth u) sum |a b|, which is less than (depth + 1) u times that. */
static void within_the_bound_elsewhere(void **state) {
  (void)state;
  for (int s = 0; s < SHAPES; s++) {
    ptrdiff_t rows = shapes[s].rows, columns = shapes[s].columns, depth = shapes[s].depth;
    struct factors f = make(s, false, true);
    panel_product(rows, columns, depth, &f.rows, f.panels, 0, PANEL_SET, f.c, columns);
    define(rows, columns, depth, f.a, f.b, NULL, f.expected);
    double gauge = 0;
    for (ptrdiff_t i = 0; i < rows; i++)
      for (ptrdiff_t j = 0; j < columns; j++) {
        double sum = 0;
        for (ptrdiff_t k = 0; k < depth; k++) sum += fabs((double)f.a[i * depth + k] * (double)f.b[k * columns + j]);
        gauge = fmax(gauge, sum);
      }
    assert_all_close(f.c, f.expected, rows * columns, (double)(depth + 2) * REAL_ROUNDOFF * gauge); /* and expected is rounded once */
    release(&f);
  }
}

/* In place of C, added to it, and from it on. */
static void an_element_is_the_chain_of_the_header(void **state) {
  (void)state;
  for (int s = 0; s < SHAPES; s++)
    for (enum panel_into into = PANEL_SET; into <= PANEL_GO_ON; into++) {
      ptrdiff_t rows = shapes[s].rows, columns = shapes[s].columns, depth = shapes[s].depth;
      if (into == PANEL_ADD && depth > PANEL_DEPTH) continue;
      struct factors f = make(s, false, true);
      test_fill_normal(f.c, rows * columns, 3);
      for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < columns; j++) {
          real start = f.c[i * columns + j], from = into == PANEL_GO_ON ? start : 0;
          real sum = chain_from(from, depth, f.a + i * depth, 1, f.b + j, columns);
          f.expected[i * columns + j] = into == PANEL_ADD ? start + sum : sum;
        }
      if (into == PANEL_SET) fill_nan(f.c, rows * columns);
      panel_product(rows, columns, depth, &f.rows, f.panels, 0, into, f.c, columns);
      assert_memory_equal(f.c, f.expected, (size_t)(rows * columns) * sizeof(real));
      release(&f);
    }
}

/* A row computed alone, from the columns behind PANEL_ALIGN alone, has the bits it has in the whole product. */
static void an_element_does_not_depend_on_its_tile(void **state) {
  (void)state;
  ptrdiff_t rows = shapes[6].rows, columns = shapes[6].columns, depth = shapes[6].depth;
  struct factors f = make(6, false, true);
  panel_product(rows, columns, depth, &f.rows, f.panels, 0, PANEL_SET, f.c, columns);
  for (ptrdiff_t i = 0; i < rows; i++) {
    real alone[1];
    const real *at[16];
    struct panel_rows row = rows_of(f.a + i * depth, 1, depth, depth, depth, at);
    panel_product(1, columns - PANEL_ALIGN, depth, &row, f.panels, PANEL_ALIGN, PANEL_SET, alone, columns);
    assert_memory_equal(alone, f.c + i * columns + PANEL_ALIGN, sizeof alone);
  }
  release(&f);
}

/* Nor on where its row of A lies: in pieces, which end inside of blocks of depth and at their ends, or multiples of 4096 bytes apart. */
static void an_element_does_not_depend_on_where_rows_are(void **state) {
  (void)state;
  static const ptrdiff_t lengths[] = {1, 8, 40, 52, 104, 260}; /* divisors of the depth, 520 */
  ptrdiff_t rows = shapes[6].rows, columns = shapes[6].columns, depth = shapes[6].depth, apart = 8192 / (ptrdiff_t)sizeof(real);
  struct factors f = make(6, false, true);
  panel_product(rows, columns, depth, &f.rows, f.panels, 0, PANEL_SET, f.expected, columns);
  const real **at = malloc((size_t)(panel_rows_rounded(rows) * depth) * sizeof *at);
  for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
    struct panel_rows pieces = rows_of(f.a, rows, depth, depth, lengths[l], at);
    fill_nan(f.c, rows * columns);
    panel_product(rows, columns, depth, &pieces, f.panels, 0, PANEL_SET, f.c, columns);
    assert_memory_equal(f.c, f.expected, (size_t)(rows * columns) * sizeof(real));
  }
  real *far = test_reals(rows * apart);
  for (ptrdiff_t i = 0; i < rows; i++) memcpy(far + i * apart, f.a + i * depth, (size_t)depth * sizeof(real));
  struct panel_rows crowded = rows_of(far, rows, apart, depth, depth, at);
  fill_nan(f.c, rows * columns);
  panel_product(rows, columns, depth, &crowded, f.panels, 0, PANEL_SET, f.c, columns);
  assert_memory_equal(f.c, f.expected, (size_t)(rows * columns) * sizeof(real));
  free(far), free(at);
  release(&f);
}

/* ---- A^T B ---------------------------------------------------------------------------------------------------------------- */

/* A^T B, its depth in blocks of at most 256, with rows of B in pieces and in one: the same chains, added to C or in place of it. What no
 * function may read is NaN: C where it is overwritten, the sums, the scratch, and B behind its last column. */
static void transposed_is_the_same_chain(void **state) {
  (void)state;
  static const ptrdiff_t all_rows[] = {1, 4, 6, 7, 8, 11, 12, 13, 23, 40, 64}, pieces[] = {1, 3, 8, 32, 0}; /* 0: the whole row */
  const ptrdiff_t depth = 300, most = 70;
  real *a = test_reals(depth * 64), *b = test_reals(depth * (most + 40)), *c = test_reals(64 * most), *expected = test_reals(64 * most);
  const real **at = malloc((size_t)(panel_rows_rounded(256) * (most + 40)) * sizeof *at);
  for (size_t r = 0; r < sizeof all_rows / sizeof all_rows[0]; r++)
    for (size_t p = 0; p < sizeof pieces / sizeof pieces[0]; p++)
      for (int add = 0; add < 2; add++) {
        ptrdiff_t rows = all_rows[r], columns = p % 2 ? 33 : most, length = pieces[p] ? pieces[p] : columns;
        columns -= columns % length;
        ptrdiff_t ldb = columns + 5;
        real *sums = test_reals(panel_sums_size(rows, columns)), *scratch = test_reals(panel_transposed_size(rows));
        test_fill_normal(a, depth * rows, 1), fill_nan(b, depth * ldb);
        for (ptrdiff_t k = 0; k < depth; k++) test_fill_normal(b + k * ldb, columns, 2 + (uint64_t)k);
        test_fill_normal(c, rows * columns, 5);
        for (ptrdiff_t i = 0; i < rows; i++)
          for (ptrdiff_t j = 0; j < columns; j++) {
            real sum = chain(depth, a + i, rows, b + j, ldb);
            expected[i * columns + j] = add ? c[i * columns + j] + sum : sum;
          }
        if (!add) fill_nan(c, rows * columns);
        fill_nan(sums, panel_sums_size(rows, columns)), fill_nan(scratch, panel_transposed_size(rows));
        for (ptrdiff_t k = 0; k < depth; k += 256) {
          ptrdiff_t count = depth - k < 256 ? depth - k : 256;
          for (ptrdiff_t piece = 0; piece < columns / length; piece++)
            for (ptrdiff_t i = 0; i < count; i++) at[piece * count + i] = b + (k + i) * ldb + piece * length;
          struct panel_rows lines = {.at = at, .stride = count, .length = length};
          panel_product_transposed(rows, columns, count, a + k * rows, rows, &lines, k > 0 ? PANEL_GO_ON : PANEL_SET, sums, scratch);
        }
        panel_sums_add(rows, columns, sums, add, c, columns);
        assert_memory_equal(c, expected, (size_t)(rows * columns) * sizeof(real));
        free(sums), free(scratch);
      }
  free(a), free(b), free(c), free(expected), free(at);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(exact_on_integers),
                                     cmocka_unit_test(within_the_bound_elsewhere),
                                     cmocka_unit_test(an_element_is_the_chain_of_the_header),
                                     cmocka_unit_test(an_element_does_not_depend_on_its_tile),
                                     cmocka_unit_test(an_element_does_not_depend_on_where_rows_are),
                                     cmocka_unit_test(transposed_is_the_same_chain)};
  return cmocka_run_group_tests_name("panel " REAL_SUFFIX, tests, NULL, NULL);
}
