/* Kernels for the machine that runs PTX, of nvcc alone (kernels.cu), sound and with one mistake each, for C. */
#ifndef EDIY_TESTS_CUDA_PTX_KERNELS_H
#define EDIY_TESTS_CUDA_PTX_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { PTX_THREADS = 64 };

/* y[t] = what operation number `number` of ptx_operations makes of the bits a[t], b[t], as a number of 8 bytes; on the GPU and on the
 * host, from the same source. What is no number is one pattern in both. */
extern const int ptx_operations;
const char *ptx_name_of(int number);
void ptx_on_device(int number, int count, const uint64_t *a, const uint64_t *b, uint64_t *y);
uint64_t ptx_on_host(int number, uint64_t a, uint64_t b);

/* What C leaves open, or has no word for, and PTX defines: y[0], y[1], ... for one thread. */
enum { PTX_OPEN = 10 };
void ptx_open_in_c(uint64_t *y);

/* y[t], PTX_THREADS of them: steps that t + 1 takes to 1 when it is halved or tripled and one added, and the sum of them over those lanes
 * of its warp that took an even number. */
void ptx_collatz(uint64_t *y);

/* As __shfl_down_sync and __shfl_sync of the threads' numbers, by `distance` in parts of `width`. */
void ptx_shuffle(bool down, int distance, int width, uint64_t *y);

/* y[t] = x[t + by]; and a warp reads a row (along) or a column of a square of 32 x 32 floats in shared memory. */
void ptx_shift(int by, const uint64_t *x, uint64_t *y);
void ptx_square(bool along, uint64_t *y);

/* y, PTX_THREADS of 8 bytes, is allocated, and the kernel does what it must not. */
enum ptx_mistake {
  PTX_READ_PAST_END,
  PTX_READ_PAST_SHARED,
  PTX_READ_HOST,
  PTX_ODD_ADDRESS,
  PTX_BLOCK_TOO_LARGE,
  PTX_UNKNOWN,
  PTX_MISTAKES
};
void ptx_mistaken(enum ptx_mistake mistake, uint64_t *y);

/* The first warp reads y[PTX_THREADS / 2], all of it or one lane, and the second writes there; or, in two blocks, the first block reads
 * and the second writes. */
void ptx_read_and_written(bool by_one, bool in_blocks, uint64_t *y);

#ifdef __cplusplus
}
#endif

#endif
