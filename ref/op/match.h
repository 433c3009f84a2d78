/* Teacher-guided region matching (paper Eq. 4 and 6). A view of an image is n regions of c channels.
 *
 *     diversity:   d[j] = argmin over z of sim(t[z], t[j])      in the same view, z = j competes       (Eq. 4)
 *     invariance:  s[j] = argmax over z of sim(to[z], from[j])   from one view into the other          (Eq. 6)
 *
 * sim is the cosine, of rows divided by sqrt(max(sum x^2, 1e-12)) first and multiplied then, or the plain dot product. A zero row has
 * cosine 0 with everything. Ties take the lowest index. NaN never wins unless all are NaN (then index 0). What is compared is the
 * similarity as match_similarity returns it, rounded to real. Nothing is saved: indices have no gradient. from and to may be the same
 * array; results may not overlap what is read.
 */
#ifndef EDIY_OP_MATCH_H
#define EDIY_OP_MATCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/real.h"

#ifndef EDIY_OP_MATCH_SHAPE
#define EDIY_OP_MATCH_SHAPE
enum similarity { SIMILARITY_COSINE, SIMILARITY_DOT };
struct match {
  ptrdiff_t b, n, c; /* images, regions, channels */
  enum similarity similarity;
};
#endif

#define match_scratch REAL_NAME(match_scratch)
#define match_similarity REAL_NAME(match_similarity)
#define match_diversity REAL_NAME(match_diversity)
#define match_invariance REAL_NAME(match_invariance)

/* Scratch of the functions below, in doubles. */
ptrdiff_t match_scratch(const struct match *g);

/* sim[b,i,j] = sim(from[b,i], to[b,j]). from, to: b x n x c; sim: b x n x n, overwritten. Every similarity is one sum in
 * double over the channels from first to last, rounded to real at the end: duplicated rows tie exactly, and sim is symmetric. */
void match_similarity(const struct match *g, const real *from, const real *to, real *sim, double *scratch);

/* Eq. 4. t: b x n x c; d: b x n, overwritten. */
void match_diversity(const struct match *g, const real *t, int32_t *d, double *scratch);

/* Eq. 6. from, to: b x n x c; s: b x n, overwritten: for region j of from, the most similar region of to. */
void match_invariance(const struct match *g, const real *from, const real *to, int32_t *s, double *scratch);

#endif
