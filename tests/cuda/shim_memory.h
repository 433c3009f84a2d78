/* Between the parts of the shim. */
#ifndef EDIY_TESTS_CUDA_SHIM_MEMORY_H
#define EDIY_TESTS_CUDA_SHIM_MEMORY_H

#include "cuda/shim.h"

/* Says on standard error what is wrong with the launch, and keeps the first such line and its status until they are asked for. */
void shim_fail_launch(cudaError_t status, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define shim_note(...) shim_fail_launch(cudaErrorLaunchFailure, __VA_ARGS__)
bool shim_has_failed(void);
cudaError_t shim_status(void); /* of that line */

/* A call that reserves or releases memory, and waits for everything or not. True where it must not be now, which has been reported. */
bool shim_stops(const char *call, bool waits);

bool shim_is_recording(cudaStream_t stream);

/* Runs a launch: every thread of every block. */
void shim_run_launch(const char *kernel, struct dim3 grid, struct dim3 block, size_t shared_bytes, void (*body)(const void *),
                     const void *context);

/* Whether these bytes are within one live allocation of page-locked host memory. */
bool shim_is_pinned(const void *pointer, size_t bytes);

/* Device memory is out of bounds but between these two: the host may not touch it. */
void shim_open_memory(void);
void shim_close_memory(void);

/* Fails the launch when a guard zone has been written to. */
void shim_check_guards(const char *kernel);

/* Whether these bytes are within one live allocation; within one shared array of the launch. */
bool shim_is_device(const void *pointer, size_t bytes);
bool shim_is_shared(const void *pointer, size_t bytes);

/* The shared array that has this address from the beginning of shared memory, and its own: null, there is none. */
const unsigned char *shim_shared_array(uint32_t address, uint32_t *start, uint32_t *bytes);
bool shim_allocation(const void *pointer, size_t bytes, const unsigned char **from, const unsigned char **to); /* and where that one is */

/* The site of the array whose size the launch says. */
inline const char shim_dynamic = 0;
#define SHIM_DYNAMIC (&shim_dynamic)

/* The running thread's number in its block. */
int shim_thread(void);

/* Waits until all lanes of the mask have come to the same kind of meeting (`what`, compared by its address), each with a gift of at most
 * SHIM_GIFT bytes. Returns the number of the warp's meeting, the same for all. shim_gift is what a lane gave to the calling one's last
 * meeting; null: it is not in the mask, or not there. */
enum { SHIM_LANES = 32, SHIM_GIFT = 40 };
int shim_meet(const char *what, unsigned mask, const void *gift, size_t bytes);
const void *shim_gift(int lane);

/* Copies in flight (shim_tensor.cpp) and multiplications (shim_warpgroup.cpp): forgets those of a block that broke off; notes a thread that
 * ends and has some. */
void shim_forget_copies(void);
void shim_copies_end(int thread);
void shim_forget_products(void);
void shim_products_end(int thread);

/* Shared memory of the launch: filled before each block, freed after the last. */
void shim_poison_shared(void);
void shim_free_shared(void);

#endif
