/* Running the built program under mpirun from a test, where there is one. */
#ifndef EDIY_TESTS_MPIRUN_H
#define EDIY_TESTS_MPIRUN_H

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/cmocka.h"
#include "support/program.h"

/* Programs that wait for each other on fewer processors than they are need not burn them (Open MPI); as root, in a container (Open MPI). */
static const char mpirun_settings[] =
    "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1 OMP_NUM_THREADS=1";
static const char mpirun[] = "timeout 120 mpirun --oversubscribe -np";

static bool mpirun_is_there;

/* As program_enter, with this program of the build folder; false, and nothing is entered, where it or mpirun is missing. */
static inline bool mpirun_enter(const char *name, void **state) {
  const char *build = getenv("BUILD");
  char program[PATH_MAX];
  snprintf(program, sizeof program, "%s/%s", build ? build : "build", name);
  mpirun_is_there = access(program, X_OK) == 0 && system("command -v mpirun >/dev/null") == 0;
  if (!mpirun_is_there) return false;
  setenv("EDIY", program, 1);
  /* MPI unloads its parts before AddressSanitizer looks for leaks: whole stacks only lead to a library with a name (tests/leaks.supp). */
  const char *asan = getenv("ASAN_OPTIONS");
  char options[256];
  snprintf(options, sizeof options, "%s:fast_unwind_on_malloc=0", asan ? asan : "");
  setenv("ASAN_OPTIONS", options, 1);
  program_enter(state);
  return true;
}

static inline int mpirun_leave(void **state) { return mpirun_is_there ? program_leave(state) : 0; }

/* Skips the test where there is no MPI. */
static inline void mpirun_needed(void) {
  if (mpirun_is_there) return;
  skip_because("no MPI: install openmpi-bin and libopenmpi-dev");
}

/* Lines of the program's own. */
static inline int mpirun_lines(const char *text) {
  int n = 0;
  for (const char *at = text; (at = strstr(at, "ediy: ")); at++) n += at == text || at[-1] == '\n';
  return n;
}

/* The command must end with exit status 2 and one line of the program with these words; mpirun passes the status on, and has lines of its
 * own. */
static inline void mpirun_refused(const char *words, const char *format, ...) {
  char command[2048];
  va_list list;
  va_start(list, format);
  vsnprintf(command, sizeof command, format, list);
  va_end(list);
  const struct outcome *o = program_run("%s", command);
  if (o->status != 2 || mpirun_lines(o->err) != 1 || !strstr(o->err, words))
    fail_msg("%s: exit %d, expected 2 with one line of \"%s\":\n%s%s", command, o->status, words, o->out, o->err);
}

#endif
