#include "base/sha256.h"

#include <string.h>

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2). */
const uint32_t sha256_round_constant[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate_right(uint32_t x, int n) { return x >> n | x << (32 - n); }

static uint32_t load_big_endian(const unsigned char *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

static void store_big_endian(unsigned char *p, uint32_t x) {
  for (int i = 0; i < 4; i++) p[i] = (unsigned char)(x >> (24 - 8 * i));
}

/* FIPS 180-4, 6.2.2: one block of 64 bytes. */
static void compress(uint32_t state[8], const unsigned char *block) {
  uint32_t w[64];
  for (int t = 0; t < 16; t++) w[t] = load_big_endian(block + 4 * t);
  for (int t = 16; t < 64; t++) {
    uint32_t s0 = rotate_right(w[t - 15], 7) ^ rotate_right(w[t - 15], 18) ^ w[t - 15] >> 3;
    uint32_t s1 = rotate_right(w[t - 2], 17) ^ rotate_right(w[t - 2], 19) ^ w[t - 2] >> 10;
    w[t] = s1 + w[t - 7] + s0 + w[t - 16];
  }
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
  for (int t = 0; t < 64; t++) {
    uint32_t s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
    uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + sha256_round_constant[t] + w[t];
    uint32_t s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
    uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

void sha256_blocks_plain(uint32_t state[8], const unsigned char *p, size_t blocks) {
  for (; blocks > 0; blocks--, p += 64) compress(state, p);
}

static void add_blocks(uint32_t state[8], const unsigned char *p, size_t blocks) {
  if (!sha256_blocks_fast(state, p, blocks)) sha256_blocks_plain(state, p, blocks);
}

void sha256_begin(struct sha256 *s) {
  *s = (struct sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sha256_add(struct sha256 *s, const void *data, size_t size) {
  if (size == 0) return; /* data may be null */
  const unsigned char *p = data;
  size_t held = s->length % 64;
  s->length += size;
  if (held) {
    size_t n = size < 64 - held ? size : 64 - held;
    memcpy(s->block + held, p, n);
    p += n, size -= n;
    if (held + n < 64) return;
    add_blocks(s->state, s->block, 1);
  }
  add_blocks(s->state, p, size / 64);
  memcpy(s->block, p + size / 64 * 64, size % 64);
}

void sha256_end(struct sha256 *s, unsigned char digest[32]) {
  uint64_t bits = s->length * 8;
  size_t held = s->length % 64;
  unsigned char tail[128] = {0}; /* what is held, a one bit, zeros, the length in bits: one block or two */
  size_t size = held < 56 ? 64 : 128;
  memcpy(tail, s->block, held);
  tail[held] = 0x80;
  store_big_endian(tail + size - 8, (uint32_t)(bits >> 32));
  store_big_endian(tail + size - 4, (uint32_t)bits);
  add_blocks(s->state, tail, size / 64);
  for (int i = 0; i < 8; i++) store_big_endian(digest + 4 * i, s->state[i]);
}

void sha256_of_two(const void *const data[2], const size_t size[2], unsigned char digest[2][32]) {
  struct sha256 s[2];
  const unsigned char *p = data[0], *q = data[1];
  size_t blocks = (size[0] < size[1] ? size[0] : size[1]) / 64;
  sha256_begin(&s[0]), sha256_begin(&s[1]);
  if (blocks == 0 || !sha256_blocks_of_two_fast(s[0].state, p, s[1].state, q, blocks)) blocks = 0;
  for (int i = 0; i < 2; i++) {
    s[i].length = 64 * blocks;
    if (size[i] > 64 * blocks) sha256_add(&s[i], (const unsigned char *)data[i] + 64 * blocks, size[i] - 64 * blocks);
    sha256_end(&s[i], digest[i]);
  }
}

void sha256_hex(const unsigned char digest[32], char text[SHA256_HEX_SIZE]) {
  for (int i = 0; i < 32; i++) {
    text[2 * i] = "0123456789abcdef"[digest[i] >> 4];
    text[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
  }
  text[64] = 0;
}
