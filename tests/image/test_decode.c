/* Real photographs: the SHA-256 of the pixels against those that Pillow gives (decode.json of the shared cases). The photographs are no
 * part of this project: without them this test is skipped. The folder is named by EDIY_SHARED, or is ../shared. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/sha256.h"
#include "image/image.h"
#include "support/cmocka.h"
#include "support/support.h"

static void photographs_have_the_pixels_that_pillow_gives(void **state) {
  (void)state;
  const char *shared = getenv("EDIY_SHARED") ? getenv("EDIY_SHARED") : "../shared";
  char path[4096];
  snprintf(path, sizeof path, "%s/cases/decode.json", shared);
  if (access(path, R_OK) != 0) skip_because("no %s; set EDIY_SHARED to the folder that holds cases/ and data/", path);
  json_error_t error;
  json_t *list = json_load_file(path, 0, &error), *files = json_object_get(list, "files"), *file;
  if (!json_is_array(files)) fail_msg("%s: %s", path, error.text);
  size_t i;
  json_array_foreach(files, i, file) {
    struct image image;
    struct error err;
    snprintf(path, sizeof path, "%s/data/imagenet-sample/%s", shared, json_string_value(json_object_get(file, "file")));
    if (!image_read(path, &image, &err)) fail_msg("%s", err.text);
    assert_int_equal(image.height, json_integer_value(json_object_get(file, "height")));
    assert_int_equal(image.width, json_integer_value(json_object_get(file, "width")));
    struct sha256 sha;
    unsigned char digest[32];
    char text[65];
    sha256_begin(&sha);
    sha256_add(&sha, image.rgb, (size_t)image.height * (size_t)image.width * 3);
    sha256_end(&sha, digest);
    sha256_hex(digest, text);
    if (strcmp(text, json_string_value(json_object_get(file, "rgb_sha256"))) != 0) fail_msg("%s: other pixels (SHA-256 %s)", path, text);
    image_free(&image);
  }
  assert_true(i > 0);
  json_decref(list);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(photographs_have_the_pixels_that_pillow_gives)};
  return cmocka_run_group_tests_name("decode", tests, NULL, NULL);
}
