/* See kernels.h. Compiled by nvcc only. */
#include "cuda/ptx/kernels.h"

#include <math.h>
#include <string.h>

#include "cuda/launch.h"

static cudaStream_t stream() {
  static cudaStream_t made;
  if (!made) cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking);
  return made;
}

/* ---- operations ---------------------------------------------------------------------------------------------------------------------- */

template <class T> __host__ __device__ static T from_bits(uint64_t bits) {
  T x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
template <class T> __host__ __device__ static uint64_t bits_of(T x) {
  uint64_t bits = 0;
  if (x == x) memcpy(&bits, &x, sizeof x);
  return x == x ? bits : 0x7ff1;
}

typedef uint64_t u64;
typedef int64_t s64;
typedef uint32_t u32;
typedef int32_t s32;
/* name, type of the operands, what is made of them (in C, and without what C leaves open). */
#define OPERATIONS(_)                                                                                                                      \
  _("f32 +", float, a + b)                                                                                                                 \
  _("f32 -", float, a - b)                                                                                                                 \
  _("f32 *", float, a *b)                                                                                                                  \
  _("f32 /", float, a / b)                                                                                                                 \
  _("f32 fma", float, fmaf(a, b, a))                                                                                                       \
  _("f32 sqrt", float, sqrtf(a))                                                                                                           \
  _("f32 abs", float, fabsf(a))                                                                                                            \
  _("f32 floor", float, floorf(a))                                                                                                         \
  _("f32 relations", float,                                                                                                                \
    ((a == b) ? 1 : 0) + ((a != b) ? 3 : 0) + ((a < b) ? 9 : 0) + ((a <= b) ? 27 : 0) + ((a > b) ? 81 : 0) + ((a >= b) ? 243 : 0) +        \
        (!(a < b) ? 729 : 0))                                                                                                              \
  _("f32 select", float, a < b ? a : b)                                                                                                    \
  _("f32 to f64", float, (double)a)                                                                                                        \
  _("f64 +", double, a + b)                                                                                                                \
  _("f64 *", double, a *b)                                                                                                                 \
  _("f64 /", double, a / b)                                                                                                                \
  _("f64 1 /", double, 1 / a)                                                                                                              \
  _("f64 sqrt", double, sqrt(a))                                                                                                           \
  _("f64 relations", double,                                                                                                               \
    ((a == b) ? 1 : 0) + ((a != b) ? 3 : 0) + ((a < b) ? 9 : 0) + ((a <= b) ? 27 : 0) + ((a > b) ? 81 : 0) + ((a >= b) ? 243 : 0) +        \
        (!(a <= b) ? 729 : 0))                                                                                                             \
  _("f64 to f32", double, (float)a)                                                                                                        \
  _("f64 to s32", double, (s32)(a > -2e9 && a < 2e9 ? a : 0))                                                                              \
  _("f64 floor", double, floor(a))                                                                                                         \
  _("s32 +", u32, a + b)                                                                                                                   \
  _("s32 *", u32, a *b)                                                                                                                    \
  _("s32 /", s32, b == 0 || b == -1 ? 0 : a / b)                                                                                           \
  _("s32 %", s32, b == 0 || b == -1 ? 0 : a % b)                                                                                           \
  _("u32 /", u32, b == 0 ? 0 : a / b)                                                                                                      \
  _("u32 %", u32, b == 0 ? 0 : a % b)                                                                                                      \
  _("u32 <", u32, ((a < b) ? 1 : 0) + ((a <= b) ? 3 : 0) + ((a == b) ? 9 : 0))                                                             \
  _("s32 <", s32, ((a < b) ? 1 : 0) + ((a <= b) ? 3 : 0) + ((a != b) ? 9 : 0))                                                             \
  _("s32 max", s32, a > b ? a : b)                                                                                                         \
  _("s32 >>", s32, a >> (b & 31))                                                                                                          \
  _("u32 >>", u32, a >> (b & 31))                                                                                                          \
  _("u32 <<", u32, a << (b & 31))                                                                                                          \
  _("bits", u32, ((a & b) ^ (a | ~b)))                                                                                                     \
  _("s32 * wide", s32, (s64)a *b)                                                                                                          \
  _("u32 * wide", u32, (u64)a *b)                                                                                                          \
  _("s32 / 7", s32, a / 7)                                                                                                                 \
  _("u64 / 7", u64, a / 7)                                                                                                                 \
  _("s64 +", u64, a + b)                                                                                                                   \
  _("s64 *", u64, a *b)                                                                                                                    \
  _("s64 /", s64, b == 0 || b == -1 ? 0 : a / b)                                                                                           \
  _("u64 /", u64, b == 0 ? 0 : a / b)                                                                                                      \
  _("s64 <", s64, ((a < b) ? 1 : 0) + ((a <= b) ? 3 : 0) + ((a == b) ? 9 : 0))                                                             \
  _("s64 min", s64, a < b ? a : b)                                                                                                         \
  _("s64 >>", s64, a >> (b & 63))                                                                                                          \
  _("u64 >>", u64, a >> (b & 63))                                                                                                          \
  _("s64 to f64", s64, (double)a)                                                                                                          \
  _("s32 to f64", s32, (double)a)                                                                                                          \
  _("s32 to s64", s32, (s64)a)                                                                                                             \
  _("u32 to u64", u32, (u64)a)                                                                                                             \
  _("bytes", u32, (float)(a & 255))

template <int NUMBER> __host__ __device__ uint64_t operation(uint64_t, uint64_t);
enum { BEFORE = __COUNTER__ };
#define DEFINE_NUMBERED(number, T, expression)                                                                                             \
  template <> __host__ __device__ uint64_t operation<number>(uint64_t a_bits, uint64_t b_bits) {                                           \
    T a = from_bits<T>(a_bits), b = from_bits<T>(b_bits);                                                                                  \
    (void)b;                                                                                                                               \
    return bits_of(expression);                                                                                                            \
  }
#define DEFINE(name, T, expression) DEFINE_NUMBERED(__COUNTER__ - BEFORE - 1, T, expression)
OPERATIONS(DEFINE)
#define NAME(name, T, expression) name,
static const char *const names[] = {OPERATIONS(NAME)};
enum { OPERATIONS_IN_ALL = sizeof names / sizeof names[0] };
const int ptx_operations = OPERATIONS_IN_ALL;
const char *ptx_name_of(int number) { return names[number]; }

template <int NUMBER> __global__ static void compute(const uint64_t *a, const uint64_t *b, uint64_t *y) {
  int t = (int)(blockIdx.x * blockDim.x + threadIdx.x);
  y[t] = operation<NUMBER>(a[t], b[t]);
}
template <int NUMBER> static uint64_t on_host(uint64_t a, uint64_t b) { return operation<NUMBER>(a, b); }

template <int... NUMBERS> struct numbers {};
template <int COUNT, int... NUMBERS> struct up_to : up_to<COUNT - 1, COUNT - 1, NUMBERS...> {};
template <int... NUMBERS> struct up_to<0, NUMBERS...> { typedef numbers<NUMBERS...> all; };
typedef void (*kernel)(const uint64_t *, const uint64_t *, uint64_t *);
template <int... NUMBERS> static kernel kernel_of(int number, numbers<NUMBERS...>) {
  static const kernel all[] = {compute<NUMBERS>...};
  return all[number];
}
template <int... NUMBERS> static uint64_t host_of(int number, uint64_t a, uint64_t b, numbers<NUMBERS...>) {
  static uint64_t (*const all[])(uint64_t, uint64_t) = {on_host<NUMBERS>...};
  return all[number](a, b);
}
typedef up_to<OPERATIONS_IN_ALL>::all every;

void ptx_on_device(int number, int count, const uint64_t *a, const uint64_t *b, uint64_t *y) {
  LAUNCH(kernel_of(number, every()), dim3((unsigned)(count / PTX_THREADS)), dim3(PTX_THREADS), 0, stream(), a, b, y);
}
uint64_t ptx_on_host(int number, uint64_t a, uint64_t b) { return host_of(number, a, b, every()); }

/* ---- what C leaves open -------------------------------------------------------------------------------------------------------------- */

__global__ static void open_in_c(int zero, uint64_t *y) {
  int far = 40 + zero, half = 16 + zero;
  u32 a;
  s32 b;
  float least, most, none = NAN;
  asm("shl.b32 %0, %1, %2;" : "=r"(a) : "r"(1 + zero), "r"(far));
  y[0] = a;
  asm("shr.u32 %0, %1, %2;" : "=r"(a) : "r"(-1 - zero), "r"(far));
  y[1] = a;
  asm("shr.s32 %0, %1, %2;" : "=r"(b) : "r"(-5 - zero), "r"(far));
  y[2] = (uint64_t)(s64)b;
  asm("shr.s32 %0, %1, %2;" : "=r"(b) : "r"(-(1 << 20) - zero), "r"(half));
  y[3] = (uint64_t)(s64)b;
  asm("bfi.b32 %0, %1, %2, 8, %3;" : "=r"(a) : "r"(0x1234 + zero), "r"(-1 - zero), "r"(half));
  y[8] = a;
  asm("shf.l.wrap.b32 %0, %1, %2, %3;" : "=r"(a) : "r"(0x12345678 + zero), "r"(0x9abcdef + zero), "r"(far));
  y[9] = a;
  asm("min.f32 %0, %1, %2;" : "=f"(least) : "f"(none), "f"(3.f + (float)zero));
  y[4] = bits_of(least);
  asm("max.f32 %0, %1, %2;" : "=f"(most) : "f"(-0.f), "f"(0.f * (float)(1 + zero)));
  y[5] = bits_of(most);
  y[6] = (uint64_t)(s64)(int)(1e10 + zero); /* cvt.rzi: the end of the range */
  y[7] = (uint64_t)(s64)(int)((double)none + zero);
}
void ptx_open_in_c(uint64_t *y) { LAUNCH(open_in_c, dim3(1), dim3(1), 0, stream(), 0, y); }

/* ---- ways that part ------------------------------------------------------------------------------------------------------------------ */

__global__ static void collatz(uint64_t *y) {
  int t = (int)threadIdx.x, steps = 0;
  for (int n = t + 1; n != 1; steps++) {
    if (n % 2 == 0)
      n /= 2;
    else
      n = 3 * n + 1;
  }
  SHARED(int, all, [PTX_THREADS]);
  all[t] = steps;
  __syncthreads();
  int sum = 0, first = t / WARP_THREADS * WARP_THREADS;
  for (int lane = 0; lane < WARP_THREADS; lane++) {
    if (all[first + lane] % 2 != 0) continue;
    if (steps % 2 != 0) break;
    sum += all[first + lane];
  }
  y[t] = (uint64_t)(steps % 2 != 0 ? steps : steps + 1000 * sum);
}
void ptx_collatz(uint64_t *y) { LAUNCH(collatz, dim3(1), dim3(PTX_THREADS), 0, stream(), y); }

__global__ static void shuffled(bool down, int distance, int width, uint64_t *y) {
  int t = (int)threadIdx.x;
  y[threadIdx.x] = (uint64_t)(down ? __shfl_down_sync((unsigned)WHOLE_WARP, t, (unsigned)distance, width)
                                   : __shfl_sync((unsigned)WHOLE_WARP, t, distance, width));
}
void ptx_shuffle(bool down, int distance, int width, uint64_t *y) {
  LAUNCH(shuffled, dim3(1), dim3(PTX_THREADS), 0, stream(), down, distance, width, y);
}

/* ---- mistakes ------------------------------------------------------------------------------------------------------------------------ */

__global__ static void shifted(const uint64_t *x, int by, uint64_t *y) { y[threadIdx.x] = x[(int)threadIdx.x + by]; }

void ptx_shift(int by, const uint64_t *x, uint64_t *y) { LAUNCH(shifted, dim3(1), dim3(PTX_THREADS), 0, stream(), x, by, y); }

/* What it reads was never written: the compiler does not know that. */
__global__ static void squared(int down, int across, float *y) {
  SHARED_OF_LAUNCH(shared);
  y[threadIdx.x] = reinterpret_cast<const float *>(shared)[(int)threadIdx.x * down * WARP_THREADS + (int)threadIdx.x * across];
}
void ptx_square(bool along, uint64_t *y) {
  LAUNCH(squared, dim3(1), dim3(WARP_THREADS), WARP_THREADS * WARP_THREADS * sizeof(float), stream(), !along, (int)along, (float *)y);
}

__global__ static void shifted_in_shared(int by, uint64_t *y) {
  SHARED(uint64_t, all, [PTX_THREADS]);
  SHARED(uint64_t, more, [PTX_THREADS]);
  all[threadIdx.x] = threadIdx.x, more[threadIdx.x] = 0;
  __syncthreads();
  y[threadIdx.x] = all[(int)threadIdx.x + by] + more[threadIdx.x];
}

__global__ static void read_and_written(bool by_one, uint64_t *y) {
  int t = (int)(blockIdx.x * blockDim.x + threadIdx.x), half = PTX_THREADS / 2;
  if (t < half && (t == 0 || !by_one)) y[t] = y[half];
  if (t == half) y[half] += 1; /* has read it, too, and last */
}
void ptx_read_and_written(bool by_one, bool in_blocks, uint64_t *y) {
  LAUNCH(read_and_written, dim3(in_blocks ? 2 : 1), dim3(in_blocks ? PTX_THREADS / 2 : PTX_THREADS), 0, stream(), by_one, y);
}

__global__ static void __launch_bounds__(PTX_THREADS / 2) bounded(uint64_t *y) { y[threadIdx.x] = 0; }

__global__ static void exponential(uint64_t *y) { y[threadIdx.x] = (uint64_t)__expf((float)threadIdx.x); }

void ptx_mistaken(enum ptx_mistake mistake, uint64_t *y) {
  static const uint64_t host[PTX_THREADS] = {};
  switch (mistake) {
  case PTX_READ_PAST_END: LAUNCH(shifted, dim3(1), dim3(PTX_THREADS), 0, stream(), y, PTX_THREADS, y); break;
  case PTX_READ_PAST_SHARED: LAUNCH(shifted_in_shared, dim3(1), dim3(PTX_THREADS), 0, stream(), 1, y); break;
  case PTX_READ_HOST: LAUNCH(shifted, dim3(1), dim3(PTX_THREADS), 0, stream(), host, 0, y); break;
  case PTX_ODD_ADDRESS: LAUNCH(shifted, dim3(1), dim3(1), 0, stream(), (const uint64_t *)((const char *)y + 4), 0, y); break;
  case PTX_BLOCK_TOO_LARGE: LAUNCH(bounded, dim3(1), dim3(PTX_THREADS), 0, stream(), y); break;
  default: LAUNCH(exponential, dim3(1), dim3(PTX_THREADS), 0, stream(), y);
  }
}
