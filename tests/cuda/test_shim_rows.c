/* Launches over more rows than a grid's second dimension has blocks for, which is more than a test could run: every row has its block,
 * once, in either order. */
#include "cuda/device.h"
#include "cuda/ways.h"

enum { MOST = 65535 }; /* CUDA's limit on the second and the third dimension of a grid */

/* A warp at most across, and not twice as many threads as it takes; as few blocks as have room for all, none of a dimension more than CUDA
 * has. */
static void a_grid_has_a_block_for_every_row(void **state) {
  (void)state;
  static const ptrdiff_t downs[] = {1, 2, MOST - 1, MOST, MOST + 1, 2 * MOST - 1, 2 * MOST, 2 * MOST + 1, (ptrdiff_t)MOST * MOST};
  for (size_t i = 0; i < sizeof downs / sizeof downs[0]; i++)
    for (ptrdiff_t across = 1; across <= 130; across++) {
      unsigned block[2], grid[3];
      ways_grid(downs[i], across, 256, block, grid);
      assert_true(block[0] * block[1] == 256 && block[0] <= 32 && block[0] < 2 * across);
      assert_true(block[0] == 32 || block[0] >= across);
      assert_int_equal(grid[0], across / block[0] + (across % block[0] > 0));
      assert_true(grid[1] == (downs[i] < MOST ? downs[i] : MOST) && grid[2] <= MOST);
      assert_true((ptrdiff_t)grid[1] * grid[2] >= downs[i] && (ptrdiff_t)grid[1] * (grid[2] - 1) < downs[i]);
    }
}

/* In the order of their launch blocks that are neighbours across are in the same rows, and rows go up, or down from the last. */
static void blocks_go_up_the_rows_or_down(void **state) {
  (void)state;
  static const unsigned grids[][3] = {{1, 1, 1}, {2, 5, 1}, {3, 5, 2}, {2, 7, 4}};
  for (size_t i = 0; i < sizeof grids / sizeof grids[0]; i++)
    for (int behind = 0; behind < 2; behind++) {
      const unsigned *grid = grids[i];
      const int down = (int)(grid[1] * grid[2]), count = down * (int)grid[0];
      real *dev = device_reals(count);
      ways_launch(grid, behind, dev);
      real *x = device_read(dev, count);
      for (int k = 0; k < count; k++) {
        const int row = k / (int)grid[0];
        assert_int_equal((int)x[k], behind ? down - 1 - row : row);
      }
      free(x);
      device_end();
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_grid_has_a_block_for_every_row), cmocka_unit_test(blocks_go_up_the_rows_or_down)};
  return cmocka_run_group_tests_name("cuda rows", tests, NULL, NULL);
}
