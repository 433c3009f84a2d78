/* Kernels that are wrong on purpose (faulty.cu), one mistake each, for C. Each gets an array of 64 numbers in device memory. */
#ifndef EDIY_TESTS_CUDA_FAULTY_H
#define EDIY_TESTS_CUDA_FAULTY_H

#ifdef __cplusplus
extern "C" {
#endif

enum { FAULTY_SIZE = 64 };

void sound_reverse(float *x);             /* reverses through shared memory, with the barrier: no mistake */
void faulty_missing_barrier(float *x);    /* the same without */
void faulty_drifting_warps(float *x);     /* one warp reads what another wrote before a shuffle, which is no barrier */
void faulty_partial_barrier(float *x);    /* half of the threads reach a barrier */
void faulty_different_barriers(float *x); /* each half reaches another one */
void faulty_partial_shuffle(float *x);    /* half of a warp's lanes reach a shuffle of all */
void faulty_unwritten_shared(float *x);   /* reads shared memory that nobody wrote */
void faulty_write_past_end(float *x);     /* one element too many */
void faulty_write_past_shared(float *x);  /* the same in shared memory */
void faulty_host_pointer(float *x);       /* an argument in host memory */
void faulty_grid(float *x);               /* more threads than a block can have */
void faulty_assertion(float *x);          /* a thread asserts what does not hold, while others wait for it */
void faulty_order_of_blocks(float *x);    /* a block reads what the block before it wrote */

#ifdef __cplusplus
}
#endif

#endif
