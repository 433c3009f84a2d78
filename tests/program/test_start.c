/* Starting up: OpenBLAS is told which kernels to use where it does not know the processor, and the user's word stands. */
#define _GNU_SOURCE /* realpath */
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/cmocka.h"
#include "support/program.h"
#include "support/sanitized.h"

static char preload[PATH_MAX];

static int enter(void **state) {
  const char *build = getenv("BUILD");
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/tests/program/old_kernels.so", build ? build : "build");
  if (!realpath(path, preload)) return -1;
  program_enter(state);
  unsetenv("OPENBLAS_CORETYPE");
  unsetenv("EDIY_RESTARTED");
  return 0;
}

static bool has_avx512(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

static void needs_preloading(void) {
  if (SANITIZED) skip_because("a sanitizer wants to be loaded first itself");
}

/* On a processor with AVX-512 for which OpenBLAS has chosen older kernels the program starts again with newer ones; without, it stays. */
static void old_kernels_are_replaced_where_the_processor_has_more(void **state) {
  (void)state;
  needs_preloading();
  const struct outcome *o = program_run("LD_PRELOAD=%s ediy --version", preload);
  if (o->status != 0 || !strstr(o->out, has_avx512() ? "with SkylakeX kernels" : "with Zen kernels")) fail_msg("%s%s", o->out, o->err);
}

/* Kernels that every processor runs for which the program is compiled. */
#if defined(__aarch64__)
#define CHOSEN "NeoverseN1"
#else
#define CHOSEN "Nehalem"
#endif

static void kernels_that_the_user_has_chosen_stay(void **state) {
  (void)state;
  needs_preloading();
  const struct outcome *o = program_run("OPENBLAS_CORETYPE=" CHOSEN " LD_PRELOAD=%s ediy --version", preload);
  if (o->status != 0 || !strcasestr(o->out, "with " CHOSEN " kernels")) fail_msg("%s%s", o->out, o->err);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(old_kernels_are_replaced_where_the_processor_has_more),
                                     cmocka_unit_test(kernels_that_the_user_has_chosen_stay)};
  return cmocka_run_group_tests(tests, enter, program_leave);
}
