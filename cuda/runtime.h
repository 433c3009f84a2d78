/* What the twins share on the host: the device, its one stream, and the first failure. Internal to cuda/.
 *
 * The table of operations returns nothing and has no context, so this is state of the process, as the CUDA runtime's own current
 * device is. Every status is looked at; the first that is not success is kept with the name of the operation, and
 * backend_cuda_status (backend.h) hands it out.
 */
#ifndef EDIY_CUDA_RUNTIME_H
#define EDIY_CUDA_RUNTIME_H

#include "cuda/launch.h"

/* The stream that everything runs on, in order. */
cudaStream_t cuda_stream(void);

/* OWN_SCRATCH bytes on the device for operations that the table gives no scratch. One stream runs all in order: it is free again for the
 * next. */
enum { OWN_SCRATCH = 1 << 22 };
void *cuda_own_scratch(void);

/* The download of the table: waits. */
void cuda_download(void *to_host, const void *from, size_t bytes);

/* The first failure so far, or "", which is then forgotten: for what may fail without harm. */
enum { FAILURE_SIZE = 256 };
void cuda_forget_failure(char text[FAILURE_SIZE]);

/* The streams, events and graphs of ref/op/pipeline.h (pipeline.cu). */
cudaError_t cuda_pipeline_open(void);
const struct pipeline *cuda_pipeline(void);

/* To be called after the launches of an operation: keeps the status of the launch under this name. */
void cuda_launched(const char *operation);

/* Keeps a status that is not success under this name. Whether there is no failure so far. */
bool cuda_succeeded(cudaError_t status, const char *operation);

/* Keeps what a library says of its failure under this name. */
void cuda_refused(const char *operation, const char *why);

#endif
