#include "program/start.h"

#include <cblas.h>
#include <omp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/plural.h"
#include "ediy.h"

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

/* OpenBLAS takes its AVX2 kernels ("Zen" is their name on older AMD processors) although the processor has AVX-512. */
static bool kernels_are_old(void) {
  const char *core = openblas_get_corename();
  return has_avx512() && (!strcmp(core, "Haswell") || !strcmp(core, "Zen"));
}

/* Sets a variable that the user has not set; true if it did. */
static bool suggest(const char *variable, const char *value) { return !getenv(variable) && setenv(variable, value, 1) == 0; }

void start_up(char *const *arguments) {
  signal(SIGXFSZ, SIG_IGN);
  /* Both libraries read their variables when they are loaded, so only a new process can change them; a variable of our own keeps it at
   * one. */
  if (getenv("EDIY_RESTARTED")) return;
  bool restart = suggest("OMP_WAIT_POLICY", "passive");
  bool kernels = kernels_are_old() && suggest("OPENBLAS_CORETYPE", "SkylakeX");
  if ((restart || kernels) && setenv("EDIY_RESTARTED", "1", 1) == 0) {
    execv("/proc/self/exe", arguments);
    if (kernels) unsetenv("OPENBLAS_CORETYPE"); /* no /proc, say: go on as things are */
  }
}

bool start_is_help(const char *word) { return !strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help"); }

bool start_wants_help(int count, char *const *arguments) {
  for (int i = 0; i < count; i++)
    if (start_is_help(arguments[i]) && (i == 0 || arguments[i][0] == '-')) return true;
  return false;
}

void start_version(char *text, int size) {
  snprintf(text, (size_t)size, "ediy %s, compiled by %s; OpenBLAS with %s kernels; %d thread%s", EDIY_VERSION,
#if defined(__clang__)
           "clang " __clang_version__,
#else
           "gcc " __VERSION__,
#endif
           openblas_get_corename(), omp_get_max_threads(), plural(omp_get_max_threads()));
}
