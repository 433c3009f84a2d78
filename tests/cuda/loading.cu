/* See loading.h. Compiled by the C++ compiler only. */
#include "cuda/loading.h"

#include "cuda/library.h"

void *loading_open(const char *file, const char *variable, struct error *err) { return library_open("option", file, variable, err); }
