/* libFuzzer harness: any bytes are an image or a message, and nothing else happens. The checksums of the chunks are made right first, since
 * otherwise hardly any input would come past them. Build with
 *     clang -fsanitize=fuzzer,address,undefined; seeds are small PNG files. */
#include <stdlib.h>
#include <string.h>

#include "image/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t big_endian(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

/* CRC-32 as in PNG, annex D. */
static uint32_t checksum(const uint8_t *data, size_t size) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < size; i++) {
    crc ^= data[i];
    for (int b = 0; b < 8; b++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

static void correct_checksums(uint8_t *data, size_t size) {
  for (size_t at = 8; at + 12 <= size;) { /* length, type, that many bytes, checksum of type and bytes */
    size_t length = big_endian(data + at);
    if (length > size - at - 12) return;
    uint32_t crc = checksum(data + at + 4, length + 4);
    at += 8 + length;
    for (int i = 0; i < 4; i++) data[at++] = (uint8_t)(crc >> (24 - 8 * i));
  }
}

static void read_as(bool levels, const uint8_t *data, size_t size) {
  struct image image = {0};
  struct error err = {0};
  bool ok = image_decode_png(data, size, levels, "fuzz", &image, &err);
  if (ok != (image.rgb != NULL) || ok == (err.text[0] != 0) || strchr(err.text, '\n')) abort();
  image_free(&image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint8_t *copy = malloc(size + !size);
  if (!copy) return 0;
  if (size) memcpy(copy, data, size);
  correct_checksums(copy, size);
  read_as(false, copy, size), read_as(true, copy, size);
  free(copy);
  return 0;
}
