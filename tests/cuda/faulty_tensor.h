/* Kernels on the shim's tensor cores and copies, sound and with one mistake each (faulty_tensor.cu), for C. */
#ifndef EDIY_TESTS_CUDA_FAULTY_TENSOR_H
#define EDIY_TESTS_CUDA_FAULTY_TENSOR_H

#ifdef __cplusplus
extern "C" {
#endif

enum { COPIED = 64 /* floats; as many threads */ };

/* x, COPIED floats, goes to shared memory by copy_async and comes back reversed. */
enum copy_mistake {
  COPY_SOUND,
  COPY_SOUND_LARGE,       /* with 64 KiB of shared memory, allowed */
  COPY_NO_WAIT,           /* nobody waits */
  COPY_WAIT_FOR_ALL_BUT,  /* one group too few is waited for */
  COPY_NOT_COMMITTED,     /* the group was not closed before the wait */
  COPY_NO_BARRIER,        /* each thread waits for its own copy, and reads another's */
  COPY_SHARED_MISALIGNED, /* the address in shared memory is a multiple of 4 only */
  COPY_GLOBAL_MISALIGNED, /* the address in device memory is */
  COPY_PAST_END,          /* sixteen bytes more than there are */
  COPY_FROM_SHARED,       /* both addresses are in shared memory */
  COPY_TOO_LARGE,         /* 64 KiB of shared memory, not allowed */
  COPY_NONE_GIVEN         /* a kernel with shared memory of the launch's size, and the launch gives none */
};
void copy_reversed(enum copy_mistake mistake, float *x);
void copy_absent(float *x); /* zeros for all that is not present: x becomes 0 where its index is below COPIED / 2 */

/* c (16 x 8) = a (16 x depth) b (depth x 8) by one warp, row-major floats in device memory; depth 8 for tf32, 16 for bf16. */
enum product_mistake {
  PRODUCT_SOUND,          /* registers by hand, as the layout says */
  PRODUCT_SOUND_LOADED,   /* by load_matrices, b transposed where it is bf16 */
  PRODUCT_A_SWAPPED,      /* a[1] for a[2] */
  PRODUCT_B_SWAPPED,      /* b[0] for b[1] */
  PRODUCT_HALVES,         /* the two numbers of a register the other way round, in a only */
  PRODUCT_NOT_TRANSPOSED, /* load_matrices for load_matrices_transposed */
  PRODUCT_ROW_OF_WARP,    /* the rows of load_matrices in another order of lanes */
  PRODUCT_NOT_ROUNDED,    /* floats as they are for tf32 */
  PRODUCT_HALF_A_WARP,    /* lanes 16 to 31 do not come */
  PRODUCT_TWO_THINGS,     /* they come to a shuffle instead */
  PRODUCT_MISALIGNED      /* the rows of load_matrices begin at 8 bytes */
};
void product_tf32(enum product_mistake mistake, const float *a, const float *b, float *c);
void product_bf16(enum product_mistake mistake, const float *a, const float *b, float *c);

#ifdef __cplusplus
}
#endif

#endif
