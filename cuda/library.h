/* Libraries of NVIDIA that are loaded when a table asks for them, and never linked: a program starts where they are missing, and what needs
 * them says which one it did not find. Internal to cuda/. */
#ifndef EDIY_CUDA_LIBRARY_H
#define EDIY_CUDA_LIBRARY_H

#include <stddef.h>

extern "C" {
#include "base/error.h"
}

/* Loads a shared library by its file name ("libcudnn.so.9"). Looked for where the environment variable says, a folder or the file itself,
 * and there alone; without it where the dynamic loader looks, then in the folders of CUDA and of NVIDIA's Python packages. It stays loaded.
 * Null, with one line in err that names option, file and variable, where it is not found or does not load. */
MUST_CHECK void *library_open(const char *option, const char *file, const char *variable, struct error *err);

/* The function of this name; null, with one line in err, where the library has none. */
MUST_CHECK void *library_function(void *library, const char *file, const char *name, struct error *err);

/* At least so many bytes of device memory that the calls of libraries share: one stream runs all in order. Grows at the first call that
 * asks for more, which planning a pass does; what it was before stays, for a captured step may use it. Null after a failure, which is
 * kept. */
void *library_room(size_t bytes);

/* Rounds up so that what follows in a block is aligned for any vector load. */
static inline size_t library_aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

#endif
