/* Convolution and the linear layer on tensor cores: activations and weights bf16. */
#include "cuda/tensor_table.h"

void cuda_fill_bf16(struct backend *table) { fill_convolutions<bf16_arithmetic>(table), fill_linear<bf16_arithmetic>(table); }
