/* Products of a warpgroup (cuda/warpgroup.h), sound and with one mistake each (faulty_warpgroup.cu), for C: for the tests of whatever runs
 * them on the CPU. */
#ifndef EDIY_TESTS_CUDA_FAULTY_WARPGROUP_H
#define EDIY_TESTS_CUDA_FAULTY_WARPGROUP_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* c (64 x columns, floats) += a b by a warpgroup, 64 or 128 columns and a depth of 32 a slab, which is copied to shared memory while the
 * slab before it is multiplied. In shared memory depths (along) or indices (across) are neighbours, in rows of so many bytes; in device
 * memory, bf16, the same are. */
enum lies { LIES_ALONG_64, LIES_ALONG_128, LIES_ACROSS_64, LIES_ACROSS_128, LIES };
enum { WIDE_ROWS = 64, WIDE_SLAB = 32 };
struct wide {
  int columns, slabs;
  enum lies a_lies, b_lies;
  const void *a, *b;
  float *c;
};
void multiply_wide(const struct wide *p);

/* The same with a mistake, of 64 columns, a along in 64 bytes, b across in 128, which is what mistaken says of p. */
enum wide_mistake {
  WIDE_SOUND,             /* is counted as multiply<sound_shape> */
  WIDE_STORED,            /* no mistake: by stores instead of copies */
  WIDE_STORED_UNSHOWN,    /* these without fence.proxy.async */
  WIDE_UNSHOWN,           /* the copies without */
  WIDE_SHOWN_EARLY,       /* before the copies are waited for */
  WIDE_SHOWN_BY_ONE,      /* by one thread for all */
  WIDE_SHOWN_LATE,        /* behind the barrier */
  WIDE_WRITTEN_AGAIN,     /* a piece by another thread, for which the one that wrote it first shows it */
  WIDE_NO_BARRIER,        /* each thread has waited for its own copies */
  WIDE_NO_FENCE,          /* no wgmma.fence */
  WIDE_ONE_FENCE,         /* a single one, before the first group */
  WIDE_NO_WAIT,           /* nobody waits, and the sums are stored */
  WIDE_NOT_COMMITTED,     /* the last group was not closed before the wait */
  WIDE_WAIT_FOR_ALL_BUT,  /* one group too few is waited for */
  WIDE_READ_EARLY,        /* the sums are stored when one group too few has been waited for: NaN */
  WIDE_WRITTEN,           /* a sum is written meanwhile */
  WIDE_SHIFTED,           /* sums of one step are others of the next, meanwhile */
  WIDE_MOVED,             /* the next step adds to a copy of them */
  WIDE_OVERWRITTEN,       /* the slab is copied to where one is multiplied */
  WIDE_NO_BARRIER_BEHIND, /* each warp has waited for its own part before it does so */
  WIDE_HALF_A_WARP,       /* half of the lanes do not come */
  WIDE_THREE_WARPS,       /* the block is too small */
  WIDE_A_WARP_AWAY,       /* one warp multiplies once less */
  WIDE_A_WARP_APART,      /* one warp multiplies another slab */
  WIDE_A_LANE_APART,      /* one lane has another descriptor */
  WIDE_MISTAKES
};
/* add_a, add_b: to the descriptors. */
void multiply_wide_mistaken(enum wide_mistake mistake, const struct wide *p, uint64_t add_a, uint64_t add_b);

#ifdef __cplusplus
}
#endif

#endif
