/* mma and ldmatrix: which lane and register has an element (PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type", "... for
 * mma.m16n8k8", "ldmatrix"). The shim's reading of the same pictures goes from registers to elements (shim_tensor.cpp), this one from
 * elements to registers. See ptx.h. */
#include <stdio.h>
#include <stdlib.h>

#include "cuda/ptx/memory.h"
#include "cuda/ptx/tensor_core.h"

static const struct tensor_core *named_core(void) {
  const char *name = getenv("EDIY_PTX_CORE");
  const struct tensor_core *named = tensor_core_named(name ? name : "h100");
  if (named) return named;
  fprintf(stderr, "EDIY_PTX_CORE=%s: not known: a100, h100, h200, b200\n", name);
  exit(2);
}
const struct tensor_core *ptx_core(void) {
  static const struct tensor_core *const of_this_run = named_core();
  return of_this_run;
}

enum { ROWS = 16, COLUMNS = TENSOR_COLUMNS };
template <int DEPTH, class A, class B>
static void multiply(struct warp *w, const struct instruction *i, int group, A a_element, B b_element) {
  if (w->block->kernel->counts) w->block->kernel->counts->mma++;
  float a[ROWS][DEPTH], b[DEPTH][COLUMNS];
  for (int k = 0; k < DEPTH; k++) {
    for (int row = 0; row < ROWS; row++) a[row][k] = a_element(row, k);
    for (int column = 0; column < COLUMNS; column++) b[k][column] = b_element(k, column);
  }
  for (int row = 0; row < ROWS; row++) {
    float c[COLUMNS];
    auto place_of_c = [=](int operand, int column) { return &words(w, i, operand + row / 8 * 2 + column % 2)[row % 8 * 4 + column / 2]; };
    for (int j = 0; j < COLUMNS; j++) c[j] = from_place<float>(*place_of_c(10, j));
    tensor_core_add(ptx_core(), group, DEPTH, a[row], b, c);
    for (int j = 0; j < COLUMNS; j++) *place_of_c(0, j) = to_place(c[j]);
  }
}

/* Element (row, k) of a is in lane row % 8 * 4 + k % 8 / 2, register row / 8 + k / 8 * 2, half k % 2; (k, column) of b in lane
 * column * 4 + k % 8 / 2, register k / 8, half k % 2. */
void ptx_mma_bf16(struct warp *w, const struct instruction *i, uint32_t) {
  auto half = [=](int operand, int lane, int k) { return from_place<float>(words(w, i, operand)[lane] >> 16 * (k % 2) << 16); };
  multiply<16>(
      w, i, ptx_core()->bf16_group, [=](int row, int k) { return half(4 + row / 8 + k / 8 * 2, row % 8 * 4 + k % 8 / 2, k); },
      [=](int k, int column) { return half(8 + k / 8, column * 4 + k % 8 / 2, k); });
}

/* Element (row, k) of a is in lane row % 8 * 4 + k % 4, register row / 8 + k / 4 * 2; (k, column) of b in lane column * 4 + k % 4, register
 * k / 4. */
void ptx_mma_tf32(struct warp *w, const struct instruction *i, uint32_t) {
  bool rounded = true;
  auto element = [w, i, &rounded](int operand, int lane) {
    float x = from_place<float>(words(w, i, operand)[lane]);
    rounded &= x != x || !(words(w, i, operand)[lane] & 0x1fff);
    return x;
  };
  multiply<8>(
      w, i, ptx_core()->tf32_group, [=](int row, int k) { return element(4 + row / 8 + k / 4 * 2, row % 8 * 4 + k % 4); },
      [=](int k, int column) { return element(8 + k / 4, column * 4 + k % 4); });
  if (!rounded) ptx_fail(w, i, "an operand of mma was not rounded to tf32");
}

/* Row r of matrix m starts where lane 8 m + r says. Register m gets in lane l the elements 2 (l % 4) and the next of row l / 4;
 * transposed, of column l / 4. */
static void load_matrices(struct warp *w, const struct instruction *i, bool transposed) {
  uint16_t element[4][8][8];
  ptx_count(w, i, IN_SHARED, 4, i->far, 16, ALL_LANES);
  for (int lane = 0; lane < LANES; lane++)
    memcpy(element[lane / 8][lane % 8],
           ptx_place(w, i, IN_SHARED, (uint32_t)(address_in(w, i, 4, i->far, lane) + (uint64_t)i->offset), 16, lane, READS), 16);
  for (int m = 0; m < 4; m++)
    for (int lane = 0; lane < LANES; lane++) {
      int row = lane / 4, at = lane % 4 * 2;
      words(w, i, m)[lane] = transposed ? (uint32_t)element[m][at + 1][row] << 16 | element[m][at][row]
                                        : (uint32_t)element[m][row][at + 1] << 16 | element[m][row][at];
    }
}
void ptx_ldmatrix(struct warp *w, const struct instruction *i, uint32_t) { load_matrices(w, i, false); }
void ptx_ldmatrix_trans(struct warp *w, const struct instruction *i, uint32_t) { load_matrices(w, i, true); }
