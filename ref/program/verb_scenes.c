/* ediy scenes: a small labelled data set without a download. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/plural.h"
#include "image/image.h"
#include "program/folder.h"
#include "program/png_grey.h"
#include "program/scene.h"
#include "program/verb.h"

struct scenes {
  char out[OPTION_TEXT_SIZE];
  int64_t images, val, classes, size, seed;
};

static const struct option keys[] = {
    {"out", OPTION_TEXT, offsetof(struct scenes, out), "", 0, 0, NULL, "folder to create"},
    {"images", OPTION_INT, offsetof(struct scenes, images), "1000", 1, 1e6, NULL, "training images"},
    {"val", OPTION_INT, offsetof(struct scenes, val), "200", 1, 1e6, NULL, "validation images"},
    {"classes", OPTION_INT, offsetof(struct scenes, classes), "10", 2, SCENE_CLASSES, NULL, "classes, shared out evenly"},
    {"size", OPTION_INT, offsetof(struct scenes, size), "96", 16, 1024, NULL, "side of an image, pixels"},
    {"seed", OPTION_INT, offsetof(struct scenes, seed), "1", 0, 9007199254740992.0, NULL, "the same seed draws the same images"},
};

static const char *const split_names[2] = {"train", "val"};

/* Image `index` of a split and its class map, below root. */
static bool write_scene(const struct scenes *s, const char *root, int split, int64_t index, uint8_t *rgb, uint8_t *map, struct error *err) {
  int label = (int)(index % s->classes), size = (int)s->size;
  char class_name[SCENE_NAME], path[4096];
  scene_class_name(label, class_name);
  scene_draw((uint64_t)s->seed, split, (uint32_t)index, label, (int)s->classes, size, rgb, map);
  struct image image = {size, size, rgb};
  snprintf(path, sizeof path, "%s/%s/%s/%06" PRId64 ".png", root, split_names[split], class_name, index);
  if (!image_write_png(path, &image, err)) return false;
  snprintf(path, sizeof path, "%s/labels/%s/%s/%06" PRId64 ".png", root, split_names[split], class_name, index);
  return png_grey_write(path, size, size, map, err);
}

static bool make_folders(const struct scenes *s, const char *root, struct error *err) {
  for (int split = 0; split < 2; split++) {
    for (int label = 0; label < (int)s->classes; label++) {
      char class_name[SCENE_NAME], path[4096];
      scene_class_name(label, class_name);
      snprintf(path, sizeof path, "%s/%s/%s", root, split_names[split], class_name);
      if (!folder_create(path, err)) return false;
      snprintf(path, sizeof path, "%s/labels/%s/%s", root, split_names[split], class_name);
      if (!folder_create(path, err)) return false;
    }
  }
  return true;
}

/* DIR/dense/SPLIT/images and labels, the layout `ediy eval dense` reads, as links to the folders above. */
static bool make_links(const char *root, struct error *err) {
  for (int split = 0; split < 2; split++) {
    char path[4096], target[64];
    snprintf(path, sizeof path, "%s/dense/%s", root, split_names[split]);
    if (!folder_create(path, err)) return false;
    for (int labels = 0; labels < 2; labels++) {
      snprintf(path, sizeof path, "%s/dense/%s/%s", root, split_names[split], labels ? "labels" : "images");
      snprintf(target, sizeof target, "../../%s%s", labels ? "labels/" : "", split_names[split]);
      if (symlink(target, path) != 0) return fail(err, "%s: cannot be made a link: %s", path, strerror(errno));
    }
  }
  return true;
}

/* Both splits, the images shared out among the threads; each depends on nothing but its number. */
static bool write_all(const struct scenes *s, const char *root, struct error *err) {
  int64_t all = s->images + s->val;
  size_t pixels = (size_t)(s->size * s->size);
  bool good = true;
#pragma omp parallel
  {
    uint8_t *rgb = malloc(4 * pixels);
    struct error mine = {.text = ""};
#pragma omp for schedule(dynamic, 8)
    for (int64_t i = 0; i < all; i++) {
      bool go_on;
#pragma omp atomic read
      go_on = good;
      if (!go_on) continue;
      bool written = rgb ? write_scene(s, root, i >= s->images, i < s->images ? i : i - s->images, rgb, rgb + 3 * pixels, &mine)
                         : fail(&mine, "scenes: no memory for an image of size %" PRId64, s->size);
      if (written) continue;
#pragma omp critical
      {
        if (good && err) *err = mine;
#pragma omp atomic write
        good = false;
      }
    }
    free(rgb);
  }
  return good;
}

static bool run(int count, char *const *arguments, struct error *err) {
  struct scenes s;
  struct folder folder;
  if (!verb_options(&verb_scenes, count, arguments, &s, err) || !verb_require(&verb_scenes, "out", s.out, err)) return false;
  if (!folder_begin(&folder, s.out, err)) return false;
  if (!make_folders(&s, folder.partial, err) || !make_links(folder.partial, err) || !write_all(&s, folder.partial, err)) {
    folder_abandon(&folder);
    return false;
  }
  if (!folder_commit(&folder, err)) return false;
  printf("%s: %" PRId64 " training and %" PRId64 " validation image%s of %" PRId64 " classes, %" PRId64 " x %" PRId64 "\n", folder.path,
         s.images, s.val, plural(s.val), s.classes, s.size, s.size);
  return true;
}

const struct verb verb_scenes = {
    .name = "scenes",
    .summary = "draw a small labelled data set, without a download",
    .usage = "out=DIR [key=value...]",
    .about = "Draws scenes of textured objects on textured grounds. The class of an image is the texture and\n"
             "shape of its largest object; colour, brightness, place and direction say nothing about it.\n"
             "DIR/train/CLASS and DIR/val/CLASS hold the images, DIR/labels/... the maps of classes\n"
             "(8-bit PNG; 0 is ground, 1 + class an object), DIR/dense links to both for `ediy eval dense`.\n"
             "The same keys give the same bytes everywhere.",
    .example = "ediy scenes out=scenes images=200 val=50",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .run = run,
};
