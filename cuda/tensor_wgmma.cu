/* cuda.conv=wgmma and cuda.gemm=wgmma: the products of tensor_bf16.cu by Hopper's own instructions (warpgroup.h), in their place. Compiled
 * for sm_90a alone: no other GPU has code of these kernels. */
#include "cuda/tensor_table.h"
#include "cuda/warpgroup_sums.h"

void cuda_fill_conv_wgmma(struct backend *table) { fill_convolutions<warpgroup_arithmetic>(table); }
void cuda_fill_gemm_wgmma(struct backend *table) { fill_linear<warpgroup_arithmetic>(table); }
