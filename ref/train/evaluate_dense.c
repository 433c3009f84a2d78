#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/size.h"
#include "image/image.h"
#include "train/evaluate.h"

/* What is read and computed of one part. */
struct part {
  const struct dense_part *of;
  float *cells;
  uint8_t *label;
  ptrdiff_t count;
};

static void part_free(struct part *p) { free(p->cells), free(p->label); }

/* root/labels/NAME.png for root/images/NAME.jpg; the caller frees. */
static char *label_path(const char *root, const char *image) {
  const char *dot = strrchr(image, '.');
  size_t stem = dot ? (size_t)(dot - image) : strlen(image), size = strlen(root) + stem + sizeof "/labels/.png";
  char *path = malloc(size);
  if (path) snprintf(path, size, "%s/labels/%.*s.png", root, (int)stem, image);
  return path;
}

/* The label maps of one part; the first map that is ever read fixes the size in g (0 before). */
static bool read_labels(struct part *p, struct dense_shape *g, struct error *err) {
  const char *root = p->of->root;
  int64_t labelled = 0;
  for (ptrdiff_t i = 0; i < p->count; i++) {
    char *path = label_path(root, dataset_name(&p->of->images, i));
    struct image map = {0};
    bool ok = path ? image_read_levels(path, &map, err) : fail(err, "%s: out of memory", root);
    if (ok && g->height == 0) g->height = map.height, g->width = map.width;
    ptrdiff_t pixels = g->height * g->width;
    if (ok && (map.height != g->height || map.width != g->width))
      ok = fail(err, "%s: %d x %d pixels; the label maps before it have %td x %td", path, map.width, map.height, g->width, g->height);
    if (ok && !p->label) {
      ptrdiff_t size;
      p->label = size_product(p->count, pixels, 1, 1, &size) ? malloc((size_t)size_max(size, 1)) : NULL;
      if (!p->label) ok = fail(err, "%s: out of memory for %td label maps", root, p->count);
    }
    for (ptrdiff_t j = 0; ok && j < pixels; j++) {
      const uint8_t *rgb = map.rgb + 3 * j;
      if (rgb[0] != rgb[1] || rgb[0] != rgb[2])
        ok = fail(err,
                  "%s: a colour image; a label map is grey, its level the number of the class (of one with a palette, Python saves the "
                  "numbers by Image.fromarray(numpy.array(Image.open(FILE))).save(FILE))",
                  path);
      else if (rgb[0] >= g->classes && rgb[0] != g->void_class)
        ok = fail(err,
                  "%s: level %d at row %td, column %td is neither one of the %d classes (0 to %d) nor void; give classes= or void=", path,
                  rgb[0], j / g->width, j % g->width, g->classes, g->classes - 1);
      p->label[i * pixels + j] = rgb[0];
    }
    image_free(&map);
    free(path);
    if (!ok) return false;
    labelled += dense_count(g, p->label + i * pixels);
  }
  return labelled > 0 ||
         fail(err, "%s: every pixel of its label maps is void (%d); give another void=, or maps with classes", root, g->void_class);
}

struct teller {
  evaluate_progress *progress;
  void *context;
  const char *what;
};
static void tell(void *context, ptrdiff_t done, ptrdiff_t all) {
  const struct teller *t = context;
  if (t->progress) t->progress(t->context, t->what, done, all);
}
static void tell_epochs(void *context, int epoch, int epochs) { tell(context, epoch, epochs); }

bool evaluate_dense_open(struct dense_part *part, const char *root, struct error *err) {
  size_t size = strlen(root) + sizeof "/images";
  char *folder = malloc(size);
  if (!folder) return fail(err, "%s: out of memory", root);
  snprintf(folder, size, "%s/images", root);
  part->root = root;
  struct stat s;
  bool ok = stat(folder, &s) == 0 ||
            fail(err, "%s: %s; images are in FOLDER/images, label maps of the same names in FOLDER/labels", folder, strerror(errno));
  ok = ok && dataset_open(&part->images, folder, err);
  free(folder);
  return ok;
}

static bool part_features(struct part *p, struct extractor *e, const char *what, evaluate_progress *progress, void *context,
                          struct error *err) {
  ptrdiff_t size;
  bool fits = size_product(p->count, e->map_h * e->map_w, e->channels, sizeof(float), &size);
  p->cells = fits ? malloc((size_t)size_max(size, 1)) : NULL;
  if (!p->cells) return fail(err, "dense evaluation: out of memory for the feature maps of %td images", p->count);
  struct feature_view view = {.form = PREPROCESS_AS_IS};
  struct teller teller = {progress, context, what};
  return extractor_run(e, p->count, p->of->images.path, &view, NULL, p->cells, tell, &teller, err);
}

bool evaluate_dense(struct extractor *e, const struct dense_part parts[3], int classes, int void_class, const struct dense_eval_options *o,
                    struct evaluate_dense_result *result, double *iou, evaluate_progress *progress, void *context, struct error *err) {
  *result = (struct evaluate_dense_result){0};
  if (classes < 1 || classes > 255) return fail(err, "dense evaluation: %d classes; 1 to 255 are possible", classes);
  static const char *const what[3] = {"training features", "validation features", "test features"};
  struct part part[3];
  struct dense_shape g = {.h = e->map_h, .w = e->map_w, .classes = classes, .void_class = void_class};
  bool ok = true;
  /* Every label map is read before the first image goes through the network: what is wrong with them shows at once. */
  for (int i = 0; i < 3; i++) part[i] = (struct part){.of = &parts[i], .count = parts[i].images.count};
  for (int i = 0; ok && i < 3; i++) ok = read_labels(&part[i], &g, err);
  for (int i = 0; ok && i < 3; i++) ok = part_features(&part[i], e, what[i], progress, context, err);
  if (ok) {
    struct dense_images images[3];
    for (int i = 0; i < 3; i++) images[i] = (struct dense_images){part[i].count, part[i].cells, part[i].label};
    struct teller teller = {progress, context, "dense classifier"};
    ok = dense_eval(&g, e->channels, &images[0], &images[1], &images[2], o, tell_epochs, &teller, &result->fit, iou, NULL, NULL, err);
    result->train = part[0].count, result->validation = part[1].count, result->test = part[2].count, result->cells = g.h * g.w;
  }
  for (int i = 0; i < 3; i++) part_free(&part[i]);
  return ok;
}
