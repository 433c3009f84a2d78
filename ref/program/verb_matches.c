/* ediy show matches: which regions the teacher pairs (Eq. 4 and 6). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/plural.h"
#include "base/size.h"
#include "program/backbone.h"
#include "program/pairs.h"
#include "program/picture.h"
#include "program/run_folder.h"
#include "program/sample.h"
#include "program/verb.h"

enum { BATCH_MOST = 64 }; /* images for the teacher's statistics, if they are of the batch: a step's memory without its backward pass */

struct matches {
  char run[OPTION_TEXT_SIZE], teacher[OPTION_TEXT_SIZE], data[OPTION_TEXT_SIZE], out[OPTION_TEXT_SIZE];
  int64_t rows, regions, seed, epoch;
};

static const struct option keys[] = {
    {"run", OPTION_TEXT, offsetof(struct matches, run), "", 0, 0, NULL, "E-DIY run whose teacher, data and augmentation to take"},
    {"teacher", OPTION_TEXT, offsetof(struct matches, teacher), "", 0, 0, NULL,
     "weights file of the teacher (of the run, if one is given)"},
    {"data", OPTION_TEXT, offsetof(struct matches, data), "", 0, 0, NULL, "folder of images (of the run, if one is given)"},
    {"out", OPTION_TEXT, offsetof(struct matches, out), "matches.png", 0, 0, NULL, "picture to write, PNG"},
    {"rows", OPTION_INT, offsetof(struct matches, rows), "3", 1, 16, NULL, "images to show, spread over the data set"},
    {"regions", OPTION_INT, offsetof(struct matches, regions), "5", 1, 7, NULL, "regions to follow in each view"},
    {"seed", OPTION_INT, offsetof(struct matches, seed), "1", 0, 9007199254740992.0, NULL, "of the augmentation"},
    {"epoch", OPTION_INT, offsetof(struct matches, epoch), "0", 0, 1e9, NULL, "of the augmentation"},
};

/* The micro-batch that the teacher sees, and the images of it that are drawn: all of them, unless its statistics are of the batch. */
struct page {
  int batch, rows;
  struct sample *sample; /* batch */
  float *view[2];        /* of all, one after the other */
  struct pairs pairs;
  struct matches_row *row;
};

static void page_free(struct page *p) {
  for (int i = 0; p->sample && i < p->batch; i++) sample_free(&p->sample[i]);
  free(p->sample);
  free(p->row);
  for (int k = 0; k < 2; k++) free(p->view[k]);
  pairs_free(&p->pairs);
}

static bool page_read(struct page *p, const struct matches *m, const struct dataset *data, const struct config *config, struct error *err) {
  size_t view = (size_t)(config->size * config->size * 3);
  p->sample = calloc((size_t)p->batch, sizeof *p->sample);
  p->row = calloc((size_t)p->rows, sizeof *p->row);
  for (int k = 0; k < 2; k++) p->view[k] = malloc((size_t)p->batch * view * sizeof *p->view[k]);
  if (!p->sample || !p->row || !p->view[0] || !p->view[1]) return fail(err, "show matches: no memory for %d images", p->batch);
  for (int i = 0; i < p->batch; i++) {
    ptrdiff_t index = sample_spread(i, p->batch, data->count);
    if (!sample_read(&p->sample[i], data, index, config, (uint64_t)m->seed, (uint32_t)m->epoch, err)) return false;
    for (int k = 0; k < 2; k++) memcpy(p->view[k] + (size_t)i * view, p->sample[i].view[k], view * sizeof(float));
  }
  return true;
}

static bool page_match(struct page *p, struct extractor *teacher, const struct config *config, struct error *err) {
  const float *const view[2] = {p->view[0], p->view[1]};
  if (!pairs_find(&p->pairs, teacher, config, view, err)) return fail_within(err, "show matches");
  for (int i = 0; i < p->rows; i++) {
    ptrdiff_t image = sample_spread(i, p->rows, p->batch), first = image * teacher->map_h * teacher->map_w;
    const struct sample *s = &p->sample[image];
    p->row[i] = (struct matches_row){.view = {s->rgb[0], s->rgb[1]},
                                     .size = (int)config->size,
                                     .across = (int)teacher->map_w,
                                     .down = (int)teacher->map_h,
                                     .diversity = {p->pairs.diversity[0] + first, p->pairs.diversity[1] + first},
                                     .invariance = p->pairs.invariance + first};
  }
  return true;
}

static bool show(const struct matches *m, const struct dataset *data, const struct config *config, struct error *err) {
  struct backbone b;
  struct extractor teacher;
  struct page p = {.rows = (int)(m->rows < data->count ? m->rows : data->count)};
  bool of_batch = config_model(config).teacher_batch;
  ptrdiff_t micro_batch = size_min(config_micro_batch(config), data->count);
  p.batch = of_batch ? (int)size_max(p.rows, size_min(micro_batch, BATCH_MOST)) : p.rows;
  struct backbone_choice choice = {.backbone = 1 + config->backbone, .stem = 1 + config->stem, .size = config->size, .batch = p.batch};
  memcpy(choice.weights, config->teacher, sizeof choice.weights);
  if (!backbone_open(&choice, 0, 0, &b, &teacher, err)) return false;
  char title[160];
  snprintf(title, sizeof title, "Regions matched by the teacher %.100s", config->teacher);
  bool good = page_read(&p, m, data, config, err) && page_match(&p, &teacher, config, err) &&
              picture_matches(m->out, title, p.row, p.rows, (int)m->regions, err);
  if (good) printf("%s: %d image%s of %s, %d x %d regions\n", m->out, p.rows, plural(p.rows), data->root, p.row[0].across, p.row[0].down);
  if (good && of_batch)
    printf("teacher.bn = batch: statistics of %d image%s; a micro-batch of training has %" PRId64 "\n", p.batch, plural(p.batch),
           config_micro_batch(config));
  page_free(&p);
  extractor_free(&teacher);
  return good;
}

/* A run's configuration, or that of the teacher's own training; then what the command line says. */
static bool settings(const struct matches *m, struct config *config, struct error *err) {
  bool found;
  options_default(config_options, config_option_count, config);
  if (m->run[0]) {
    if (!run_config(m->run, config, err)) return false;
  } else if (m->teacher[0]) {
    if (!weights_config(m->teacher, config, &found, err)) return false;
  }
  if (m->teacher[0]) memcpy(config->teacher, m->teacher, sizeof m->teacher);
  if (m->run[0] && !config->teacher[0])
    return fail(err, "show matches: run=%s has no teacher to match regions; give teacher=FILE, say teacher=%s/backbone.safetensors", m->run,
                m->run);
  if (m->data[0]) memcpy(config->data, m->data, sizeof m->data);
  return verb_require(&verb_matches, "teacher", config->teacher, err) && verb_require(&verb_matches, "data", config->data, err);
}

static bool run(int count, char *const *arguments, struct error *err) {
  struct matches m;
  struct dataset data;
  struct config *config = malloc(sizeof *config);
  if (!config) return fail(err, "show matches: no memory");
  bool good = verb_options(&verb_matches, count, arguments, &m, err) && settings(&m, config, err) &&
              verb_spares(&verb_matches, m.out, config->teacher, err) && verb_spares(&verb_matches, m.out, config->data, err) &&
              verb_replaces(&verb_matches, m.out, VERB_PNG, err) && dataset_open(&data, config->data, err);
  if (good) {
    good = show(&m, &data, config, err);
    dataset_close(&data);
  }
  free(config);
  return good;
}

const struct verb verb_matches = {
    .name = "show matches",
    .summary = "draw which regions the teacher matches",
    .usage = "run=RUN | teacher=FILE data=DIR [out=FILE.png] [key=value...]",
    .about = "For a few regions of each view: the most different region of the same view (R-DEM, Eq. 4) and the\n"
             "most similar region of the other view (R-IEM, Eq. 6), as the teacher's last feature map says.\n"
             "With teacher.bn=batch in the run, the teacher sees a micro-batch, of 64 images at most, and some of it is drawn.",
    .example = "ediy scenes out=scenes images=64 val=16\n"
               "ediy train preset=demo lambda1=0 lambda2=0 data=scenes/train out=teacher epochs=1 warmup=0 batch=16\n"
               "ediy show matches teacher=teacher/backbone.safetensors data=scenes/train out=matches.png",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .run = run,
};
