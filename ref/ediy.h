/* ediy.h: E-DIY as a library. The one header that is installed; everything that libediy exports is declared here.
 *
 *     cc program.c $(pkg-config --cflags --libs ediy)
 *
 * What a program that is not `ediy` needs of it:
 *
 *     features     a trained backbone turns images into feature vectors and maps           ediy_backbone_*
 *     matching     which region goes with which, as a frozen teacher sees it               ediy_match_*
 *     losses       BYOL, R-DEM and R-IEM with their gradients                              ediy_loss_*
 *     layers       convolution and batch normalisation, forward and backward               ediy_conv_*, ediy_norm_*
 *     updates      LARS and the moving average                                             ediy_lars_*, ediy_ema_*
 *     views        BYOL's augmentation: drawn parameters, and the view they make           ediy_augment_*
 *     training     a whole run from key=value options                                      ediy_train
 *
 * Equations are those of the E-DIY paper (Eq. 2 to 7); what the paper leaves open follows BYOL's official code (Grill et al. 2020).
 *
 * Rules that hold for every function
 *
 *   Arrays are row-major, belong to the caller and must not overlap unless a function says so. A feature map is N x H x W x C; its n = H W
 *   cells, in row-major order, are the regions. Names that end in _f32 take float, in _f64 double; the arithmetic is of that type, sums of
 *   matching, losses and norms are accumulated in double.
 *
 *   A function that can fail returns bool, true for success. On failure it fills *err (may be null) with one line for the user: what is
 *   wrong, which file or argument, what to do; outputs then hold nothing of use. Nothing here prints, exits, or catches signals. What is
 *   wrong in its arguments (a size below 1, an index out of range, null) is reported in the same way. Other functions take no null unless
 *   they say so.
 *
 *   Results are the same, bit for bit, for any number of OpenMP threads. Functions may be called from several threads at once, on one
 *   ediy_backbone by one thread at a time. Options and files have decimal points, whatever setlocale was told.
 *   Rounding is expected to be to nearest, and denormals not to be flushed: what a thread begins with.
 *
 *   The library uses OpenMP, with as many threads as the caller has set (OMP_NUM_THREADS, omp_set_num_threads). They wait for more work
 *   until the process ends, and so the library stays loaded after dlclose. In a child of fork() that goes on without exec they are
 *   missing: with GCC's OpenMP the next call there waits for them without end, if the thread that forks has called with more than one.
 *   Call omp_pause_resource_all(omp_pause_soft) before the fork; in Python, let multiprocessing start its processes by "spawn".
 */
#ifndef EDIY_H
#define EDIY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define EDIY_API __attribute__((visibility("default")))
#else
#define EDIY_API
#endif

#define EDIY_VERSION "0.1.0"

/* The version of the library that runs; EDIY_VERSION is that of the header. While the first number is 0, a step of the second may change
 * what programs see. */
EDIY_API const char *ediy_version(void);

typedef struct ediy_error {
  char text[1024]; /* one line without newline; empty while nothing failed */
} ediy_error;

/* ---- images ------------------------------------------------------------------------------------------------------------------------- */

/* 8-bit RGB, three bytes a pixel, rows from the top without padding. */
typedef struct ediy_image {
  int height, width; /* 178956970 pixels in all at most, where Pillow, too, suspects a bomb */
  uint8_t *rgb;      /* height x width x 3 */
} ediy_image;

/* Reads a JPEG or PNG file: the bytes that Pillow's Image.open(path).convert("RGB") gives, but for 16-bit grey PNG, of which the high byte
 * is kept, where Pillow clips at 255. No EXIF rotation. Damaged and truncated files fail, and *image is then empty, with a null pointer.
 * Free with ediy_image_free. */
EDIY_API bool ediy_image_read(const char *path, ediy_image *image, ediy_error *err);
EDIY_API void ediy_image_free(ediy_image *image); /* null is allowed */

/* ---- features --------------------------------------------------------------------------------------------------------------------------
 * A frozen ResNet. Its batch norms use the running statistics, so that the features of an image do not depend on what is beside it.
 *
 *     ediy_backbone *b;
 *     ediy_error err;
 *     if (!ediy_backbone_open(&b, "backbone.safetensors", NULL, &err)) { fprintf(stderr, "%s\n", err.text); return 2; }
 *     float *features = malloc(count * ediy_backbone_channels(b) * sizeof *features);
 *     ok = ediy_backbone_files(b, count, paths, features, NULL, &err);
 *     ediy_backbone_close(b);
 */
typedef struct ediy_backbone ediy_backbone;

/* A zero in any field, or a null pointer for the struct: as the file says. A file from torchvision says nothing; architecture is then
 * needed, stem is imagenet and size 224. */
typedef struct ediy_backbone_options {
  const char *architecture; /* "resnet18", "resnet34", "resnet50" as torchvision has them, "small" */
  const char *stem;         /* "imagenet": 7x7/2 and max pool; "cifar": 3x3/1, for images of 64 pixels and less */
  int size;                 /* height and width of the input, pixels: 8 to 4096 */
  int resize;               /* short side before the central crop, at least size; 0: round(256 size / 224) */
  int batch;                /* images that go through the network together: memory against speed; 0: 16 */
} ediy_backbone_options;

/* Opens the backbone in a file: a checkpoint or backbone.safetensors of `ediy train`, or a state dict of torchvision's ResNet saved by
 * safetensors (fc is passed over). On failure *b is null. Close with ediy_backbone_close. */
EDIY_API bool ediy_backbone_open(ediy_backbone **b, const char *path, const ediy_backbone_options *options, ediy_error *err);

/* A backbone with the weights that training with this seed starts from. options->architecture is needed. */
EDIY_API bool ediy_backbone_fresh(ediy_backbone **b, uint64_t seed, const ediy_backbone_options *options, ediy_error *err);

/* Writes it for torchvision, whole or not at all: in Python, m = torchvision.models.resnet18(); m.fc = torch.nn.Identity();
 * m.load_state_dict(safetensors.torch.load_file(path)). ediy_backbone_open reads it without options. Fails where
 * one of its numbers is not finite. */
EDIY_API bool ediy_backbone_save(const ediy_backbone *b, const char *path, ediy_error *err);

EDIY_API void ediy_backbone_close(ediy_backbone *b); /* null is allowed */

/* Side of the input in pixels; numbers of a feature vector; rows, which are also the columns, of the last feature map. */
EDIY_API int ediy_backbone_size(const ediy_backbone *b);
EDIY_API int ediy_backbone_channels(const ediy_backbone *b);
EDIY_API int ediy_backbone_cells(const ediy_backbone *b);

/* Features of count images: files, decoded images, or the network's own input.
 *
 *     features  count x channels                     mean over the cells of the map
 *     map       count x cells x cells x channels     the last feature map
 *
 * Both overwritten, either may be null, and with a count of 0 what is read as well. Files and images are preprocessed as torchvision
 * evaluates: short side to `resize` (bicubic, antialiased), central crop of `size`, ImageNet's mean and deviation. (BYOL's code cuts the
 * same window, but for rounding, before it resizes.) inputs: count x size x size x 3, already normalised. */
EDIY_API bool ediy_backbone_files(ediy_backbone *b, ptrdiff_t count, const char *const *paths, float *features, float *map,
                                  ediy_error *err);
EDIY_API bool ediy_backbone_images(ediy_backbone *b, ptrdiff_t count, const ediy_image *images, float *features, float *map,
                                   ediy_error *err);
EDIY_API bool ediy_backbone_inputs(ediy_backbone *b, ptrdiff_t count, const float *inputs, float *features, float *map, ediy_error *err);

/* ---- region matching (Eq. 4 and 6) -----------------------------------------------------------------------------------------------------
 * A view of an image is `regions` vectors of `channels` numbers: the cells of a frozen teacher's last feature map.
 *
 *     diversity     d[j] = argmin over z of sim(t[z], t[j])       inside one view, z = j takes part          (Eq. 4)
 *     invariance    s[j] = argmax over z of sim(to[z], from[j])   from one view into the other               (Eq. 6)
 *
 * sim is the cosine, of rows divided by sqrt(max(sum x^2, 1e-12)), or the dot product; rounded to the type before it is compared, so
 * that equal rows tie. Ties take the lowest index. NaN never wins unless all are NaN (then index 0). t, from, to: images x regions x
 * channels; d, s: images x regions, overwritten. */
typedef enum ediy_similarity { EDIY_COSINE, EDIY_DOT } ediy_similarity;

EDIY_API bool ediy_match_diversity_f32(ptrdiff_t images, ptrdiff_t regions, ptrdiff_t channels, ediy_similarity similarity, const float *t,
                                       int32_t *d, ediy_error *err);
EDIY_API bool ediy_match_diversity_f64(ptrdiff_t images, ptrdiff_t regions, ptrdiff_t channels, ediy_similarity similarity, const double *t,
                                       int32_t *d, ediy_error *err);
EDIY_API bool ediy_match_invariance_f32(ptrdiff_t images, ptrdiff_t regions, ptrdiff_t channels, ediy_similarity similarity,
                                        const float *from, const float *to, int32_t *s, ediy_error *err);
EDIY_API bool ediy_match_invariance_f64(ptrdiff_t images, ptrdiff_t regions, ptrdiff_t channels, ediy_similarity similarity,
                                        const double *from, const double *to, int32_t *s, ediy_error *err);

/* ---- losses (Eq. 2, 5, 7) --------------------------------------------------------------------------------------------------------------
 * One direction each: the paper's losses are sums of two such terms with the views exchanged.
 *
 *     byol[b] = 2 - 2 cos(q[b], z[b])                               q: online prediction, z: target projection of the other view
 *     rdem[b] = 1/n sum over j of cos(r[b,j], r[b,d[b,j]])          r: online regions, d: diversity match of their view
 *     riem[b] = 1 - 1/n sum over j of cos(p[b,j], g[b,s[b,j]])      p: online regions, g: target regions of the other view
 *
 * cos divides both by sqrt(max(sum x^2, 1e-12)). value: one an image, overwritten. dq, dr, dp: the gradient of scale * mean over the
 * images of value is ADDED; null for values alone. Nothing flows into z and g. The gradient of R-DEM flows into both factors of a pair,
 * or into the first alone with stop_match. q, z: images x channels; r, p, g: images x regions x channels; d, s: images x regions,
 * indices 0 to regions - 1. */
EDIY_API bool ediy_loss_byol_f32(ptrdiff_t images, ptrdiff_t channels, const float *q, const float *z, double scale, double *value,
                                 float *dq, ediy_error *err);
EDIY_API bool ediy_loss_byol_f64(ptrdiff_t images, ptrdiff_t channels, const double *q, const double *z, double scale, double *value,
                                 double *dq, ediy_error *err);
EDIY_API bool ediy_loss_rdem_f32(ptrdiff_t images, ptrdiff_t regions, ptrdiff_t channels, const float *r, const int32_t *d, bool stop_match,
                                 double scale, double *value, float *dr, ediy_error *err);
EDIY_API bool ediy_loss_rdem_f64(ptrdiff_t images, ptrdiff_t regions, ptrdiff_t channels, const double *r, const int32_t *d,
                                 bool stop_match, double scale, double *value, double *dr, ediy_error *err);
EDIY_API bool ediy_loss_riem_f32(ptrdiff_t images, ptrdiff_t regions, ptrdiff_t channels, const float *p, const float *g, const int32_t *s,
                                 double scale, double *value, float *dp, ediy_error *err);
EDIY_API bool ediy_loss_riem_f64(ptrdiff_t images, ptrdiff_t regions, ptrdiff_t channels, const double *p, const double *g,
                                 const int32_t *s, double scale, double *value, double *dp, ediy_error *err);

/* ---- layers ----------------------------------------------------------------------------------------------------------------------------
 * The two that a kernel is most often held to. In double they are a truth for a kernel in float. A linear layer is a 1x1 convolution of
 * n x 1 x 1 x c.
 *
 * 2-D convolution without bias (a cross-correlation, as everywhere in this field). x, dx: n h w c; w, dw: k r s c; y, dy: n p q k, where p
 * and q are ediy_conv_out of rows and columns. Each y and dx is one sum, accumulated in the type of the
 * arrays; dw is summed so in chunks of positions, which are joined in double.
 *
 *     y[n,p,q,k]  = sum over r, s, c of  x[n, p stride + r - pad, q stride + s - pad, c] w[k,r,s,c]          0 outside the image
 */
typedef struct ediy_conv {
  ptrdiff_t n, h, w, c;           /* input: images, rows, columns, channels */
  ptrdiff_t k, r, s, stride, pad; /* output channels, rows and columns of the kernel; pad zeros on every side */
} ediy_conv;

/* (size + 2 pad - kernel) / stride + 1, rounded down; 0 where there is no output, or a size is below 1, pad below 0, or too large. */
EDIY_API ptrdiff_t ediy_conv_out(ptrdiff_t size, ptrdiff_t kernel, ptrdiff_t stride, ptrdiff_t pad);

/* y and dx are overwritten; dw is ADDED to. */
EDIY_API bool ediy_conv_forward_f32(const ediy_conv *shape, const float *x, const float *w, float *y, ediy_error *err);
EDIY_API bool ediy_conv_forward_f64(const ediy_conv *shape, const double *x, const double *w, double *y, ediy_error *err);
EDIY_API bool ediy_conv_backward_data_f32(const ediy_conv *shape, const float *dy, const float *w, float *dx, ediy_error *err);
EDIY_API bool ediy_conv_backward_data_f64(const ediy_conv *shape, const double *dy, const double *w, double *dx, ediy_error *err);
EDIY_API bool ediy_conv_backward_weights_f32(const ediy_conv *shape, const float *x, const float *dy, float *dw, ediy_error *err);
EDIY_API bool ediy_conv_backward_weights_f64(const ediy_conv *shape, const double *x, const double *dy, double *dw, ediy_error *err);

/* Batch normalisation in training, with an optional residual and ReLU (Ioffe, Szegedy 2015). x, residual, y: m x c; all others c.
 *
 *     mu = mean over rows of x,  v = mean of (x - mu)^2 (biased),  invstd = 1 / sqrt(v + eps)
 *     y = gamma (x - mu) invstd + beta  [+ residual]  [then max(., 0)]
 *     running_mean += momentum (mu - running_mean);  running_var += momentum (v m/(m-1) - running_var)   (v for m = 1)
 *
 * Statistics in double. mean and invstd are left for backward. residual may be null. */
typedef struct ediy_norm {
  ptrdiff_t m, c; /* rows (n h w of a map), channels */
  double eps, momentum;
  bool relu;
} ediy_norm;

EDIY_API bool ediy_norm_forward_f32(const ediy_norm *shape, const float *x, const float *residual, const float *gamma, const float *beta,
                                    float *running_mean, float *running_var, float *y, double *mean, double *invstd, ediy_error *err);
EDIY_API bool ediy_norm_forward_f64(const ediy_norm *shape, const double *x, const double *residual, const double *gamma,
                                    const double *beta, double *running_mean, double *running_var, double *y, double *mean, double *invstd,
                                    ediy_error *err);

/* With d = dy where y > 0, else 0 (d = dy without relu), and xhat = (x - mean) invstd:
 *
 *     dx = gamma invstd (d - mean over rows of d - xhat mean over rows of d xhat),  dresidual = d
 *     dgamma += sum of d xhat,  dbeta += sum of d
 *
 * dx (may be dy itself) and dresidual (may be null) are overwritten, dgamma and dbeta ADDED to. y may be null without relu. */
EDIY_API bool ediy_norm_backward_f32(const ediy_norm *shape, const float *x, const float *y, const float *gamma, const double *mean,
                                     const double *invstd, const float *dy, float *dx, float *dresidual, float *dgamma, float *dbeta,
                                     ediy_error *err);
EDIY_API bool ediy_norm_backward_f64(const ediy_norm *shape, const double *x, const double *y, const double *gamma, const double *mean,
                                     const double *invstd, const double *dy, double *dx, double *dresidual, double *dgamma, double *dbeta,
                                     ediy_error *err);

/* ---- updates ---------------------------------------------------------------------------------------------------------------------------
 * LARS (You, Gitman, Ginsburg 2017) on one parameter tensor of `size` numbers: w (parameter) and m (momentum buffer, zero before the first
 * step) are updated from its gradient g.
 *
 *     byol:         d = g + wd w;  if |w| > 0 and |d| > 0:          d *= trust |w| / |d|;               m = mu m + d;     w -= lr m
 *     openselfsup:  d = g + wd w;  if |w| > 0 and |g| + wd |w| > 0: d *= trust |w| / (|g| + wd |w|);    m = mu m + lr d;  w -= m
 *     not adapt (biases, batch norm): d = g, then the same last two
 */
typedef enum ediy_lars_variant { EDIY_LARS_BYOL /* the official code */, EDIY_LARS_OPENSELFSUP } ediy_lars_variant;

typedef struct ediy_lars {
  ediy_lars_variant variant;
  double trust, momentum, weight_decay; /* BYOL: 0.001, 0.9, 1.5e-6 */
} ediy_lars;

EDIY_API bool ediy_lars_f32(const ediy_lars *o, ptrdiff_t size, bool adapt, double lr, const float *g, float *w, float *m, ediy_error *err);
EDIY_API bool ediy_lars_f64(const ediy_lars *o, ptrdiff_t size, bool adapt, double lr, const double *g, double *w, double *m,
                            ediy_error *err);

/* xi += (1 - tau)(theta - xi): the moving average of the target network (BYOL, Eq. 1), tau from 0 to 1. Exact for tau = 0 and 1. */
EDIY_API bool ediy_ema_f32(ptrdiff_t size, double tau, const float *theta, float *xi, ediy_error *err);
EDIY_API bool ediy_ema_f64(ptrdiff_t size, double tau, const double *theta, double *xi, ediy_error *err);

/* ---- views (BYOL, appendix B) ----------------------------------------------------------------------------------------------------------
 * Random resized crop, flip, colour jitter, greyscale, blur, solarisation, clip to [0, 1], ImageNet's mean and deviation. First every
 * parameter is drawn, then the view is computed: another implementation can be given the same parameters. */
typedef struct ediy_view {
  int size;                     /* side of the view, pixels: 1 to 16384 */
  int top, left, height, width; /* window of the source image, pixels; resized to size x size (bicubic) */
  bool antialias;               /* filter as Pillow (true) or four taps as the official code */
  bool flip, grey, solarise;
  bool jitter;
  int order[4];                                 /* of the jitter: 0 brightness, 1 contrast, 2 saturation, 3 hue */
  double brightness, contrast, saturation, hue; /* x + v; v (x - mean) + mean, by channel; S v; H + v (turns); each then clipped */
  double sigma;                                 /* of the blur, pixels; 0: none */
  int taps;                                     /* of the blur, odd: 23 for size 224; no more than ediy_augment_draw gives for the size */
} ediy_view;

/* Draws a view of a height x width image from the Philox stream (seed, epoch, sample, view): the same random numbers everywhere. The
 * aspect ratio of the window comes from them by the C library's exp and log, whose last bits differ between systems; so, rarely, does the
 * window. view is 0 for T, 1 for T' (they differ in how often they blur and solarise). */
EDIY_API bool ediy_augment_draw(int view, int size, int height, int width, uint64_t seed, uint32_t epoch, uint32_t sample, ediy_view *drawn,
                                ediy_error *err);

/* y: size x size x 3, overwritten. */
EDIY_API bool ediy_augment_apply_f32(const ediy_view *view, const ediy_image *image, float *y, ediy_error *err);
EDIY_API bool ediy_augment_apply_f64(const ediy_view *view, const ediy_image *image, double *y, ediy_error *err);

/* ---- training --------------------------------------------------------------------------------------------------------------------------
 * `ediy train` as a function. It writes the folder `out`: config.txt, log.jsonl, checkpoints, and at the end backbone.safetensors. */
typedef struct ediy_progress {
  int64_t step, steps;            /* optimiser steps done, and of the whole run */
  int64_t epoch, epochs;          /* whole epochs done, and of the whole run */
  double lr, tau;                 /* of this step */
  double total, rdem, riem, byol; /* losses (Eq. 3): means over the batch */
  double images_per_s;
  double seconds, seconds_left; /* since the call; at the present speed, negative while unknown */
} ediy_progress;

/* Called in the thread of the call and in its locale. They have to return: no exception and no longjmp may leave them. */
typedef struct ediy_train_callbacks {
  bool (*progress)(void *context, const ediy_progress *p); /* after every step; false: end now, with a checkpoint. May be null */
  void (*message)(void *context, const char *line);        /* what the user should know: a damaged image passed over, ... May be null */
  void *context;
} ediy_train_callbacks;

/* options: count texts "key=value", as on the command line of `ediy train` (`ediy train --help` lists them); "data=DIR" and "out=DIR"
 * are needed. Goes on from the newest checkpoint in `out` unless "resume=no". callbacks may be null. *finished (may be null): false
 * where a callback or "stop=STEP" ended the run before its last step. */
EDIY_API bool ediy_train(int count, const char *const *options, const ediy_train_callbacks *callbacks, bool *finished, ediy_error *err);

#ifdef __cplusplus
}
#endif

#endif
