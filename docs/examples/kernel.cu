/* A CUDA kernel, judged where it runs: a naive convolution, handed to ediy_oracle_judge with arrays in the GPU's memory.
 *
 *     nvcc kernel.cu $(pkg-config --cflags --libs ediy-oracle) -o kernel && ./kernel
 *
 * Exit status and line are the verdict's (ediy_oracle.h). */
#include <cuda_runtime.h>
#include <ediy_oracle.h>
#include <stdio.h>

/* ---- the kernel ---------------------------------------------------------------------------------------------------------------------- */

/* A thread an element of y. */
__global__ static void conv(ediy_oracle_conv g, const float *x, const float *w, float *y) {
  ptrdiff_t i = (ptrdiff_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= g.n * g.p * g.q * g.k) return;
  ptrdiff_t k = i % g.k, q = i / g.k % g.q, p = i / g.k / g.q % g.p, n = i / g.k / g.q / g.p;
  float sum = 0;
  for (ptrdiff_t r = 0; r < g.r; r++)
    for (ptrdiff_t s = 0; s < g.s; s++) {
      ptrdiff_t h = p * g.stride + r - g.pad, v = q * g.stride + s - g.pad;
      if (h < 0 || h >= g.h || v < 0 || v >= g.w) continue; /* zeros outside */
      for (ptrdiff_t c = 0; c < g.c; c++) sum = fmaf(x[((n * g.h + h) * g.w + v) * g.c + c], w[((k * g.r + r) * g.s + s) * g.c + c], sum);
    }
  y[i] = sum;
}

/* What the oracle calls: x, w and y are addresses of the GPU. context: a stream, here and below. */
static int launch(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  enum { THREADS = 256 };
  unsigned blocks = (unsigned)((g->n * g->p * g->q * g->k + THREADS - 1) / THREADS);
  conv<<<blocks, THREADS, 0, (cudaStream_t)context>>>(*g, x, w, y);
  return cudaGetLastError() == cudaSuccess ? 0 : -1; /* 1, cudaErrorInvalidValue, would decline the shape */
}

/* ---- the GPU's memory ---------------------------------------------------------------------------------------------------------------- */

static void *reserve(void *, size_t bytes) {
  void *there;
  return cudaMalloc(&there, bytes) == cudaSuccess ? there : NULL;
}
static void release(void *, void *there) { cudaFree(there); }
static bool copy(void *context, void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, (cudaStream_t)context) == cudaSuccess &&
         cudaStreamSynchronize((cudaStream_t)context) == cudaSuccess; /* a kernel that failed shows here */
}
static bool upload(void *context, void *there, const void *here, size_t bytes) {
  return copy(context, there, here, bytes, cudaMemcpyHostToDevice);
}
static bool download(void *context, void *here, const void *there, size_t bytes) {
  return copy(context, here, there, bytes, cudaMemcpyDeviceToHost);
}

int main() {
  ediy_oracle_kernel mine = {};
  ediy_oracle_options options = {};
  ediy_oracle_verdict v;
  cudaStream_t stream;
  if (cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) != cudaSuccess) return puts("no GPU"), EDIY_ORACLE_BAD_INPUT;
  mine.conv_forward = launch, mine.context = stream;
  options.memory = {stream, reserve, release, upload, download};
  options.chain = 1960; /* a sum is one chain of up to 7 x 7 x 40 additions */
  int status = ediy_oracle_judge(&mine, &options, &v);
  puts(v.text);
  return status;
}
