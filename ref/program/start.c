#include "program/start.h"

#include <cblas.h>
#include <omp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define EDIY_VERSION "0.1.0"

/* What the SkylakeX kernels need; on a processor without it they would end in an illegal instruction. */
static bool has_avx512(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

void start_up(char *const *arguments) {
  /* OpenBLAS reads its variable when it is loaded, so only a new process can change it. The second variable stops a loop should the
   * kernels still be the old ones. "Zen" is what it calls AVX2 on older AMD processors. */
  const char *core = openblas_get_corename();
  if (has_avx512() && (!strcmp(core, "Haswell") || !strcmp(core, "Zen")) && !getenv("OPENBLAS_CORETYPE") && !getenv("EDIY_RESTARTED") &&
      !setenv("EDIY_RESTARTED", "1", 1) && !setenv("OPENBLAS_CORETYPE", "SkylakeX", 1)) {
    execv("/proc/self/exe", arguments);
    unsetenv("OPENBLAS_CORETYPE"); /* no /proc, say: go on with the slower kernels */
  }
}

void start_version(char *text, int size) {
  snprintf(text, (size_t)size, "ediy %s, compiled by %s; OpenBLAS with %s kernels; %d threads", EDIY_VERSION,
#if defined(__clang__)
           "clang " __clang_version__,
#else
           "gcc " __VERSION__,
#endif
           openblas_get_corename(), omp_get_max_threads());
}
