/* A few hundred bytes that stand for a tensor, so that two tensors can be compared without either.
 *
 * A digest is a row of doubles; its length follows from dtype and number of elements, its first element is its form:
 *
 *     DIGEST_WHOLE      the values: of floating-point tensors of up to 26 elements, of integers of up to 1024
 *     DIGEST_SKETCH     26 numbers about a floating-point tensor: enum digest_field
 *     DIGEST_HISTOGRAM  of integers: how many elements are i modulo 32, i = 0 .. 31
 *
 * Sketch. Element i is in group g = i div 16, with word = splitmix64(fnv1a64("sketch:" NAME) + g); it is added with the sign of bit i mod
 * 16 of the word (1: plus) to projection (i mod 16) xor (word >> 60). Projections are linear, so those of two tensors differ by those of
 * the difference d, and sum_j (p_j(a) - p_j(b))^2 has the expectation |d|^2 (Charikar, Chen, Farach-Colton 2002): two elements of a group
 * never meet in a projection, any others in one of 16, with independent signs, so that the variance is at most 2 / 16 |d|^4. Where d has
 * many elements, the ratio is chi-square with 16 degrees of freedom over 16: the root is within 0.47 to 1.61 times |d| with probability
 * 0.999, and 0.70 to 1.28 with 0.9; for a single element that is off it is exact. Rounding of the sums adds about 2^-53 |x|.
 *
 * Numbers that are not finite are counted and taken for 0. Sums are in double, in blocks of 65536 elements that are joined in order, lanes
 * in each: the bits do not depend on the number of threads.
 */
#ifndef EDIY_ORACLE_DIGEST_H
#define EDIY_ORACLE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/tensor.h"

enum digest_form { DIGEST_WHOLE, DIGEST_SKETCH, DIGEST_HISTOGRAM };

enum {
  DIGEST_PROJECTIONS = 16,
  DIGEST_SAMPLED = 4,
  DIGEST_BINS = 32,
  DIGEST_WHOLE_FLOATS = 26, /* a sketch would be no smaller */
  DIGEST_WHOLE_INTEGERS = 1024,
  DIGEST_BLOCK = 1 << 16
};

/* Places in a sketch. Sampled: the elements at fnv1a64 and splitmix64 of "sampled:" NAME, formula_bits(0, KEY, j) mod the number of
 * elements. */
enum digest_field {
  DIGEST_FORM,
  DIGEST_ABS,        /* sum of |x| */
  DIGEST_NORM,       /* L2 */
  DIGEST_MAX,        /* largest |x| */
  DIGEST_MAX_INDEX,  /* flat, of the first that is that large */
  DIGEST_NOT_FINITE, /* elements that are NaN or infinite */
  DIGEST_ZEROS,      /* elements that are 0: ReLUs that are closed */
  DIGEST_PROJECTION,
  DIGEST_SAMPLE = DIGEST_PROJECTION + DIGEST_PROJECTIONS,
  DIGEST_SKETCH_LENGTH = DIGEST_SAMPLE + DIGEST_SAMPLED
};

enum { DIGEST_MAX_LENGTH = 1 + DIGEST_WHOLE_INTEGERS };

enum digest_form digest_form(enum dtype dtype, ptrdiff_t count);
int digest_length(enum dtype dtype, ptrdiff_t count);

/* Whether t can be the digest of a tensor of this dtype and shape. */
bool digest_fits(enum dtype dtype, int ndim, const ptrdiff_t *shape, const struct tensor *t);

/* A digest in the making. Fed from front to back, in pieces of whole blocks but for the last. */
struct digest_block {
  double abs[8], squares[8], max;
  double turned[DIGEST_PROJECTIONS][DIGEST_PROJECTIONS]; /* [r][j]: of groups whose word begins with r, element j */
  ptrdiff_t max_index, not_finite, zeros;
};

struct digest {
  enum dtype dtype;
  ptrdiff_t count, done;
  uint64_t signs;
  ptrdiff_t sample[DIGEST_SAMPLED];
  double value[DIGEST_MAX_LENGTH]; /* the digest, once ended */
  struct digest_block sum;
};

/* name: of the tensor. */
void digest_begin(struct digest *g, const char *name, enum dtype dtype, ptrdiff_t count);
/* data: may be unaligned. */
void digest_add(struct digest *g, const void *data, ptrdiff_t count);
void digest_end(struct digest *g);

/* All three; t->name is the tensor's name. */
void digest_tensor(struct digest *g, const struct tensor *t);

/* How far two tensors of the same shape are apart, from their digests a and b, where the first is the truth. */
struct digest_distance {
  double off, norm;  /* |b - a|, estimated as l2 is, and |a| */
  double l2;         /* |b - a| / |a|, estimated; exact for whole ones; of integers: that of one-hot rows, a lower bound for a histogram */
  double lower;      /* |b - a| / |a| is at least this, whatever the signs: from norms and sums */
  double worst;      /* largest difference that is seen: whole, or of the samples */
  ptrdiff_t where;   /* its flat index; -1: none */
  double a, b;       /* there */
  bool finite_alike; /* as many elements that are not finite */
  ptrdiff_t zeros_apart; /* elements that are 0 in one only; of sketches, at least so many */
  double max;            /* largest |a|; 0 of a histogram */
};
struct digest_distance digest_compare(const char *name, enum dtype dtype, ptrdiff_t count, const double *a, const double *b);

#endif
