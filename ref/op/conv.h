/* 2-D convolution, without bias: forward, backward data, backward weights. All convolution of the project goes through these
 * three functions.
 *
 *     y[n,p,q,k] = sum over r, s, c of  x[n, p stride + r - pad, q stride + s - pad, c] * w[k,r,s,c]
 *
 * Layouts: x, dx: N H W C; y, dy: N P Q K; w, dw: K R S C. Outside the image x is 0.
 */
#ifndef EDIY_OP_CONV_H
#define EDIY_OP_CONV_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/real.h"
#include "op/norm.h"

#ifndef EDIY_OP_CONV_SHAPE
#define EDIY_OP_CONV_SHAPE
struct conv {
  ptrdiff_t n, h, w, c;           /* input: images, rows, columns, channels */
  ptrdiff_t k, r, s, stride, pad; /* kernel: output channels, rows, columns; pad zeros on every side */
  ptrdiff_t p, q;                 /* output rows and columns: (h + 2 pad - r) / stride + 1 */
};
#endif

#define conv_make REAL_NAME(conv_make)
#define conv_scratch REAL_NAME(conv_scratch)
#define conv_weights_scratch REAL_NAME(conv_weights_scratch)
#define conv_chain REAL_NAME(conv_chain)
#define conv_chunk REAL_NAME(conv_chunk)
#define conv_forward REAL_NAME(conv_forward)
#define conv_norm_forward_eval REAL_NAME(conv_norm_forward_eval)
#define conv_backward_data REAL_NAME(conv_backward_data)
#define conv_backward_weights REAL_NAME(conv_backward_weights)
#define conv_forward_plain REAL_NAME(conv_forward_plain)
#define conv_backward_data_plain REAL_NAME(conv_backward_data_plain)
#define conv_backward_weights_plain REAL_NAME(conv_backward_weights_plain)

/* Fills p and q; fails, leaving *g as it was, when a size is not positive, the kernel is larger than the padded image, a tensor's
 * bytes overflow ptrdiff_t, or images x rows x columns, r s c, r s k, stride or pad exceed an int (in which GPUs count). */
MUST_CHECK bool conv_make(struct conv *g, ptrdiff_t n, ptrdiff_t h, ptrdiff_t w, ptrdiff_t c, ptrdiff_t k, ptrdiff_t r, ptrdiff_t s,
                          ptrdiff_t stride, ptrdiff_t pad, struct error *err);

/* Scratch that is enough for any of the fast functions for this shape with this many threads, in reals: once the weights laid out for the
 * product, or the partial dw (at most 2^24 reals); and for each thread a tile of patches or of pointers to them, with the sums that cannot
 * be written to their place at once. Aligned for pointers. */
ptrdiff_t conv_scratch(const struct conv *g, int threads);

/* What conv_backward_weights alone needs. */
ptrdiff_t conv_weights_scratch(const struct conv *g, int threads);

/* The fast forms: im2col in tiles of positions, and a product a tile. Tiles are cut by the shape alone and shared out to all OpenMP
 * threads, so the result is the same, bit for bit, for any number of threads.
 * scratch: conv_scratch(g, omp_get_max_threads()) reals, contents irrelevant before and after. No arguments may overlap. */

/* y: overwritten. Each y is one chain of fused multiply-adds over r, s, c in that order, in real (panel.h). */
void conv_forward(const struct conv *g, const real *x, const real *w, real *y, real *scratch);

/* y = norm_forward_eval of conv_forward, with the bits of one after the other. A tile is normalised while it is in a near cache, so that y
 * is written to memory once. norm: n p q rows and k channels. residual may be null. */
void conv_norm_forward_eval(const struct conv *g, const struct norm *norm, const real *x, const real *w, const real *residual,
                            const real *gamma, const real *beta, const real *running_mean, const real *running_var, real *y, real *scratch);

/* dx[n,h,w,c] = sum over r, s, k of dy[n,p,q,k] w[k,r,s,c], where p stride + r - pad = h and q stride + s - pad = w; one chain in that
 * order, in real. dx: overwritten, or added to if accumulate. */
void conv_backward_data(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, real *scratch);

/* dw[k,r,s,c] += sum over n, p, q of dy[n,p,q,k] x[n, p stride + r - pad, q stride + s - pad, c]. dw: accumulated. Positions are cut
 * into chunks of conv_chunk, and a chunk's sum is one chain in real. These are added to dw in order, in double, and rounded once. A single
 * chunk, as for a large dw and small maps, is added in real. */
void conv_backward_weights(const struct conv *g, const real *x, const real *dy, real *dw, real *scratch);

/* Positions in a chunk of backward weights; the last may have fewer. They depend on the shape alone: a GPU cuts as a processor does
 * (cuda/conv.cu), and their sums are the same. */
ptrdiff_t conv_chunk(const struct conv *g);

/* The longest chain of additions in real in an element of forward (0; with a linear layer's bias), of backward data (1), or of a chunk of
 * backward weights (2). */
ptrdiff_t conv_chain(const struct conv *g, int direction);

/* The plain forms, the definition as loops, every sum in double and rounded once (what is accumulated to takes part in the sum):
 * what the fast forms are held to. */
void conv_forward_plain(const struct conv *g, const real *x, const real *w, real *y);
void conv_backward_data_plain(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate);
void conv_backward_weights_plain(const struct conv *g, const real *x, const real *dy, real *dw);

#endif
