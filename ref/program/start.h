/* What the program does before anything else. */
#ifndef EDIY_PROGRAM_START_H
#define EDIY_PROGRAM_START_H

/* Where this OpenBLAS is older than the processor and has taken its AVX2 kernels although
 * the processor has AVX-512, starts the program again, once, with OPENBLAS_CORETYPE=SkylakeX: matrix products become almost twice as
 * fast. A choice of kernels that the user has made in the environment is left alone. Returns in the process that goes on. */
void start_up(char *const *arguments);

/* One line: version, compiler, the kernels OpenBLAS uses, threads. */
void start_version(char *text, int size);

#endif
