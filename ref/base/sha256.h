/* SHA-256 (FIPS 180-4), incremental. */
#ifndef EDIY_BASE_SHA256_H
#define EDIY_BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sha256 {
  uint32_t state[8];
  uint64_t length; /* bytes so far */
  unsigned char block[64];
};

enum { SHA256_HEX_SIZE = 65 }; /* 64 digits and the end of the string */

/* sha256_begin, then sha256_add for any number of pieces, then sha256_end once. How the data is cut does not matter. */
void sha256_begin(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t size);
void sha256_end(struct sha256 *s, unsigned char digest[32]);

/* Two whole messages at once, which takes little more time than one where the processor has instructions for it. size: in bytes. */
void sha256_of_two(const void *const data[2], const size_t size[2], unsigned char digest[2][32]);

/* The digest in lower-case hexadecimal, as sha256sum prints it. */
void sha256_hex(const unsigned char digest[32], char text[SHA256_HEX_SIZE]);

/* What sha256_add does with whole blocks of 64 bytes: the fast form where the processor has the instructions (else it does nothing and says
 * false), and the plain form (FIPS 180-4, 6.2.2). */
void sha256_blocks_plain(uint32_t state[8], const unsigned char *p, size_t blocks);
bool sha256_blocks_fast(uint32_t state[8], const unsigned char *p, size_t blocks);
/* Of two messages: blocks at p into a, and as many at q into b. */
bool sha256_blocks_of_two_fast(uint32_t a[8], const unsigned char *p, uint32_t b[8], const unsigned char *q, size_t blocks);
extern const uint32_t sha256_round_constant[64];

#endif
