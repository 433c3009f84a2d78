/* The table's clock: events of the device on its stream, made when they are first used. */
#include "cuda/runtime.h"
#include "cuda/twins.h"

static cudaEvent_t event[BACKEND_MARKS];

void cuda_mark(int mark) {
  if (event[mark] || cuda_succeeded(cudaEventCreateWithFlags(&event[mark], cudaEventDefault), "the clock"))
    cuda_succeeded(cudaEventRecord(event[mark], cuda_stream()), "the clock");
}

/* 0 after a failure. */
double cuda_seconds_between(int first, int second) {
  float milliseconds = 0;
  if (!event[first] || !event[second] || !cuda_succeeded(cudaEventSynchronize(event[second]), "the clock")) return 0;
  if (!cuda_succeeded(cudaEventElapsedTime(&milliseconds, event[first], event[second]), "the clock")) return 0;
  return (double)milliseconds / 1e3;
}
