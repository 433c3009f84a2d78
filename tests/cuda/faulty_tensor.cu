/* See faulty_tensor.h. Compiled by the C++ compiler for the shim, and by nvcc for the machine that runs PTX. */
#include "cuda/faulty_tensor.h"

#include <string.h>

#include "cuda/number.h"
#include "cuda/tensor.h"

static cudaStream_t stream() {
  static cudaStream_t made;
  if (!made) cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking);
  return made;
}

/* ---- copies -------------------------------------------------------------------------------------------------------------------------- */

enum { A_PIECE = 4 /* floats */, LARGE = 64 << 10 };

__global__ static void copy_and_reverse(enum copy_mistake mistake, float *x) {
  SHARED_OF_LAUNCH(shared);
  float *all = reinterpret_cast<float *>(shared);
  int t = (int)threadIdx.x;
  if (t < COPIED / A_PIECE) {
    const float *from = mistake == COPY_FROM_SHARED ? all : x;
    from += t * A_PIECE + (mistake == COPY_GLOBAL_MISALIGNED) + (mistake == COPY_PAST_END ? COPIED : 0);
    copy_async(all + t * A_PIECE + (mistake == COPY_SHARED_MISALIGNED), from, true);
  }
  if (mistake != COPY_NOT_COMMITTED) commit_copies();
  if (mistake == COPY_WAIT_FOR_ALL_BUT)
    wait_for_copies<1>();
  else if (mistake != COPY_NO_WAIT)
    wait_for_copies<0>();
  if (mistake != COPY_NO_BARRIER) __syncthreads();
  float back = all[COPIED - 1 - t];
  __syncthreads(); /* all have read before any copy still in flight may land */
  x[t] = back;
}

void copy_reversed(enum copy_mistake mistake, float *x) {
  size_t bytes = mistake == COPY_SOUND_LARGE || mistake == COPY_TOO_LARGE ? (size_t)LARGE : COPIED * sizeof(float);
  int allow = mistake == COPY_SOUND_LARGE ? LARGE : 0;
  cudaFuncSetAttribute(copy_and_reverse, cudaFuncAttributeMaxDynamicSharedMemorySize, allow);
  if (mistake == COPY_NONE_GIVEN) bytes = 0;
  LAUNCH(copy_and_reverse, dim3(1), dim3(COPIED), bytes, stream(), mistake, x);
}

__global__ static void copy_half(float *x) {
  SHARED_OF_LAUNCH(shared);
  float *all = reinterpret_cast<float *>(shared);
  int t = (int)threadIdx.x;
  if (t < COPIED / A_PIECE) copy_async(all + t * A_PIECE, x + t * A_PIECE, t >= COPIED / A_PIECE / 2);
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();
  x[t] = all[t];
}
void copy_absent(float *x) { LAUNCH(copy_half, dim3(1), dim3(COPIED), COPIED * sizeof(float), stream(), x); }

/* ---- products ------------------------------------------------------------------------------------------------------------------------ */

enum { ROWS = 16, COLUMNS = 8, DEPTH_TF32 = 8, DEPTH_BF16 = 16 };

/* Element `at` of a matrix as 32 bits: one float rounded to tf32, or two bf16, itself and the one `next` behind it. */
__device__ static uint32_t operand(bool half, const float *m, int at, int next) {
  return half ? (uint32_t)round_to_bf16(m[at + next]).bits << 16 | round_to_bf16(m[at]).bits : tf32_of(m[at]);
}

/* The registers of a lane, element by element, from the table in cuda/tensor.h. */
__device__ static void take_by_hand(bool half, const float *a, const float *b, uint32_t (&ra)[4], uint32_t (&rb)[2]) {
  int g = (int)threadIdx.x / 4, t = (int)threadIdx.x % 4, depth = half ? DEPTH_BF16 : DEPTH_TF32, one = half ? 2 * t : t,
      far = half ? 8 : 4;
  for (int i = 0; i < 4; i++) ra[i] = operand(half, a, (g + i % 2 * 8) * depth + one + i / 2 * far, 1);
  for (int i = 0; i < 2; i++) rb[i] = operand(half, b, (one + i * far) * COLUMNS + g, COLUMNS);
}

/* The same by load_matrices, from bf16 or tf32 in shared memory: a as it is, b as it is (depth x 8) in bf16, and as 8 x depth in tf32. */
__device__ static void take_loaded(bool half, enum product_mistake mistake, const float *a, const float *b, uint32_t (&ra)[4],
                                   uint32_t (&rb)[2]) {
  SHARED_OF_LAUNCH(shared);
  int lane = (int)threadIdx.x, depth = half ? DEPTH_BF16 : DEPTH_TF32, other = ROWS * depth;
  uint16_t *small = reinterpret_cast<uint16_t *>(shared);
  uint32_t *large = reinterpret_cast<uint32_t *>(shared), two[4];
  for (int e = lane; e < ROWS * depth; e += WARP_THREADS)
    if (half)
      small[e] = round_to_bf16(a[e]).bits;
    else
      large[e] = tf32_of(a[e]);
  for (int e = lane; e < depth * COLUMNS; e += WARP_THREADS)
    if (half)
      small[other + e] = round_to_bf16(b[e]).bits;
    else
      large[other + e] = tf32_of(b[e % depth * COLUMNS + e / depth]);
  __syncthreads();
  int row = mistake == PRODUCT_ROW_OF_WARP ? lane / 2 : lane % ROWS, piece = mistake == PRODUCT_ROW_OF_WARP ? lane % 2 : lane / ROWS;
  const unsigned char *tile_b = shared + other * (half ? 2 : 4);
  load_matrices(ra, shared + row * 32 + piece * 16 + (mistake == PRODUCT_MISALIGNED ? 8 : 0));
  if (!half)
    load_matrices(two, tile_b + lane % COLUMNS * 32 + lane / COLUMNS % 2 * 16);
  else if (mistake == PRODUCT_NOT_TRANSPOSED)
    load_matrices(two, tile_b + lane % ROWS * 16);
  else
    load_matrices_transposed(two, tile_b + lane % ROWS * 16);
  rb[0] = two[0], rb[1] = two[1];
}

__global__ static void product(bool half, enum product_mistake mistake, const float *a, const float *b, float *c) {
  uint32_t ra[4], rb[2];
  float sum[4] = {};
  int lane = (int)threadIdx.x;
  bool loaded = mistake == PRODUCT_SOUND_LOADED || mistake == PRODUCT_NOT_TRANSPOSED || mistake == PRODUCT_ROW_OF_WARP ||
                mistake == PRODUCT_MISALIGNED;
  if (loaded)
    take_loaded(half, mistake, a, b, ra, rb);
  else
    take_by_hand(half, a, b, ra, rb);
  if (mistake == PRODUCT_A_SWAPPED) ra[1] ^= ra[2], ra[2] ^= ra[1], ra[1] ^= ra[2];
  if (mistake == PRODUCT_B_SWAPPED) rb[0] ^= rb[1], rb[1] ^= rb[0], rb[0] ^= rb[1];
  for (int i = 0; mistake == PRODUCT_HALVES && i < 4; i++) ra[i] = ra[i] << 16 | ra[i] >> 16;
  if (mistake == PRODUCT_NOT_ROUNDED) ra[0] |= 1;
  if (lane >= WARP_THREADS / 2 && mistake == PRODUCT_HALF_A_WARP) return;
  if (lane >= WARP_THREADS / 2 && mistake == PRODUCT_TWO_THINGS)
    sum[0] = (float)__shfl_sync((unsigned)WHOLE_WARP, 1.0, 0);
  else if (half)
    mma_bf16(sum, ra, rb);
  else
    mma_tf32(sum, ra, rb);
  for (int i = 0; i < 4; i++) c[(lane / 4 + i / 2 * 8) * COLUMNS + lane % 4 * 2 + i % 2] = sum[i];
}

static void launch(bool half, enum product_mistake mistake, const float *a, const float *b, float *c) {
  LAUNCH(product, dim3(1), dim3(WARP_THREADS), 1024, stream(), half, mistake, a, b, c);
}
void product_tf32(enum product_mistake mistake, const float *a, const float *b, float *c) { launch(false, mistake, a, b, c); }
void product_bf16(enum product_mistake mistake, const float *a, const float *b, float *c) { launch(true, mistake, a, b, c); }
