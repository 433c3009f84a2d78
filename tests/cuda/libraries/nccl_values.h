/* The values that NCCL 2 gives to the names that cuda/ uses: of the stand-in (nccl.h), and compared with NVIDIA's header where there is one
 * (values.cu). */
#define NCCL_VALUES(V)                                                                                                                     \
  V(ncclSuccess, 0)                                                                                                                        \
  V(ncclUnhandledCudaError, 1)                                                                                                             \
  V(ncclInvalidArgument, 4)                                                                                                                \
  V(ncclInvalidUsage, 5)                                                                                                                   \
  V(ncclInt8, 0)
