/* ediy show views: what the augmentation makes of images. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/plural.h"
#include "program/picture.h"
#include "program/run_folder.h"
#include "program/sample.h"
#include "program/verb.h"

struct views {
  char run[OPTION_TEXT_SIZE], data[OPTION_TEXT_SIZE], out[OPTION_TEXT_SIZE];
  int64_t rows, size, seed, epoch;
};

static const struct option keys[] = {
    {"data", OPTION_TEXT, offsetof(struct views, data), "", 0, 0, NULL, "folder of images (of the run, if one is given)"},
    {"run", OPTION_TEXT, offsetof(struct views, run), "", 0, 0, NULL, "training run whose augmentation and data to take"},
    {"out", OPTION_TEXT, offsetof(struct views, out), "views.png", 0, 0, NULL, "picture to write, PNG"},
    {"rows", OPTION_INT, offsetof(struct views, rows), "4", 1, 32, NULL, "images to show, spread over the data set"},
    {"size", OPTION_INT, offsetof(struct views, size), "0", 0, 2048, NULL, "side of a view, pixels; 0: as in the run, or 224"},
    {"seed", OPTION_INT, offsetof(struct views, seed), "1", 0, 9007199254740992.0, NULL, "of the draws; a run's seed shows what it saw"},
    {"epoch", OPTION_INT, offsetof(struct views, epoch), "0", 0, 1e9, NULL, "of the draws"},
};

static bool show(const struct views *v, const struct dataset *data, const struct config *config, struct error *err) {
  int rows = (int)(v->rows < data->count ? v->rows : data->count);
  struct sample *samples = calloc((size_t)rows, sizeof *samples);
  struct views_row *row = calloc((size_t)rows, sizeof *row);
  bool good = (samples && row) || fail(err, "show views: no memory");
  for (int i = 0; good && i < rows; i++) {
    ptrdiff_t index = sample_spread(i, rows, data->count);
    good = sample_read(&samples[i], data, index, config, (uint64_t)v->seed, (uint32_t)v->epoch, err);
    row[i] = (struct views_row){.name = data->path[index] + strlen(data->root) + 1,
                                .source = samples[i].source,
                                .draw = {samples[i].draw[0], samples[i].draw[1]},
                                .view = {samples[i].rgb[0], samples[i].rgb[1]},
                                .size = (int)config->size};
  }
  char title[160];
  snprintf(title, sizeof title, "Augmented views of %.90s, %" PRId64 " x %" PRId64, data->root, config->size, config->size);
  good = good && picture_views(v->out, title, row, rows, err);
  for (int i = 0; samples && i < rows; i++) sample_free(&samples[i]);
  free(samples);
  free(row);
  if (good) printf("%s: %d image%s of %s\n", v->out, rows, plural(rows), data->root);
  return good;
}

static bool run(int count, char *const *arguments, struct error *err) {
  struct views v;
  struct dataset data;
  struct config *config = malloc(sizeof *config);
  if (!config) return fail(err, "show views: no memory");
  bool good = verb_options(&verb_views, count, arguments, &v, err);
  options_default(config_options, config_option_count, config);
  good = good && (!v.run[0] || run_config(v.run, config, err));
  if (good && v.size) config->size = v.size;
  if (good && v.data[0]) memcpy(config->data, v.data, sizeof v.data);
  good = good && verb_require(&verb_views, "data", config->data, err) && verb_spares(&verb_views, v.out, config->data, err) &&
         verb_replaces(&verb_views, v.out, VERB_PNG, err) && dataset_open(&data, config->data, err);
  if (good) {
    good = show(&v, &data, config, err);
    dataset_close(&data);
  }
  free(config);
  return good;
}

const struct verb verb_views = {
    .name = "show views",
    .summary = "draw images with their two augmented views",
    .usage = "data=DIR | run=RUN [out=FILE.png] [key=value...]",
    .about = "Draws some images, the windows of their two crops, and both views as the networks get them\n"
             "(the normalisation by mean and standard deviation undone).",
    .example = "ediy scenes out=scenes images=64 val=16\n"
               "ediy show views data=scenes/train size=64 out=views.png",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .run = run,
};
