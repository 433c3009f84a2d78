/* Kernels for the machine that runs PTX, of nvcc alone (kernels.cu, warpgroup.cu), sound and with one mistake each, for C. */
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

/* c (64 x columns, floats) += a b by a warpgroup, 64 or 128 columns and a depth of 32 a slab, which is copied to shared memory while the
 * slab before it is multiplied. In shared memory depths (along) or indices (across) are neighbours, in rows of so many bytes; in device
 * memory, bf16, the same are. */
enum ptx_lie { PTX_ALONG_64, PTX_ALONG_128, PTX_ACROSS_64, PTX_ACROSS_128, PTX_LIES };
enum { PTX_WIDE_ROWS = 64, PTX_SLAB = 32 };
struct ptx_wide {
  int columns, slabs;
  enum ptx_lie a_lies, b_lies;
  const void *a, *b;
  float *c;
};
void ptx_wide(const struct ptx_wide *p);

/* The same with a mistake, of 64 columns, a along in 64 bytes, b across in 128, which is what mistaken says of p. */
enum ptx_wide_mistake {
  PTX_WIDE_SOUND,             /* is counted as multiply<sound_shape> */
  PTX_WIDE_STORED,            /* no mistake: by stores instead of copies */
  PTX_WIDE_STORED_UNSHOWN,    /* these without fence.proxy.async */
  PTX_WIDE_UNSHOWN,           /* the copies without */
  PTX_WIDE_SHOWN_EARLY,       /* before the copies are waited for */
  PTX_WIDE_SHOWN_BY_ONE,      /* by one thread for all */
  PTX_WIDE_SHOWN_LATE,        /* behind the barrier */
  PTX_WIDE_WRITTEN_AGAIN,     /* a piece by another thread, for which the one that wrote it first shows it */
  PTX_WIDE_NO_BARRIER,        /* each thread has waited for its own copies */
  PTX_WIDE_NO_FENCE,          /* no wgmma.fence */
  PTX_WIDE_ONE_FENCE,         /* a single one, before the first group */
  PTX_WIDE_NO_WAIT,           /* nobody waits, and the sums are stored */
  PTX_WIDE_NOT_COMMITTED,     /* the last group was not closed before the wait */
  PTX_WIDE_WAIT_FOR_ALL_BUT,  /* one group too few is waited for */
  PTX_WIDE_READ_EARLY,        /* the sums are stored when one group too few has been waited for: NaN */
  PTX_WIDE_WRITTEN,           /* a sum is written meanwhile */
  PTX_WIDE_SHIFTED,           /* sums of one step are others of the next, meanwhile */
  PTX_WIDE_MOVED,             /* the next step adds to a copy of them */
  PTX_WIDE_OVERWRITTEN,       /* the slab is copied to where one is multiplied */
  PTX_WIDE_NO_BARRIER_BEHIND, /* each warp has waited for its own part before it does so */
  PTX_WIDE_HALF_A_WARP,       /* half of the lanes do not come */
  PTX_WIDE_THREE_WARPS,       /* the block is too small */
  PTX_WIDE_A_WARP_AWAY,       /* one warp multiplies once less */
  PTX_WIDE_A_WARP_APART,      /* one warp multiplies another slab */
  PTX_WIDE_A_LANE_APART,      /* one lane has another descriptor */
  PTX_WIDE_MISTAKES
};
/* add_a, add_b: to the descriptors. */
void ptx_wide_mistaken(enum ptx_wide_mistake mistake, const struct ptx_wide *p, uint64_t add_a, uint64_t add_b);

#ifdef __cplusplus
}
#endif

#endif
