/* ediy scenes: the same bytes for any number of threads and on any machine, labels that agree with the pictures, nothing overwritten. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/sha256.h"
#include "image/image.h"
#include "support/cmocka.h"
#include "support/program.h"

static void the_number_of_threads_changes_nothing(void **state) {
  (void)state;
  assert_runs("OMP_NUM_THREADS=1 ediy scenes out=one images=30 val=7 classes=12 size=48");
  assert_runs("OMP_NUM_THREADS=3 ediy scenes out=three images=30 val=7 classes=12 size=48");
  assert_runs("diff -r one three");
  assert_runs("test $(find one -name '*.png' | wc -l) = 74");
}

static void more_images_leave_the_first_ones_alone(void **state) {
  (void)state;
  assert_runs("ediy scenes out=few images=6 val=3 classes=3 seed=5 && ediy scenes out=many images=12 val=6 classes=3 seed=5");
  assert_runs("cd few && find . -name '*.png' | while read f; do cmp \"$f\" \"../many/$f\" || exit 1; done");
  assert_runs("ediy scenes out=other images=6 val=3 classes=3 seed=6");
  assert_int_equal(program_run("cmp few/train/00-striped-disc/000000.png other/train/00-striped-disc/000000.png")->status, 1);
}

static void digest(const char *path, char hex[65], struct image *image) {
  struct error err;
  unsigned char bytes[32];
  struct sha256 s;
  if (!image_read(path, image, &err)) fail_msg("%s", err.text);
  sha256_begin(&s);
  sha256_add(&s, image->rgb, (size_t)image->height * (size_t)image->width * 3);
  sha256_end(&s, bytes);
  sha256_hex(bytes, hex);
}

/* Pixels of one scene, pinned: they must be these on every processor, compiler and C library. */
static void pixels_are_the_same_on_every_machine(void **state) {
  (void)state;
  char hex[65];
  struct image image;
  assert_runs("ediy scenes out=pinned images=10 val=1 size=32");
  digest("pinned/train/04-bricked-cross/000004.png", hex, &image);
  assert_string_equal(hex, "84e627b5d30d1e4bca66ea0041b6cd0117a226bb2fbe5a9322889928d6f243d2");
  image_free(&image);
}

/* One image of each of 20 classes, of every shape and texture that there is, as one digest. */
static void every_texture_is_the_same_on_every_machine(void **state) {
  (void)state;
  static char list[65536];
  char hex[65], *line;
  unsigned char bytes[32];
  int images = 0;
  struct sha256 s;
  sha256_begin(&s);
  snprintf(list, sizeof list, "%s", assert_runs("ediy scenes out=every images=20 val=1 classes=20 size=48 && ls every/train/*/*.png")->out);
  line = strstr(list, "every/train/00-");
  assert_non_null(line);
  for (line = strtok(line, "\n"); line; line = strtok(NULL, "\n"), images++) {
    struct image image;
    struct error err;
    if (!image_read(line, &image, &err)) fail_msg("%s", err.text);
    sha256_add(&s, image.rgb, (size_t)image.height * (size_t)image.width * 3);
    image_free(&image);
  }
  sha256_end(&s, bytes);
  sha256_hex(bytes, hex);
  assert_int_equal(images, 20);
  assert_string_equal(hex, "ae3fc27ed8866922b06599ab3751065baed6c8cf8d20c9d2c50418fbb4ceaa2f");
}

/* The object of the image's class is the largest in its map; ground is there too; no label is beyond the classes. */
static void maps_agree_with_labels(void **state) {
  (void)state;
  assert_runs("ediy scenes out=maps images=20 val=20 classes=20 size=64");
  for (int label = 0; label < 20; label++) {
    char path[512];
    struct image map;
    struct error err;
    long count[256] = {0};
    assert_true(snprintf(path, sizeof path, "%s", assert_runs("ls maps/labels/val/%02d-*/*.png", label)->out) < 512);
    path[strcspn(path, "\n")] = 0;
    if (!image_read(path, &map, &err)) fail_msg("%s", err.text);
    assert_int_equal(map.width, 64);
    for (int i = 0; i < 64 * 64; i++) count[map.rgb[3 * i]]++;
    image_free(&map);
    assert_true(count[0] > 64 * 64 / 10);
    for (int c = 1; c < 256; c++) {
      if (c != 1 + label) assert_true(count[c] < count[1 + label]);
      if (c > 20) assert_int_equal(count[c], 0);
    }
  }
}

static void nothing_is_overwritten_or_left_half_done(void **state) {
  (void)state;
  assert_runs("mkdir full empty left.partial && touch full/mine");
  assert_refused("full: exists", "ediy scenes out=full images=2");
  assert_refused("full: exists", "ediy scenes out=full/ images=2");
  assert_refused("left.partial", "ediy scenes out=left images=2");
  assert_runs("ediy scenes out=empty/ images=2 val=1 && test -d empty/train");
  assert_runs("test \"$(ls full)\" = mine && test ! -e full.partial && test ! -e left && test ! -e empty.partial");
  /* a disk that is full (files of at most 1024 bytes; clang's OpenMP makes one itself) half way through leaves nothing */
  assert_refused("limited", "(ulimit -f 2; ediy scenes out=limited images=2 2>&1) | cat >&2; exit 2");
  assert_runs("test ! -e limited && test ! -e limited.partial");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_number_of_threads_changes_nothing),
                                     cmocka_unit_test(more_images_leave_the_first_ones_alone),
                                     cmocka_unit_test(pixels_are_the_same_on_every_machine),
                                     cmocka_unit_test(every_texture_is_the_same_on_every_machine),
                                     cmocka_unit_test(maps_agree_with_labels),
                                     cmocka_unit_test(nothing_is_overwritten_or_left_half_done)};
  return cmocka_run_group_tests_name("scenes", tests, program_enter, program_leave);
}
