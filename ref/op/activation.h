/* Activations of a backend, where they cross over to the host. A backend stores them and their gradients as reals, or as bf16 where its
 * activation_size is that of one (op/backend.h). */
#ifndef EDIY_OP_ACTIVATION_H
#define EDIY_OP_ACTIVATION_H

#include "base/tensor.h"
#include "op/backend.h"

#define activation_dtype REAL_NAME(activation_dtype)
#define activation_download REAL_NAME(activation_download)

/* What activations of b are stored as. */
enum dtype activation_dtype(const struct backend *b);

/* n activations of b as reals on the host, exactly: the download of b, widened in place. */
void activation_download(const struct backend *b, ptrdiff_t n, real *to_host, const real *from);

#endif
