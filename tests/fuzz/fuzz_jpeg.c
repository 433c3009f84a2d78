/* libFuzzer harness: any bytes behind a JPEG's first three are an image or a message, and nothing else happens. Build with
 *     clang -fsanitize=fuzzer,address,undefined; seeds are small JPEG files. */
#include <stdlib.h>
#include <string.h>

#include "image/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct image image = {0};
  struct error err = {0};
  bool ok = image_decode_jpeg(data, size, "fuzz", &image, &err);
  if (ok != (image.rgb != NULL) || ok == (err.text[0] != 0) || strchr(err.text, '\n')) abort();
  image_free(&image);
  return 0;
}
