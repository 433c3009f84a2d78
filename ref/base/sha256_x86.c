/* SHA-256 by the SHA instructions of x86 (Intel 64 and IA-32 manual, SHA256RNDS2, SHA256MSG1, SHA256MSG2): the twin of sha256_blocks_plain,
 * several times faster. The test holds the two together.
 *
 * Each round waits for the one before, and a message cannot be cut: of one message a processor does half of what it could. Of two it does
 * both in little more than the time of one. */
#include "base/sha256.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>

/* Asked once: the instruction that asks is slow in a virtual machine. */
static bool has_instructions(void) {
  enum { UNKNOWN, NO, YES };
  static atomic_int known = UNKNOWN;
  int answer = atomic_load_explicit(&known, memory_order_relaxed);
  if (answer == UNKNOWN) {
    unsigned a, b, c, d;
    bool sse = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSSE3) && (c & bit_SSE4_1);
    answer = sse && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA) ? YES : NO;
    atomic_store_explicit(&known, answer, memory_order_relaxed);
  }
  return answer == YES;
}

#define SHA_CODE __attribute__((target("sha,sse4.1,ssse3")))
#define SHA_INLINE __attribute__((target("sha,sse4.1,ssse3"), always_inline)) static inline

/* One message: its state in the order of the instructions, and the 16 words of the schedule that the next rounds need. */
struct lane {
  __m128i abef, cdgh, m[4];
};

SHA_INLINE void lane_load(struct lane *l, const uint32_t state[8]) {
  __m128i low = _mm_loadu_si128((const __m128i *)(const void *)state);        /* d c b a, from the highest word */
  __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(state + 4)); /* h g f e */
  low = _mm_shuffle_epi32(low, 0xb1), high = _mm_shuffle_epi32(high, 0x1b);
  l->abef = _mm_alignr_epi8(low, high, 8), l->cdgh = _mm_blend_epi16(high, low, 0xf0);
}

SHA_INLINE void lane_store(const struct lane *l, uint32_t state[8]) {
  __m128i low = _mm_shuffle_epi32(l->abef, 0x1b), high = _mm_shuffle_epi32(l->cdgh, 0xb1);
  _mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(low, high, 0xf0));
  _mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(high, low, 8));
}

/* Rounds 4 g to 4 g + 3 of the block at p. */
SHA_INLINE void lane_rounds(struct lane *l, const unsigned char *p, int g) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i w, *m = l->m;
  if (g < 4) {
    w = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * g)), swap);
  } else {
    w = _mm_add_epi32(_mm_sha256msg1_epu32(m[g % 4], m[(g + 1) % 4]), _mm_alignr_epi8(m[(g + 3) % 4], m[(g + 2) % 4], 4));
    w = _mm_sha256msg2_epu32(w, m[(g + 3) % 4]);
  }
  m[g % 4] = w;
  w = _mm_add_epi32(w, _mm_loadu_si128((const __m128i *)(const void *)(sha256_round_constant + 4 * g)));
  l->cdgh = _mm_sha256rnds2_epu32(l->cdgh, l->abef, w);
  l->abef = _mm_sha256rnds2_epu32(l->abef, l->cdgh, _mm_shuffle_epi32(w, 0x0e));
}

SHA_INLINE void lane_add(struct lane *l, const struct lane *before) {
  l->abef = _mm_add_epi32(l->abef, before->abef), l->cdgh = _mm_add_epi32(l->cdgh, before->cdgh);
}

SHA_CODE static void blocks_of_one(uint32_t state[8], const unsigned char *p, size_t blocks) {
  struct lane l;
  lane_load(&l, state);
  for (; blocks > 0; blocks--, p += 64) {
    const struct lane before = {.abef = l.abef, .cdgh = l.cdgh};
#pragma GCC unroll 16
    for (int g = 0; g < 16; g++) lane_rounds(&l, p, g);
    lane_add(&l, &before);
  }
  lane_store(&l, state);
}

SHA_CODE static void blocks_of_two(uint32_t a[8], const unsigned char *p, uint32_t b[8], const unsigned char *q, size_t blocks) {
  struct lane l, k;
  lane_load(&l, a), lane_load(&k, b);
  for (; blocks > 0; blocks--, p += 64, q += 64) {
    const struct lane before_l = {.abef = l.abef, .cdgh = l.cdgh}, before_k = {.abef = k.abef, .cdgh = k.cdgh};
#pragma GCC unroll 16
    for (int g = 0; g < 16; g++) {
      lane_rounds(&l, p, g);
      lane_rounds(&k, q, g);
    }
    lane_add(&l, &before_l), lane_add(&k, &before_k);
  }
  lane_store(&l, a), lane_store(&k, b);
}

bool sha256_blocks_fast(uint32_t state[8], const unsigned char *p, size_t blocks) {
  if (!has_instructions()) return false;
  blocks_of_one(state, p, blocks);
  return true;
}

bool sha256_blocks_of_two_fast(uint32_t a[8], const unsigned char *p, uint32_t b[8], const unsigned char *q, size_t blocks) {
  if (!has_instructions()) return false;
  blocks_of_two(a, p, b, q, blocks);
  return true;
}

#else

bool sha256_blocks_fast(uint32_t state[8], const unsigned char *p, size_t blocks) {
  (void)state, (void)p, (void)blocks;
  return false;
}

bool sha256_blocks_of_two_fast(uint32_t a[8], const unsigned char *p, uint32_t b[8], const unsigned char *q, size_t blocks) {
  (void)a, (void)p, (void)b, (void)q, (void)blocks;
  return false;
}

#endif
