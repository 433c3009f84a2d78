/* ediy show saliency: what each region adds to the feature of its image (eval/saliency.h), for a network or two. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/plural.h"
#include "eval/saliency.h"
#include "program/backbone.h"
#include "program/picture.h"
#include "program/run_folder.h"
#include "program/sample.h"
#include "program/terminal.h"
#include "program/verb.h"

struct saliency {
  struct backbone_choice choice; /* of the first network; of the second all but its weights */
  char beside[OPTION_TEXT_SIZE], run[OPTION_TEXT_SIZE], data[OPTION_TEXT_SIZE], out[OPTION_TEXT_SIZE];
  int64_t rows, images, resize;
};

static const struct option keys[] = {
    {"run", OPTION_TEXT, offsetof(struct saliency, run), "", 0, 0, NULL,
     "training run: its teacher, if any, beside its result, on its data"},
    BACKBONE_OPTIONS(struct saliency, choice),
    {"beside", OPTION_TEXT, offsetof(struct saliency, beside), "", 0, 0, NULL, "a second network to draw beside: as weights"},
    {"data", OPTION_TEXT, offsetof(struct saliency, data), "", 0, 0, NULL, "folder of images (of the run, if one is given)"},
    {"out", OPTION_TEXT, offsetof(struct saliency, out), "saliency.png", 0, 0, NULL, "picture to write, PNG"},
    {"rows", OPTION_INT, offsetof(struct saliency, rows), "4", 1, 16, NULL, "images to draw, spread over the data set"},
    {"images", OPTION_INT, offsetof(struct saliency, images), "256", 1, 1e9, NULL,
     "images that the printed means are of, spread over the data set; at most all"},
    {"resize", OPTION_INT, offsetof(struct saliency, resize), "0", 0, 8192, NULL,
     "short side before the central crop, pixels; 0: size * 256 / 224"},
    BATCH_OPTIONS(struct saliency, choice),
};

enum { NETWORKS = 2 };

/* A network and what it makes of the images. */
struct network {
  struct backbone_choice choice;
  struct backbone backbone;
  int across, down;  /* cells of its last map */
  double *share;     /* rows x cells, of the images that are drawn */
  double *effective; /* of the images that are measured */
  struct mean spread;
};

/* The images of one picture: first those that are drawn, then those that are measured. */
struct page {
  ptrdiff_t rows, images;
  int networks, size;
  char **path; /* rows + images, borrowed of the data set */
  struct network network[NETWORKS];
  uint8_t *seen; /* rows x size x size x 3 */
};

static void page_free(struct page *p) {
  for (int k = 0; k < NETWORKS; k++) {
    free(p->network[k].share);
    free(p->network[k].effective);
  }
  free(p->path);
  free(p->seen);
}

/* ---- which networks ----------------------------------------------------------------------------------------------------------------- */

/* A run's teacher, if it has one, and its result; or the one network that the command line names, and the result. */
static bool settings(struct saliency *v, struct error *err) {
  struct config *config = malloc(sizeof *config);
  bool good = config ? !v->run[0] || run_config(v->run, config, err) : fail(err, "show saliency: no memory");
  if (good && v->run[0]) {
    char result[OPTION_TEXT_SIZE + 32];
    snprintf(result, sizeof result, "%s/backbone.safetensors", v->run);
    good = strlen(result) < OPTION_TEXT_SIZE || fail(err, "run: %s is too long", v->run);
    if (good && !v->choice.weights[0] && !v->beside[0]) memcpy(v->choice.weights, config->teacher, sizeof config->teacher);
    char *place = !v->choice.weights[0] ? v->choice.weights : !v->beside[0] ? v->beside : NULL;
    if (good && place) memcpy(place, result, strlen(result) + 1);
    if (good && !v->data[0]) memcpy(v->data, config->data, sizeof config->data);
  }
  free(config);
  return good && verb_require(&verb_saliency, "weights", v->choice.weights, err) && verb_require(&verb_saliency, "data", v->data, err);
}

/* Fresh weights have the form of the network that they are drawn beside, where no key says another. */
static bool same_form(struct backbone_choice *fresh, const struct backbone_choice *other, struct error *err) {
  struct config *config = malloc(sizeof *config);
  bool found = false, good = config || fail(err, "show saliency: no memory");
  if (!strcmp(fresh->weights, "random") && strcmp(other->weights, "random") != 0)
    good = good && weights_config(other->weights, config, &found, err);
  if (good && found) {
    if (!fresh->backbone) fresh->backbone = 1 + config->backbone;
    if (!fresh->stem) fresh->stem = 1 + config->stem;
    if (!fresh->size) fresh->size = config->size;
  }
  free(config);
  return good;
}

/* Both networks have to see the same pixels. */
static bool choose_networks(const struct saliency *v, struct page *p, struct error *err) {
  struct network *first = &p->network[0], *second = &p->network[1];
  p->networks = v->beside[0] ? 2 : 1;
  first->choice = second->choice = v->choice;
  memcpy(second->choice.weights, v->beside, sizeof v->beside);
  if (p->networks == 2 && (!same_form(&first->choice, &second->choice, err) || !same_form(&second->choice, &first->choice, err)))
    return false;
  for (int k = 0; k < p->networks; k++) {
    struct network *n = &p->network[k];
    if (!verb_spares(&verb_saliency, v->out, n->choice.weights, err)) return false;
    if (!backbone_resolve(&n->choice, &n->backbone, err))
      return v->run[0] ? fail_within(err, "run=%s (one that is not done has checkpoints: weights=CHECKPOINT)", v->run) : false;
  }
  p->size = first->backbone.size;
  return p->networks == 1 || second->backbone.size == p->size ||
         fail(err, "show saliency: %s is for images of %d x %d pixels, %s for %d x %d; give size= for both", first->choice.weights, p->size,
              p->size, second->choice.weights, second->backbone.size, second->backbone.size);
}

/* ---- what they make of the images --------------------------------------------------------------------------------------------------- */

static bool choose_images(const struct saliency *v, const struct dataset *data, struct page *p, struct error *err) {
  p->rows = v->rows < data->count ? (ptrdiff_t)v->rows : data->count;
  p->images = v->images < data->count ? (ptrdiff_t)v->images : data->count;
  p->path = calloc((size_t)(p->rows + p->images), sizeof *p->path);
  if (!p->path) return fail(err, "show saliency: no memory for the names of %td images", p->images);
  for (int i = 0; i < p->rows; i++) p->path[i] = data->path[sample_spread(i, (int)p->rows, data->count)];
  for (int i = 0; i < p->images; i++) p->path[p->rows + i] = data->path[sample_spread(i, (int)p->images, data->count)];
  return true;
}

/* Shares of all images, a batch at a time; those of the first are kept, of the others their spread. */
static bool look(const struct page *p, struct network *n, struct extractor *e, int resize, struct terminal *t, struct error *err) {
  const ptrdiff_t cells = e->map_h * e->map_w, all = p->rows + p->images;
  n->across = (int)e->map_w, n->down = (int)e->map_h;
  n->share = malloc((size_t)(p->rows * cells) * sizeof *n->share);
  n->effective = malloc((size_t)p->images * sizeof *n->effective);
  float *map = malloc((size_t)(e->batch * cells * e->channels) * sizeof *map);
  double *share = malloc((size_t)(e->batch * cells) * sizeof *share), *scratch = malloc((size_t)e->channels * sizeof *scratch);
  const struct feature_view view = {.form = PREPROCESS_EVAL, .resize = resize};
  bool good = (n->share && n->effective && map && share && scratch) || fail(err, "show saliency: no memory for %td images", all);
  for (ptrdiff_t first = 0; good && first < all; first += e->batch) {
    const ptrdiff_t count = all - first < e->batch ? all - first : e->batch;
    good = extractor_run(e, count, p->path + first, &view, NULL, map, NULL, NULL, err);
    if (!good) break;
    saliency_shares(count, cells, e->channels, map, share, scratch);
    for (ptrdiff_t i = 0; good && i < count; i++) {
      const double effective = saliency_effective(cells, share + i * cells);
      good = isfinite(effective) || fail(err, "%s: %s makes numbers of it that are not finite", p->path[first + i], n->choice.weights);
      if (first + i < p->rows)
        memcpy(n->share + (first + i) * cells, share + i * cells, (size_t)cells * sizeof *share);
      else
        n->effective[first + i - p->rows] = effective;
    }
    terminal_live(t, first + count == all, "%s: image %td of %td", n->choice.weights, first + count, all);
  }
  if (good) n->spread = mean_of(p->images, n->effective);
  free(map), free(share), free(scratch);
  return good;
}

/* The images that are drawn, as the networks get them. The networks have, so they can be read and resized. */
static bool see(struct page *p, int resize, struct error *err) {
  const size_t pixels = (size_t)p->size * (size_t)p->size * 3;
  p->seen = malloc((size_t)p->rows * pixels);
  float *view = malloc(pixels * sizeof *view);
  bool good = (p->seen && view) || fail(err, "show saliency: no memory for %td images", p->rows);
  for (ptrdiff_t i = 0; good && i < p->rows; i++) {
    struct image image;
    good = image_read(p->path[i], &image, err);
    if (!good) break;
    float *scratch = malloc((size_t)augment_scratch(image.height, image.width, p->size) * sizeof *scratch);
    good = scratch || fail(err, "%s: no memory to resize it", p->path[i]);
    if (good) augment_eval(resize, p->size, image.rgb, image.height, image.width, view, scratch);
    if (good) picture_bytes(view, p->size, p->seen + (size_t)i * pixels);
    free(scratch);
    image_free(&image);
  }
  free(view);
  return good;
}

/* ---- what is said of it ------------------------------------------------------------------------------------------------------------- */

/* "RUN" for "RUN/backbone.safetensors": the last part says nothing, and the column is narrow. */
static void name_network(const char *weights, char *name, size_t size) {
  static const char end[] = "/backbone.safetensors";
  size_t length = strlen(weights), tail = sizeof end - 1;
  if (length > tail && !strcmp(weights + length - tail, end)) length -= tail;
  snprintf(name, size, "%.*s", (int)length, weights);
}

static bool draw(const struct saliency *v, const struct page *p, const struct dataset *data, struct error *err) {
  struct saliency_row *row = calloc((size_t)p->rows, sizeof *row);
  struct saliency_column column[NETWORKS];
  char name[NETWORKS][OPTION_TEXT_SIZE];
  if (!row) return fail(err, "show saliency: no memory");
  for (int k = 0; k < p->networks; k++) {
    const struct network *n = &p->network[k];
    name_network(n->choice.weights, name[k], sizeof name[k]);
    column[k] = (struct saliency_column){name[k], n->across, n->down, n->spread};
  }
  for (ptrdiff_t i = 0; i < p->rows; i++) {
    row[i] =
        (struct saliency_row){.name = p->path[i] + strlen(data->root) + 1, .seen = p->seen + i * p->size * p->size * 3, .size = p->size};
    for (int k = 0; k < p->networks; k++) row[i].share[k] = p->network[k].share + i * p->network[k].across * p->network[k].down;
  }
  bool good = picture_saliency(v->out, "What each region adds to the feature", column, p->networks, row, (int)p->rows, err);
  free(row);
  return good;
}

static void print_interval(struct mean m) {
  if (m.count < 2)
    printf("   no interval, of one image\n");
  else
    printf("   95 %% interval %.3f to %.3f   (%td images)\n", m.low, m.high, m.count);
}

/* The difference is that of each image, of which both networks make something: the spread between images is not in its interval. */
static void print(const struct saliency *v, const struct page *p, const struct dataset *data) {
  const struct network *first = &p->network[0], *second = &p->network[1];
  printf("%s: %td image%s of %s\n", v->out, p->rows, plural(p->rows), data->root);
  for (int k = 0; k < p->networks; k++) {
    const struct network *n = &p->network[k];
    printf("%s: %s, %s stem, input %d x %d, %d x %d regions\n", n->choice.weights, n->backbone.name, n->backbone.stem_name, p->size,
           p->size, n->across, n->down);
    printf("  effective regions %7.3f of %d", n->spread.value, n->across * n->down);
    print_interval(n->spread);
  }
  if (p->networks < 2 || first->across * first->down != second->across * second->down) return;
  for (ptrdiff_t i = 0; i < p->images; i++) second->effective[i] -= first->effective[i];
  struct mean difference = mean_of(p->images, second->effective);
  printf("  second less first %+7.3f     ", difference.value);
  print_interval(difference);
}

static bool measure(const struct saliency *v, struct page *p, const struct dataset *data, struct error *err) {
  struct terminal terminal = {0};
  const int resize = v->resize ? (int)v->resize : features_resize(p->size);
  bool good = file_writable(v->out, err) && choose_images(v, data, p, err);
  for (int k = 0; good && k < p->networks; k++) {
    struct network *n = &p->network[k];
    struct extractor e;
    if (n->choice.batch > p->rows + p->images) n->choice.batch = p->rows + p->images;
    good = backbone_open(&n->choice, 0, 0, &n->backbone, &e, err);
    if (!good) break;
    good = look(p, n, &e, resize, &terminal, err);
    terminal_end(&terminal);
    extractor_free(&e);
  }
  good = good && see(p, resize, err) && draw(v, p, data, err);
  if (good) print(v, p, data);
  return good;
}

static bool run(int count, char *const *arguments, struct error *err) {
  struct saliency *v = malloc(sizeof *v);
  struct page p = {0};
  struct dataset data;
  bool good = v ? verb_options(&verb_saliency, count, arguments, v, err) : fail(err, "show saliency: no memory");
  good = good && settings(v, err) && verb_spares(&verb_saliency, v->out, v->data, err) && choose_networks(v, &p, err) &&
         verb_replaces(&verb_saliency, v->out, VERB_PNG, err);
  if (good && (good = dataset_open(&data, v->data, err))) {
    verb_say_left_out(&data);
    good = measure(v, &p, &data, err);
    dataset_close(&data);
  }
  page_free(&p);
  free(v);
  return good;
}

const struct verb verb_saliency = {
    .name = "show saliency",
    .summary = "draw which regions the feature of an image is made of",
    .usage = "run=RUN | weights=FILE data=DIR [beside=FILE] [out=FILE.png] [key=value...]",
    .about = "The share that each region of the last map has in the pooled feature of its image, drawn over the\n"
             "image, and the number of regions that the feature is made of: 1 where one region is all, n where\n"
             "n regions have equal shares. Of two networks, their difference on the same images. No label is\n"
             "needed. weights=random is what training starts from, in the form of the network beside it.",
    .example = "ediy scenes out=scenes images=64 val=16\n"
               "ediy train preset=demo lambda1=0 lambda2=0 data=scenes/train out=teacher epochs=1 warmup=0 batch=16\n"
               "ediy show saliency weights=random beside=teacher/backbone.safetensors data=scenes/val out=saliency.png",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .run = run,
};
