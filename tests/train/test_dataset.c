/* Which files are images, what order they have, which label; and what is said about folders that are no data set. */
#include "train/dataset.h"

#include "support/cmocka.h"
#include "train/folder.h"

static char folder[FOLDER_PATH];

static int setup(void **state) {
  (void)state;
  folder_make(folder);
  return 0;
}
static int teardown(void **state) {
  (void)state;
  folder_remove(folder);
  return 0;
}
static void touch(const char *name) { folder_file(folder, name, "", 0); }

static void a_flat_folder_has_no_labels_and_byte_order(void **state) {
  (void)state;
  static const char *const names[] = {"B.jpg", "a.PNG", "a10.Jpeg", "a9.jpg"};
  for (int i = 3; i >= 0; i--) touch(names[i]);
  touch("notes.txt"), touch(".hidden.jpg"), touch("jpg"), touch(".jpg"), touch(".git/x.jpg");
  struct error err;
  struct dataset d;
  if (!dataset_open(&d, folder, &err)) fail_msg("%s", err.text);
  assert_int_equal(d.count, 4);
  assert_int_equal(d.classes, 0);
  for (int i = 0; i < 4; i++) {
    assert_string_equal(dataset_name(&d, i), names[i]);
    assert_int_equal(d.label[i], -1);
  }
  dataset_close(&d);
}

/* '-' and '!' sort before '/', so the images of class "a" and of class "a-b" do not come in the order of the classes. */
static void labels_follow_the_byte_order_of_class_names(void **state) {
  (void)state;
  static const char *const names[] = {"a!/1.jpg", "a-b/1.jpg", "a/1.jpg", "a/deep/er/2.png", "b/1.jpg"};
  static const int labels[] = {1, 2, 0, 0, 3};
  for (int i = 0; i < 5; i++) touch(names[i]);
  touch("empty/readme.md");
  char slashes[FOLDER_PATH + 2];
  snprintf(slashes, sizeof slashes, "%s//", folder);
  struct error err;
  struct dataset d;
  if (!dataset_open(&d, slashes, &err)) fail_msg("%s", err.text);
  assert_int_equal(d.count, 5);
  assert_int_equal(d.classes, 4);
  assert_string_equal(d.class_name[0], "a");
  assert_string_equal(d.class_name[1], "a!");
  assert_string_equal(d.class_name[2], "a-b");
  assert_string_equal(d.class_name[3], "b");
  for (int i = 0; i < 5; i++) {
    assert_string_equal(dataset_name(&d, i), names[i]);
    assert_int_equal(d.label[i], labels[i]);
  }
  dataset_close(&d);
}

static void many_classes_are_found_whatever_their_order(void **state) {
  (void)state;
  char name[64];
  for (int i = 0; i < 300; i++) {
    snprintf(name, sizeof name, "c%d/x%d.png", i, i % 3);
    touch(name);
  }
  struct error err;
  struct dataset d;
  if (!dataset_open(&d, folder, &err)) fail_msg("%s", err.text);
  assert_int_equal(d.count, 300);
  assert_int_equal(d.classes, 300);
  for (int i = 0; i < 300; i++) {
    size_t n = strlen(d.class_name[d.label[i]]);
    assert_memory_equal(dataset_name(&d, i), d.class_name[d.label[i]], n);
    assert_int_equal(dataset_name(&d, i)[n], '/');
    if (i > 0) assert_true(strcmp(d.class_name[i - 1], d.class_name[i]) < 0);
  }
  dataset_close(&d);
}

static void refuse(const char *path, const char *reason, const char *also) {
  struct error err = {.text = ""};
  struct dataset d;
  assert_false(dataset_open(&d, path, &err));
  if (!strstr(err.text, reason) || !strstr(err.text, also)) fail_msg("message: %s", err.text);
  assert_null(d.path); /* closed: nothing to free */
}

static void what_is_no_data_set_is_named(void **state) {
  (void)state;
  char path[FOLDER_PATH + 16];
  snprintf(path, sizeof path, "%s/none", folder);
  refuse(path, "none: No such file", "expected a folder");
  refuse(folder, "no image found", "expected *.jpg");
  touch("x.jpg");
  snprintf(path, sizeof path, "%s/x.jpg", folder);
  refuse(path, "a file", "expected a folder");
  touch("a/1.png"), touch("a/2.png");
  refuse(folder, "1 image at the top (x.jpg) and 2 in sub-folders (a/1.png)", "flat folder");
}

/* By their endings; what is no image is of no interest, nor is what is hidden. The first is that of the byte order, in whichever the system
 * lists them. */
static void images_of_other_kinds_are_counted(void **state) {
  (void)state;
  struct error err;
  struct dataset d;
  touch("a/1.jpg"), touch("a/readme.md"), touch("a/labels.csv"), touch("a/.x.webp"), touch("a/gif"), touch("a/.gif"), touch("b/x.txt");
  touch("b/x.webp.part"), touch(".trash/x.gif"), touch("c.webp/2.png");
  char path[FOLDER_PATH + 16];
  snprintf(path, sizeof path, "%s/a/pipe.gif", folder);
  assert_int_equal(mkfifo(path, 0666), 0);
  if (!dataset_open(&d, folder, &err)) fail_msg("%s", err.text);
  assert_true(d.left_out == 0 && d.count == 2 && dataset_left_out(&d).text[0] == 0);
  dataset_close(&d);
  char expected[FOLDER_PATH + 128];
  touch("b/m.GIF");
  if (!dataset_open(&d, folder, &err)) fail_msg("%s", err.text);
  snprintf(expected, sizeof expected, "%s: 1 image is left out, the first b/m.GIF; only *.jpg, *.jpeg and *.png are read", folder);
  assert_string_equal(dataset_left_out(&d).text, expected);
  dataset_close(&d);
  touch("b/z.TIFF"), touch("b/c.tif"), touch("b/b.heic"), touch("b/a\n.webp"), touch("b/d.bmp"), touch("d/e/f.ppm"), touch("b/y.jfif");
  if (!dataset_open(&d, folder, &err)) fail_msg("%s", err.text);
  assert_int_equal(d.count, 2);
  assert_int_equal(d.classes, 2);
  snprintf(expected, sizeof expected, "%s: 8 images are left out, the first b/a?.webp; only *.jpg, *.jpeg and *.png are read", folder);
  assert_string_equal(dataset_left_out(&d).text, expected);
  dataset_close(&d);
  snprintf(path, sizeof path, "%s/b", folder);
  refuse(path, "/b: no image that is read here, but 7 of another kind, the first a?.webp", "convert to *.jpg, *.jpeg or *.png");
}

static void a_link_to_a_parent_ends(void **state) {
  (void)state;
  touch("a/1.jpg");
  char path[FOLDER_PATH + 16];
  snprintf(path, sizeof path, "%s/a/again", folder);
  assert_int_equal(symlink(folder, path), 0);
  refuse(folder, "nested more than 16 deep", "link");
}

static void the_fingerprint_is_of_names_not_of_the_place(void **state) {
  (void)state;
  touch("one/a.jpg"), touch("one/b.jpg"), touch("two/a.jpg"), touch("two/b.jpg"), touch("three/a.jpg"), touch("three/c.jpg");
  char text[3][65];
  static const char *const part[] = {"one", "two", "three"};
  for (int i = 0; i < 3; i++) {
    char path[FOLDER_PATH + 16];
    snprintf(path, sizeof path, "%s/%s", folder, part[i]);
    struct error err;
    struct dataset d;
    if (!dataset_open(&d, path, &err)) fail_msg("%s", err.text);
    dataset_fingerprint(&d, text[i]);
    dataset_close(&d);
  }
  assert_string_equal(text[0], text[1]);
  assert_string_not_equal(text[0], text[2]);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {TEST(a_flat_folder_has_no_labels_and_byte_order),  TEST(labels_follow_the_byte_order_of_class_names),
                                     TEST(many_classes_are_found_whatever_their_order), TEST(what_is_no_data_set_is_named),
                                     TEST(images_of_other_kinds_are_counted),           TEST(a_link_to_a_parent_ends),
                                     TEST(the_fingerprint_is_of_names_not_of_the_place)};
  return cmocka_run_group_tests_name("dataset", tests, NULL, NULL);
}
