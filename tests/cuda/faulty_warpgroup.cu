/* See faulty_warpgroup.h. Compiled by the C++ compiler for the shim, and by nvcc, for Hopper only, for the machine that runs PTX. */
#include "cuda/faulty_warpgroup.h"
#include "cuda/warpgroup.h"

enum { THREADS = 128, SLAB_PIECES_IN_ALL = WIDE_SLAB / 8, MOST_TILE = 128 /* bytes of an index, at most */ };

static cudaStream_t stream() {
  static cudaStream_t made;
  if (!made) cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking);
  return made;
}

/* ---- how tiles lie ------------------------------------------------------------------------------------------------------------------- */

/* at: where the piece is that has indices or depths from 8 piece on, of this line: an index (along) or a depth (across). */
template <int LIE> struct lie;

template <> struct lie<LIES_ALONG_64> {
  enum { ALONG = true };
  __device__ static int at(int index, int piece, int) { return along_at(index, piece); }
  __device__ static uint64_t descriptor(const unsigned char *tile, int step, int) { return tile_descriptor<true>(tile, 0, step); }
};
template <> struct lie<LIES_ACROSS_128> {
  enum { ALONG = false };
  __device__ static int at(int depth, int piece, int) { return across_at<struct bf16>(depth, piece, 0); }
  __device__ static uint64_t descriptor(const unsigned char *tile, int step, int) { return tile_descriptor<false>(tile, 0, step); }
};

/* These two are nobody's but the machine's. Rows hold two slabs: an odd one goes to their second half. */
template <> struct lie<LIES_ALONG_128> {
  enum { ALONG = true, ROW = 128 };
  __device__ static int at(int index, int piece, int slab) { return index * ROW + ((slab % 2 * 4 + piece) ^ index % 8) * PIECE_BYTES; }
  __device__ static uint64_t descriptor(const unsigned char *tile, int step, int slab) {
    return operand_descriptor(tile + slab % 2 * 64 + step * 32, 0, 8 * ROW, SWIZZLE_128);
  }
};
template <> struct lie<LIES_ACROSS_64> {
  enum { ALONG = false, ROW = 64, PANEL = WIDE_SLAB * ROW };
  __device__ static int at(int depth, int piece, int) {
    return piece / 4 * PANEL + depth * ROW + (piece % 4 ^ depth / 2 % 4) * PIECE_BYTES;
  }
  __device__ static uint64_t descriptor(const unsigned char *tile, int step, int) {
    return operand_descriptor(tile + step * 16 * ROW, PANEL, 8 * ROW, SWIZZLE_64);
  }
};

/* One slab of an operand of so many indices, of all slabs in device memory. */
template <class L, int INDICES, bool COPIES> __device__ static void take(unsigned char *tile, const void *x, int slab, int slabs) {
  for (int i = (int)threadIdx.x; i < INDICES * SLAB_PIECES_IN_ALL; i += (int)blockDim.x) {
    enum { IN_LINE = L::ALONG ? SLAB_PIECES_IN_ALL : INDICES / 8 };
    int line = i / IN_LINE, piece = i % IN_LINE;
    int from = L::ALONG ? line * slabs * WIDE_SLAB + slab * WIDE_SLAB + piece * 8 : (slab * WIDE_SLAB + line) * INDICES + piece * 8;
    const unsigned char *of = static_cast<const unsigned char *>(x) + from * 2;
    unsigned char *to = tile + L::at(line, piece, slab);
    if (COPIES)
      copy_async(to, of, true);
    else
      *reinterpret_cast<words<PIECE_BYTES> *>(to) = *reinterpret_cast<const words<PIECE_BYTES> *>(of);
  }
}

/* What compilers do not know: a copy of a sum, and a sum that is another. */
__device__ static void copy_sum(float &to, float from) {
#ifdef __CUDACC__
  asm volatile("mov.f32 %0, %1;" : "=f"(to) : "f"(from));
#else
  to = from;
#endif
}
__device__ static void change_sum(float &sum) {
#ifdef __CUDACC__
  asm volatile("add.rn.f32 %0, %0, %0;" : "+f"(sum));
#else
  sum += sum;
#endif
}

/* ---- the kernel ---------------------------------------------------------------------------------------------------------------------- */

template <int N_, int A, int B, enum wide_mistake MISTAKE_ = WIDE_SOUND> struct shape {
  typedef lie<A> a;
  typedef lie<B> b;
  static const int N = N_;
  static const enum wide_mistake MISTAKE = MISTAKE_;
};

/* In two stages. */
template <int INDICES> struct alignas(1024) tiles { unsigned char stage[2][INDICES * MOST_TILE]; };

template <class K> __global__ static void multiply(struct wide p, uint64_t add_a, uint64_t add_b) {
  const enum wide_mistake M = K::MISTAKE;
  const bool COPIES = M != WIDE_STORED && M != WIDE_STORED_UNSHOWN;
  const int N = K::N, SUMS = N / 2, APART = M == WIDE_SHIFTED ? 1 : M == WIDE_MOVED ? SUMS : 0; /* sums of two steps */
  SHARED(tiles<WIDE_ROWS>, tiles_a, );
  SHARED(tiles<N>, tiles_b, );
  const int thread = (int)threadIdx.x, lane = thread % WARP_THREADS, warp = thread / WARP_THREADS;
  float sum[SUMS + APART] = {};
  float *at = p.c + (warp * 16 + lane / 4) * N + lane % 4 * 2;
  UNROLL for (int e = 0; e < SUMS; e++) sum[e] = at[e / 2 % 2 * 8 * N + e / 4 * 8 + e % 2];
  if (M == WIDE_ONE_FENCE) begin_products();
  for (int slab = 0; slab < p.slabs; slab++) {
    unsigned char *a = tiles_a.stage[slab % 2], *b = tiles_b.stage[slab % 2];
    if (M != WIDE_OVERWRITTEN) wait_for_products<1>();
    if (M != WIDE_NO_BARRIER_BEHIND) __syncthreads();
    take<typename K::a, WIDE_ROWS, COPIES>(a, p.a, slab, p.slabs);
    take<typename K::b, N, COPIES>(b, p.b, slab, p.slabs);
    commit_copies();
    if (M == WIDE_SHOWN_EARLY) show_copies();
    wait_for_copies<0>();
    if (M == WIDE_SHOWN_LATE || M == WIDE_WRITTEN_AGAIN) __syncthreads();
    if (M == WIDE_WRITTEN_AGAIN && thread == 1) {
      show_copies();
      *reinterpret_cast<int *>(a) = slab;
    }
    if (M == WIDE_WRITTEN_AGAIN) __syncthreads();
    if (M == WIDE_WRITTEN_AGAIN  ? thread != 1
        : M == WIDE_SHOWN_BY_ONE ? thread == 0
                                 : M != WIDE_UNSHOWN && M != WIDE_STORED_UNSHOWN && M != WIDE_SHOWN_EARLY)
      show_copies();
    if (M != WIDE_NO_BARRIER && M != WIDE_SHOWN_LATE) __syncthreads();
    if (M != WIDE_NO_FENCE && M != WIDE_ONE_FENCE) begin_products();
    if (M == WIDE_HALF_A_WARP && lane >= WARP_THREADS / 2) return;
    if (M != WIDE_A_WARP_AWAY || warp != 3 || slab != 0) UNROLL for (int step = 0; step < 2; step++) {
        uint64_t of_a = K::a::descriptor(a, step, slab) + add_a, of_b = K::b::descriptor(b, step, slab) + add_b;
        if (M == WIDE_A_WARP_APART && warp == 1) of_b = K::b::descriptor(b, 1 - step, slab);
        if (M == WIDE_A_LANE_APART && lane == 5) of_a = K::a::descriptor(a, 1 - step, slab);
        UNROLL for (int e = 0; M == WIDE_MOVED && step == 1 && e < SUMS; e++) copy_sum(sum[e + APART], sum[e]);
        float(&sums)[SUMS] = reinterpret_cast<float(&)[SUMS]>(sum[step * APART]);
        multiply_tiles<N, K::a::ALONG, K::b::ALONG>(sums, of_a, of_b);
      }
    if (M == WIDE_WRITTEN) change_sum(sum[3]);
    if (M != WIDE_NOT_COMMITTED || slab < p.slabs - 1) commit_products();
  }
  if (M == WIDE_WAIT_FOR_ALL_BUT || M == WIDE_READ_EARLY)
    wait_for_products<1>();
  else if (M != WIDE_NO_WAIT)
    wait_for_products<0>();
  UNROLL for (int e = 0; e < SUMS; e++) at[e / 2 % 2 * 8 * N + e / 4 * 8 + e % 2] = sum[e];
  if (M == WIDE_READ_EARLY) wait_for_products<0>();
}

template <class K> static void launch(const struct wide *p, uint64_t add_a, uint64_t add_b) {
  int threads = K::MISTAKE == WIDE_THREE_WARPS ? THREADS - WARP_THREADS : THREADS;
  LAUNCH(multiply<K>, dim3(1), dim3((unsigned)threads), 0, stream(), *p, add_a, add_b);
}

typedef void (*launcher)(const struct wide *, uint64_t, uint64_t);
template <int N, int A> static launcher launcher_of(enum lies b) {
  static const launcher all[LIES] = {launch<shape<N, A, 0>>, launch<shape<N, A, 1>>, launch<shape<N, A, 2>>, launch<shape<N, A, 3>>};
  return all[b];
}
template <int N> static launcher launcher_of(enum lies a, enum lies b) {
  static launcher (*const all[LIES])(enum lies) = {launcher_of<N, 0>, launcher_of<N, 1>, launcher_of<N, 2>, launcher_of<N, 3>};
  return all[a](b);
}
void multiply_wide(const struct wide *p) { (p->columns == 64 ? launcher_of<64> : launcher_of<128>)(p->a_lies, p->b_lies)(p, 0, 0); }

struct sound_shape : shape<64, LIES_ALONG_64, LIES_ACROSS_128> {}; /* for its name */
template <int MISTAKE> static launcher launcher_of_mistake(int mistake) {
  if (mistake == MISTAKE) return launch<shape<64, LIES_ALONG_64, LIES_ACROSS_128, (enum wide_mistake)MISTAKE>>;
  if constexpr (MISTAKE + 1 < WIDE_MISTAKES) return launcher_of_mistake<MISTAKE + 1>(mistake);
  return nullptr;
}
void multiply_wide_mistaken(enum wide_mistake mistake, const struct wide *p, uint64_t add_a, uint64_t add_b) {
  (mistake == WIDE_SOUND ? launch<sound_shape> : launcher_of_mistake<WIDE_SOUND + 1>(mistake))(p, add_a, add_b);
}
