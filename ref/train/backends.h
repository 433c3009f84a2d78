/* Which table of operations a program runs on. The one place in ref/ that knows of backends other than the reference. real is float. */
#ifndef EDIY_TRAIN_BACKENDS_H
#define EDIY_TRAIN_BACKENDS_H

#include "op/backend.h"

enum backend_choice { BACKEND_REFERENCE, BACKEND_CUDA };
#define BACKEND_CHOICES "reference | cuda" /* as option_choices have it, in the order of the enum */

/* What computes convolutions and linear layers on a GPU: kernels of the project, or NVIDIA's libraries. */
#define BACKEND_CONV_CHOICES "own | cudnn"
#define BACKEND_GEMM_CHOICES "own | cublas"

/* All zero: the reference. What is said of the GPU counts with BACKEND_CUDA only. */
struct backend_options {
  enum backend_choice backend;
  int conv, gemm; /* of BACKEND_CONV_CHOICES, BACKEND_GEMM_CHOICES */
};

/* The table, which lives as long as the process. Null, with one line in err, where it cannot be used: there is no GPU, the program was
 * built without CUDA (make CUDA=1 builds with it), or a library is not there. */
MUST_CHECK const struct backend_f32 *backend_open(const struct backend_options *options, struct error *err);

#endif
