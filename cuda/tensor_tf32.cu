/* Convolution and the linear layer on tensor cores: all tensors float, operands rounded to tf32. */
#include "cuda/tensor_table.h"

void cuda_fill_tf32(struct backend *table) { fill_convolutions<tf32_arithmetic>(table), fill_linear<tf32_arithmetic>(table); }
