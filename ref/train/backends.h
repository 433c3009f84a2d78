/* Which table of operations a program runs on. The one place in ref/ that knows of backends other than the reference. real is float. */
#ifndef EDIY_TRAIN_BACKENDS_H
#define EDIY_TRAIN_BACKENDS_H

#include "op/backend.h"

enum backend_choice { BACKEND_REFERENCE, BACKEND_CUDA };
#define BACKEND_CHOICES "reference | cuda" /* choices of an option, in the order of the enum */

/* What products are computed in, and activations are stored as (docs/cuda.md). */
enum backend_precision { BACKEND_FP32, BACKEND_TF32, BACKEND_BF16 };
#define PRECISION_CHOICES "fp32 | tf32 | bf16"

/* What computes convolutions and linear layers on a GPU: kernels of the project, or NVIDIA's libraries. plain: a simpler kernel, for every
 * shape, to measure the others against. wgmma: the project's, in bf16, by instructions that only GPUs of compute capability 9.0 have. */
enum backend_conv { BACKEND_CONV_OWN, BACKEND_CONV_CUDNN, BACKEND_CONV_PLAIN, BACKEND_CONV_WGMMA };
#define BACKEND_CONV_CHOICES "own | cudnn | plain | wgmma"
enum backend_gemm { BACKEND_GEMM_OWN, BACKEND_GEMM_CUBLAS, BACKEND_GEMM_WGMMA };
#define BACKEND_GEMM_CHOICES "own | cublas | wgmma"

/* All zero: the reference, which computes in fp32 and by no library. */
struct backend_options {
  enum backend_choice backend;
  enum backend_precision precision;
  int conv, gemm; /* of BACKEND_CONV_CHOICES, BACKEND_GEMM_CHOICES */
  /* Which of the processes on this machine this is: each takes the next of the GPUs that it sees. One that each sees alone is its own. */
  int local;
};

/* The table, which lives as long as the process. Null, with one line in err, where it cannot be used: there is no GPU, the program was
 * built without CUDA (make CUDA=1 builds with it), a library is not there, or the reference is to compute otherwise. */
MUST_CHECK const struct backend_f32 *backend_open(const struct backend_options *options, struct error *err);

/* Whether a table opened with these options has a library of NVIDIA compute a convolution of this shape: forward (0), backward data (1),
 * backward weights (2); a kernel of the project takes its place where a library has none. */
bool backend_conv_is_library(const struct backend_options *options, const struct conv *g, int direction);

#endif
