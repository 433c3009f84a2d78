/* How tensor cores add: the sum of an mma to the bit, as F. A. Khattak and M. Mikaitis found it (Accurate Models of NVIDIA Tensor Cores,
 * ACM TACO, arXiv 2512.07004), who compared their model with GPUs on random numbers. This is its arithmetic for operands in bf16 and tf32
 * and sums in float:
 *
 *     Products come in groups, one after the other. Those of a group, exact, and what was summed so far are aligned to the largest exponent
 *     among them and cut off, toward zero, below 23 + extra bits after its leading bit; then added without a further loss. The sum is cut
 *     off to a float. The exponent of a product is the sum of those of its operands, also where the product of their significands is 2 or
 *     more; the largest counts from `least` on.
 *
 * Infinities and NaN are added as they are. tests/cuda/ptx/measured.c compares this with what GPUs were measured to give.
 */
#ifndef EDIY_TESTS_CUDA_PTX_TENSOR_CORE_H
#define EDIY_TESTS_CUDA_PTX_TENSOR_CORE_H

#ifdef __cplusplus
extern "C" {
#endif

struct tensor_core {
  const char *name;
  int bf16_group, tf32_group; /* products */
  int extra;                  /* bits */
  double least;               /* a power of two */
};

/* a100, h100 (h200 is the same), b200 (its tensor cores by mma). Null: no other is known. */
const struct tensor_core *tensor_core_named(const char *name);

enum { TENSOR_COLUMNS = 8 };

/* c[j] += sum over k < depth of a[k] b[k][j], in groups; operands in bf16 or tf32. */
void tensor_core_add(const struct tensor_core *t, int group, int depth, const float *a, const float (*b)[TENSOR_COLUMNS],
                     float c[TENSOR_COLUMNS]);

#ifdef __cplusplus
}
#endif

#endif
