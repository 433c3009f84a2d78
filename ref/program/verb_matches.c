/* ediy show matches: which regions the teacher pairs (Eq. 4 and 6). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/plural.h"
#include "op/match.h"
#include "program/backbone.h"
#include "program/picture.h"
#include "program/run_folder.h"
#include "program/sample.h"
#include "program/verb.h"

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

/* The images of one picture: their views, what the teacher makes of them, and its matches. */
struct page {
  int rows;
  struct sample *sample;
  struct matches_row *row;
  float *views, *map[2];              /* one batch of views; both maps, rows x cells x channels */
  int32_t *diversity[2], *invariance; /* rows x cells */
};

static void page_free(struct page *p) {
  for (int i = 0; p->sample && i < p->rows; i++) sample_free(&p->sample[i]);
  free(p->sample);
  free(p->row);
  free(p->views);
  for (int k = 0; k < 2; k++) {
    free(p->map[k]);
    free(p->diversity[k]);
  }
  free(p->invariance);
}

/* Teacher and matches, as model_accumulate has them (model/step.c), for the whole page at once. */
static bool match_page(struct page *p, struct extractor *teacher, const struct config *config, struct error *err) {
  const struct value *map = &teacher->net.value[teacher->net.map];
  const struct net_run pass = extractor_pass(teacher);
  struct match g = {p->rows, map->h * map->w, map->c, (enum similarity)config->similarity};
  size_t view = (size_t)(config->size * config->size * 3), cells = (size_t)(g.b * g.n);
  double *scratch = malloc((size_t)match_scratch(&g) * sizeof *scratch);
  p->views = malloc((size_t)p->rows * view * sizeof *p->views);
  p->invariance = malloc(cells * sizeof *p->invariance);
  bool good = scratch && p->views && p->invariance;
  for (int k = 0; good && k < 2; k++) {
    p->map[k] = malloc((size_t)map->size * sizeof *p->map[k]);
    p->diversity[k] = malloc(cells * sizeof *p->diversity[k]);
    good = p->map[k] && p->diversity[k];
    if (!good) break;
    for (int i = 0; i < p->rows; i++) memcpy(p->views + (size_t)i * view, p->sample[i].view[k], view * sizeof(float));
    teacher->backend->upload(teacher->input, p->views, (size_t)p->rows * view * sizeof(float));
    net_forward(&pass, NET_EVAL, teacher->input);
    teacher->backend->download(p->map[k], net_value(&pass, teacher->net.map), (size_t)map->size * sizeof(float));
    match_diversity(&g, p->map[k], p->diversity[k], scratch);
  }
  if (good) match_invariance(&g, p->map[0], p->map[1], p->invariance, scratch);
  free(scratch);
  for (int i = 0; good && i < p->rows; i++) {
    ptrdiff_t first = i * g.n;
    p->row[i] = (struct matches_row){{p->sample[i].rgb[0], p->sample[i].rgb[1]},         (int)config->size,    (int)map->w, (int)map->h,
                                     {p->diversity[0] + first, p->diversity[1] + first}, p->invariance + first};
  }
  return good || fail(err, "show matches: no memory for %d images", p->rows);
}

static bool show(const struct matches *m, const struct dataset *data, const struct config *config, struct error *err) {
  struct backbone b;
  struct extractor teacher;
  struct page p = {.rows = (int)(m->rows < data->count ? m->rows : data->count)};
  struct backbone_choice choice = {.backbone = 1 + config->backbone, .stem = 1 + config->stem, .size = config->size, .batch = p.rows};
  memcpy(choice.weights, config->teacher, sizeof choice.weights);
  if (!backbone_open(&choice, 0, 0, &b, &teacher, err)) return false;
  p.sample = calloc((size_t)p.rows, sizeof *p.sample);
  p.row = calloc((size_t)p.rows, sizeof *p.row);
  bool good = (p.sample && p.row) || fail(err, "show matches: no memory");
  for (int i = 0; good && i < p.rows; i++)
    good = sample_read(&p.sample[i], data, sample_spread(i, p.rows, data->count), config, (uint64_t)m->seed, (uint32_t)m->epoch, err);
  good = good && match_page(&p, &teacher, config, err);
  char title[160];
  snprintf(title, sizeof title, "Regions matched by the teacher %.100s", config->teacher);
  good = good && picture_matches(m->out, title, p.row, p.rows, (int)m->regions, err);
  if (good) printf("%s: %d image%s of %s, %d x %d regions\n", m->out, p.rows, plural(p.rows), data->root, p.row[0].across, p.row[0].down);
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
              dataset_open(&data, config->data, err);
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
             "most similar region of the other view (R-IEM, Eq. 6), as the teacher's last feature map says.",
    .example = "ediy scenes out=scenes images=64 val=16\n"
               "ediy train preset=demo lambda1=0 lambda2=0 data=scenes/train out=teacher epochs=1 warmup=0 batch=16\n"
               "ediy show matches teacher=teacher/backbone.safetensors data=scenes/train out=matches.png",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .run = run,
};
