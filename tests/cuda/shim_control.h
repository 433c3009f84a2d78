/* What a test tells the shim, and asks it. For C. */
#ifndef EDIY_TESTS_CUDA_SHIM_CONTROL_H
#define EDIY_TESTS_CUDA_SHIM_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The machine that the shim pretends to be. Starts as one GPU of compute capability 9.0 with 4 GiB; in the environment, for a program under
 * test, EDIY_SHIM_DEVICES, EDIY_SHIM_MEMORY, EDIY_SHIM_REFUSE and EDIY_SHIM_AFTER say otherwise. */
struct shim_machine {
  int devices, driver, runtime; /* versions as CUDA writes them: 13000 is 13.0; driver 0: none installed */
  int major, minor;             /* compute capability */
  size_t memory;                /* bytes in all */
  const char *refuse;           /* the launch of this kernel, named without template arguments, fails; null: none does */
  int after;                    /* so many launches of it go well first */
};
extern struct shim_machine shim_machine;

/* Another order of threads and blocks. */
void shim_seed(uint64_t seed);

/* The line about the last launch that failed, "" if none has since the last call. */
const char *shim_failure(void);

/* Forgets a failure that no call of the runtime has asked for. */
void shim_clear(void);

#ifdef __cplusplus
}
#endif

#endif
