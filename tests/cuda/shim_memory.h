/* Between the two halves of the shim. */
#ifndef EDIY_TESTS_CUDA_SHIM_MEMORY_H
#define EDIY_TESTS_CUDA_SHIM_MEMORY_H

#include "cuda/shim.h"

/* Says on standard error what is wrong with the launch, and keeps the first such line and its status until they are asked for. */
void shim_fail_launch(cudaError_t status, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define shim_note(...) shim_fail_launch(cudaErrorLaunchFailure, __VA_ARGS__)
bool shim_has_failed(void);

/* Device memory is out of bounds but between these two: the host may not touch it. */
void shim_open_memory(void);
void shim_close_memory(void);

/* Fails the launch when a guard zone has been written to. */
void shim_check_guards(const char *kernel);

/* Shared memory of the launch: filled before each block, freed after the last. */
void shim_poison_shared(void);
void shim_free_shared(void);

#endif
