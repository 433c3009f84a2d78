/* ediy_oracle.h: is this kernel right? For those who have one as a function.
 *
 *     cc program.c $(pkg-config --cflags --libs ediy-oracle)
 *
 * Fill a struct with your functions, hand it over, and get a verdict:
 *
 *     ediy_oracle_kernel mine = {0};
 *     ediy_oracle_verdict v;
 *     mine.conv_forward = my_conv;
 *     if (ediy_oracle_judge(&mine, NULL, &v) != EDIY_ORACLE_PASS) puts(v.text);
 *
 * What happens: inputs are drawn, of random shapes (sizes up to 64, some up to 320; a kernel with larger tiles asks for a shape of its own)
 * and settings, and in turn of ten kinds: normal; whole numbers, for which the last bit counts; tiny; sparse; a single 1; large mean and
 * small deviation; copied rows; channels of one value; rows of zeros; nine decades. (Not of those that an operation leaves to rounding, or
 * a half precision has no numbers for. Denormals, and infinities and NaN, are given where they are asked for, by fill= in a shape.) The
 * functions run on them three times in the same memory: on the inputs, on others, on the first again. Outputs hold NaN before the first
 * call, huge numbers before the others. Arrays stand between guards, which hold huge numbers, in the second call NaN, so that what is read
 * there shows; guards and inputs are looked at afterwards. Every result is held to the reference in double by the rule of docs/oracle.md,
 * in whatever order the kernel sums, and the rule is then put to wrong results, which it has to reject. Nothing is printed, no file is
 * written.
 *
 * Kernels on a GPU: options.memory says how memory is had there. Your functions then get its addresses, and guards and NaN stand beside
 * your arrays on the GPU. Without it, copy in, run and copy out in your function: what is read or written beside a copy is not seen.
 *
 * Rules that hold for every function
 *
 *   Arrays are row-major, in float, begin at a multiple of 64 bytes, and do not overlap. Activations are N x H x W x C, convolution weights
 *   K x R x S x C, matrices rows x columns. A gradient is that of some scalar; dy is given. Everything that is not const is an output and
 *   is overwritten, whatever it holds; what is updated in place says so. An array that the case has no use for is null.
 *
 *   A function returns 0, or EDIY_ORACLE_DECLINE for a shape that it is not made for: its results of that case are left out (those of
 *   norm_backward, too, where norm_forward declines), the other functions are judged, and other shapes are tried. One that declines every
 *   shape leaves the verdict incomplete. What it took once it has to take again (lars: the weight and the vector of a case, or neither).
 *   Any other value is an error of the kernel, and a mismatch; do not hand on a cudaError_t as it is, whose 1 would decline.
 *
 *   Functions are called one after the other in the thread that called ediy_oracle_judge, and in its locale. They have to return: no
 *   exception and no longjmp may leave them. Several threads may judge at once. Keep no address of an array: the next call may have others.
 *   After dlclose the library stays loaded. In a child of fork() that goes on without exec, call nothing here unless
 *   omp_pause_resource_all(omp_pause_soft) was called before the fork: GCC's OpenMP waits for threads that only the parent has.
 */
#ifndef EDIY_ORACLE_H
#define EDIY_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define EDIY_ORACLE_API __attribute__((visibility("default")))
#else
#define EDIY_ORACLE_API
#endif

enum { EDIY_ORACLE_DECLINE = 1 };

/* ---- shapes -------------------------------------------------------------------------------------------------------------------------- */

/* y[n,p,q,k] = sum over r, s, c of x[n, p stride + r - pad, q stride + s - pad, c] w[k,r,s,c], zero outside x. */
typedef struct ediy_oracle_conv {
  ptrdiff_t n, h, w, c, k, r, s, stride, pad;
  ptrdiff_t p, q; /* rows and columns of y */
} ediy_oracle_conv;

typedef struct ediy_oracle_linear {
  ptrdiff_t m, i, o; /* rows, inputs, outputs: y = x w' + b, x m x i, w o x i, y m x o */
} ediy_oracle_linear;

/* y = gamma (x - mu) / sqrt(v + eps) + beta, [+ residual], [then max(., 0)]; x, residual, y m x c. train: mu, v are mean and biased
 * variance of each column; else running_mean, running_var. train also moves those: running_mean += momentum (mu - running_mean),
 * running_var likewise with the unbiased variance (of one row: 0). */
typedef struct ediy_oracle_norm {
  ptrdiff_t m, c;
  double eps, momentum;
  bool train, relu;
} ediy_oracle_norm;

/* Maximum over 3 x 3, stride 2, borders of 1 left out, y n x p x q x c; or mean over h x w, y n x c. Of equal maxima the first takes the
 * gradient. */
typedef struct ediy_oracle_pool {
  ptrdiff_t n, h, w, c;
  ptrdiff_t p, q; /* 1, 1 for the mean */
} ediy_oracle_pool;

/* b images of n regions of c channels. cos(u, v) = u . v / (|u| |v|), a row u divided by sqrt(max(u . u, 1e-12)). */
typedef struct ediy_oracle_regions {
  ptrdiff_t b, n, c;
  bool dot; /* matching: u . v in place of cos */
} ediy_oracle_regions;

/* adapt: d = g + decay w, then d *= trust |w| / |d| if neither norm is zero (openselfsup: / (|g| + decay |w|)); else d = g. Then
 * m = momentum m + d, w -= lr m (openselfsup: m = momentum m + lr d, w -= m). */
typedef struct ediy_oracle_lars {
  ptrdiff_t size;
  bool adapt, openselfsup;
  double lr, trust, momentum, decay;
} ediy_oracle_lars;

/* ---- your functions ------------------------------------------------------------------------------------------------------------------ */

/* Null: not judged. context is handed to each. */
typedef struct ediy_oracle_kernel {
  void *context;

  int (*conv_forward)(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y);
  int (*conv_backward_data)(void *context, const ediy_oracle_conv *g, const float *dy, const float *w, float *dx);
  int (*conv_backward_weights)(void *context, const ediy_oracle_conv *g, const float *x, const float *dy, float *dw);

  /* b, db: null where there is no bias. */
  int (*linear_forward)(void *context, const ediy_oracle_linear *g, const float *x, const float *w, const float *b, float *y);
  int (*linear_backward)(void *context, const ediy_oracle_linear *g, const float *x, const float *w, const float *dy, float *dx, float *dw,
                         float *db);

  /* residual, dresidual: null where there is none. running_mean, running_var: updated in place with train. saved: 2 c floats that forward
   * leaves for backward, what is up to you; of a kernel that has backward alone they hold mu and 1 / sqrt(v + eps). y of backward: what
   * forward made, or the right one. */
  int (*norm_forward)(void *context, const ediy_oracle_norm *g, const float *x, const float *residual, const float *gamma,
                      const float *beta, float *running_mean, float *running_var, float *y, float *saved);
  int (*norm_backward)(void *context, const ediy_oracle_norm *g, const float *x, const float *y, const float *gamma, const float *saved,
                       const float *dy, float *dx, float *dresidual, float *dgamma, float *dbeta);

  int (*relu_forward)(void *context, ptrdiff_t size, const float *x, float *y);
  int (*relu_backward)(void *context, ptrdiff_t size, const float *x, const float *dy, float *dx); /* dx = dy where x > 0, else 0 */

  int (*maxpool_forward)(void *context, const ediy_oracle_pool *g, const float *x, float *y);
  int (*maxpool_backward)(void *context, const ediy_oracle_pool *g, const float *x, const float *dy, float *dx);
  int (*avgpool_forward)(void *context, const ediy_oracle_pool *g, const float *x, float *y);
  int (*avgpool_backward)(void *context, const ediy_oracle_pool *g, const float *dy, float *dx);

  /* index[b,j]: the region of t least like t[b,j], itself not left out; the region of other most like t[b,j]. Ties: the lowest. t, other
   * b x n x c. */
  int (*match_diversity)(void *context, const ediy_oracle_regions *g, const float *t, int32_t *index);
  int (*match_invariance)(void *context, const ediy_oracle_regions *g, const float *t, const float *other, int32_t *index);

  /* One direction of each loss: value b, one an image, and the gradient of the mean of value.
   *     byol   2 - 2 cos(q, z)                      q, z b x c (n = 1)
   *     rdem   mean over j of cos(r[j], r[index[j]]), the gradient flows into both factors
   *     riem   1 - mean over j of cos(r[j], other[index[j]]) */
  int (*loss_byol)(void *context, const ediy_oracle_regions *g, const float *q, const float *z, float *value, float *dq);
  int (*loss_rdem)(void *context, const ediy_oracle_regions *g, const float *r, const int32_t *index, float *value, float *dr);
  int (*loss_riem)(void *context, const ediy_oracle_regions *g, const float *r, const float *other, const int32_t *index, float *value,
                   float *dr);

  /* w, m: updated in place. */
  int (*lars)(void *context, const ediy_oracle_lars *g, const float *grad, float *w, float *m);
  /* xi += (1 - tau) (theta - xi), in place. */
  int (*ema)(void *context, ptrdiff_t size, double tau, const float *theta, float *xi);
} ediy_oracle_kernel;

/* ---- the verdict --------------------------------------------------------------------------------------------------------------------- */

/* What the kernel declares to compute in; arrays are of float all the same. The last two read inputs as they are: give them, by
 * options.round, such as the format that they are kept in holds exactly. */
typedef enum ediy_oracle_precision {
  EDIY_ORACLE_FP32,     /* float throughout, each addition rounded to nearest */
  EDIY_ORACLE_TF32,     /* inputs rounded to tf32 by the kernel, sums and outputs in float */
  EDIY_ORACLE_BF16,     /* inputs rounded to bf16 by the kernel, sums in float, outputs rounded to bf16 */
  EDIY_ORACLE_FP16,     /* the same with fp16 */
  EDIY_ORACLE_BF16_OUT, /* sums in float, outputs rounded to bf16 */
  EDIY_ORACLE_FP32_RZ   /* sums of tensor cores, in float and rounded toward zero, outputs in float */
} ediy_oracle_precision;

/* Keys of a shape; what they mean, and what they are where they are left out, is in `oracle case make --help`:
 *
 *     conv               n h w c k r stride pad
 *     linear             m i o bias
 *     norm               n h w c train relu residual eps momentum
 *     relu, the pools    n h w c
 *     match              n h w c dot        n images of h w regions; not fill=sparse, fill=offset, whose matches hang on rounding
 *     byol               n c
 *     rdem, riem         n h w c            h w regions
 *     lars               k r c openselfsup lr trust mu decay    a weight of k r r c numbers with adapt, and k numbers without
 *     ema                k r c tau
 *     all                round              in place of options.round
 *     all                fill               inf of conv, linear, relu and the pools alone */

/* Memory in which your functions find their arrays; all four, or none for the host's. Of CUDA: cudaMalloc, cudaFree, cudaMemcpy. upload and
 * download copy between it and the host, behind all that your functions have begun there; false is a failure, which after a function is
 * taken for the function's. What reserve gives is aligned to 64 bytes at least, and null where there is none. */
typedef struct ediy_oracle_memory {
  void *context;
  void *(*reserve)(void *context, size_t bytes);
  void (*release)(void *context, void *there);
  bool (*upload)(void *context, void *there, const void *here, size_t bytes);
  bool (*download)(void *context, void *here, const void *there, size_t bytes);
} ediy_oracle_memory;

/* All zero, or a null pointer for the struct: the defaults. */
typedef struct ediy_oracle_options {
  ediy_oracle_precision precision; /* default fp32 */
  int chain; /* additions that the kernel makes one after the other in one accumulator, at most; default 1024. The longest sums of random
              * shapes are those of convolutions, of 7 x 7 x 40 terms */
  int cases; /* random shapes of each operation, the kinds of inputs in turn; default 24 */
  uint64_t seed;     /* of shapes and numbers */
  const char *shape; /* one shape in place of random ones, "n=2 h=8 w=8 c=16 k=16 r=3 stride=2 pad=1", in the keys above; with fill= that
                      * kind of inputs alone. Each operation takes its own; one that none of them has is refused */
  ediy_oracle_precision round; /* FP32, or TF32, BF16: all inputs are numbers of that format */
  bool winograd;               /* conv_forward computes 3x3 with stride 1 as Winograd's F(2x2, 3x3) */
  ediy_oracle_memory memory;   /* default the host's */
} ediy_oracle_options;

typedef enum ediy_oracle_status {
  EDIY_ORACLE_PASS = 0,
  EDIY_ORACLE_MISMATCH = 1,
  EDIY_ORACLE_BAD_INPUT = 2,        /* options that make no sense, no function, no memory, of the host or of options.memory */
  EDIY_ORACLE_VACUOUS = 3,          /* nothing is wrong, but of some result the rule would always have accepted something wrong as well */
  EDIY_ORACLE_NONDETERMINISTIC = 4, /* nothing is wrong, but the same inputs gave other bits the second time */
  EDIY_ORACLE_INCOMPLETE = 5        /* nothing is wrong, but a function declined every shape */
} ediy_oracle_status;

/* Where not a result is wrong but what the kernel did, ratio is infinite, and tensor the array beside or into which it must not have
 * written, or which cannot be downloaded; empty for an error that a function returned. */
typedef struct ediy_oracle_verdict {
  ediy_oracle_status status;
  char text[1024]; /* one line: what was judged, or what is wrong where, with both values, the rule, the call if it is a later one, and a
                    * command that writes the case */
  int cases;       /* judged, by one function at least */
  int declined;    /* declined, by one function at least */
  long tensors;    /* judged */
  double ratio;    /* error / allowed: of the result that is wrong (infinite where no number is allowed), or the largest */
  char tensor[64]; /* "out.y", "grad_in.x", ...: of that result */
  char operation[16];
} ediy_oracle_verdict;

/* Judges every operation of which there is a function; ends with the first result that is wrong. Returns v->status; v may be null. Options
 * that make no sense are EDIY_ORACLE_BAD_INPUT, with a line in v->text. */
EDIY_ORACLE_API ediy_oracle_status ediy_oracle_judge(const ediy_oracle_kernel *kernel, const ediy_oracle_options *options,
                                                     ediy_oracle_verdict *v);

/* The version of the library that runs. */
EDIY_ORACLE_API const char *ediy_oracle_version(void);

#ifdef __cplusplus
}
#endif

#endif
