#include "base/philox.h"

#include <math.h>

void philox_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1, c3 = (uint32_t)p0, c0 = n0, c2 = n2;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u; /* the golden ratio and sqrt(3) - 1, as in the paper */
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

struct philox philox_stream(uint64_t seed, enum philox_purpose purpose, uint32_t view, uint32_t sample, uint32_t epoch) {
  return (struct philox){
      .key = {(uint32_t)seed, (uint32_t)(seed >> 32)}, .counter = {0, (uint32_t)purpose << 8 | view, sample, epoch}, .used = 4};
}

uint32_t philox_u32(struct philox *g) {
  if (g->used == 4) {
    philox_block(g->counter, g->key, g->out);
    g->counter[0]++;
    g->used = 0;
  }
  return g->out[g->used++];
}

double philox_uniform(struct philox *g) { return (philox_u32(g) >> 8) * 0x1p-24; }

uint32_t philox_below(struct philox *g, uint32_t n) { return (uint32_t)((uint64_t)philox_u32(g) * n >> 32); }

void philox_permutation(struct philox *g, ptrdiff_t n, int32_t *order) {
  for (ptrdiff_t i = 0; i < n; i++) order[i] = (int32_t)i;
  for (ptrdiff_t i = n - 1; i > 0; i--) {
    uint32_t j = philox_below(g, (uint32_t)i + 1);
    int32_t kept = order[i];
    order[i] = order[j], order[j] = kept;
  }
}

double philox_normal(struct philox *g) {
  double u = 1.0 - philox_uniform(g), v = philox_uniform(g); /* u in (0, 1]: its logarithm is finite */
  return sqrt(-2.0 * log(u)) * cos(2.0 * 3.14159265358979323846 * v);
}
