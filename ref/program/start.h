/* What the program does before anything else. */
#ifndef EDIY_PROGRAM_START_H
#define EDIY_PROGRAM_START_H

#include <stdbool.h>

/* Has a limit on the size of files (ulimit -f) be an error of write, which names the file, and no signal that ends the program; and starts
 * the program again, once, where its environment should be another one:
 *   - OMP_WAIT_POLICY=passive: threads that wait give their processor away. Left to spin, they take it from the loader's threads and from
 *     whatever else runs; on a shared machine a training step then takes several times as long.
 *   - OPENBLAS_CORETYPE=SkylakeX where this OpenBLAS is older than the processor and has taken its AVX2 kernels although the processor has
 *     AVX-512: matrix products become almost twice as fast.
 * What the user has set is left alone. Returns in the process that goes on. */
void start_up(char *const *arguments);

/* --help, -h or help. */
bool start_is_help(const char *word);

/* Whether help is asked for behind a verb: by its first word, or, as one who has typed a command does, by an option at any place. */
bool start_wants_help(int count, char *const *arguments);

/* One line: version, compiler, the kernels OpenBLAS uses, threads. */
void start_version(char *text, int size);

#endif
