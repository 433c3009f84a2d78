/* SHA-256 by the SHA instructions of x86 (Intel 64 and IA-32 manual, SHA256RNDS2, SHA256MSG1, SHA256MSG2): the twin of sha256_blocks_plain,
 * several times faster. The test holds the two together. */
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

__attribute__((target("sha,sse4.1,ssse3"))) static void blocks_sha(uint32_t state[8], const unsigned char *p, size_t blocks) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i low = _mm_loadu_si128((const __m128i *)(const void *)state);        /* d c b a, from the highest lane */
  __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(state + 4)); /* h g f e */
  low = _mm_shuffle_epi32(low, 0xb1), high = _mm_shuffle_epi32(high, 0x1b);
  __m128i abef = _mm_alignr_epi8(low, high, 8), cdgh = _mm_blend_epi16(high, low, 0xf0);
  for (; blocks > 0; blocks--, p += 64) {
    const __m128i abef_before = abef, cdgh_before = cdgh;
    __m128i m[4];
    for (int g = 0; g < 16; g++) { /* four rounds each */
      __m128i w;
      if (g < 4) {
        w = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * g)), swap);
      } else {
        w = _mm_add_epi32(_mm_sha256msg1_epu32(m[g % 4], m[(g + 1) % 4]), _mm_alignr_epi8(m[(g + 3) % 4], m[(g + 2) % 4], 4));
        w = _mm_sha256msg2_epu32(w, m[(g + 3) % 4]);
      }
      m[g % 4] = w;
      w = _mm_add_epi32(w, _mm_loadu_si128((const __m128i *)(const void *)(sha256_round_constant + 4 * g)));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, w);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(w, 0x0e));
    }
    abef = _mm_add_epi32(abef, abef_before), cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  low = _mm_shuffle_epi32(abef, 0x1b), high = _mm_shuffle_epi32(cdgh, 0xb1);
  _mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(low, high, 0xf0));
  _mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(high, low, 8));
}

bool sha256_blocks_fast(uint32_t state[8], const unsigned char *p, size_t blocks) {
  if (!has_instructions()) return false;
  blocks_sha(state, p, blocks);
  return true;
}

#else

bool sha256_blocks_fast(uint32_t state[8], const unsigned char *p, size_t blocks) {
  (void)state, (void)p, (void)blocks;
  return false;
}

#endif
