/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a counter-based generator.
 *
 * A stream is named, not seeded in sequence: (seed, purpose, view, sample, epoch) always gives the same numbers, on CPU and GPU,
 * for any number of threads and in any order. The key is the seed; the counter holds
 *     word 0: block within the stream, word 1: purpose << 8 | view, word 2: sample, word 3: epoch or step.
 */
#ifndef EDIY_BASE_PHILOX_H
#define EDIY_BASE_PHILOX_H

#include <stddef.h>
#include <stdint.h>

/* What the numbers are for. A number here never changes its meaning: checkpoints depend on it. */
enum philox_purpose {
  PHILOX_INIT = 1,     /* weights: sample = index of the parameter */
  PHILOX_SHUFFLE = 2,  /* order of an epoch */
  PHILOX_AUGMENT = 3,  /* one view of one image: sample = image, view = 0 or 1; 2 for a crop of linear evaluation */
  PHILOX_SAMPLER = 4,  /* sampler = random: sample = image of the batch */
  PHILOX_NEGATIVE = 5, /* rdem.negative = instance */
  PHILOX_SCENES = 6,   /* the procedural data set: sample = image */
  PHILOX_EVAL = 7,     /* linear and dense evaluation: order of an epoch, hold-out split */
  PHILOX_TEST = 8      /* tests and benchmarks */
};

struct philox {
  uint32_t key[2], counter[4], out[4];
  unsigned used; /* words of out already given away; 4: draw a new block */
};

/* One block: out = Philox4x32-10(counter, key). */
void philox_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* The stream of this name, at its beginning. */
struct philox philox_stream(uint64_t seed, enum philox_purpose purpose, uint32_t view, uint32_t sample, uint32_t epoch);

uint32_t philox_u32(struct philox *g);

/* Uniform in [0, 1): 24 bits, the same value in float and double. */
double philox_uniform(struct philox *g);

/* Uniform integer in [0, n), n >= 1: floor(u32 * n / 2^32), whose bias is below n / 2^32. */
uint32_t philox_below(struct philox *g, uint32_t n);

/* order: n, overwritten by a permutation of 0 .. n - 1, each equally likely: Fisher and Yates, from the last place down. 0 <= n < 2^31. */
void philox_permutation(struct philox *g, ptrdiff_t n, int32_t *order);

/* Standard normal (Box-Muller on two uniforms, the cosine branch, in double). */
double philox_normal(struct philox *g);

#endif
