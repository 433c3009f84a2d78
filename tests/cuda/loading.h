/* The search for libraries of cuda/library.h (loading.cu), for C. */
#ifndef EDIY_TESTS_CUDA_LOADING_H
#define EDIY_TESTS_CUDA_LOADING_H

#ifdef __cplusplus
extern "C" {
#endif

#include "base/error.h"

/* library_open for an option that is called option. */
MUST_CHECK void *loading_open(const char *file, const char *variable, struct error *err);

#ifdef __cplusplus
}
#endif

#endif
