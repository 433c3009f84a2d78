/* To be loaded in front of OpenBLAS: says that it has chosen the AVX2 kernels of an old processor, until it is told which to choose. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

char *openblas_get_corename(void);

__attribute__((visibility("default"))) char *openblas_get_corename(void) {
  static char old[] = "Zen";
  if (!getenv("OPENBLAS_CORETYPE")) return old;
  char *(*real)(void);
  void *found = dlsym(RTLD_NEXT, "openblas_get_corename");
  memcpy(&real, &found, sizeof real);
  return real();
}
