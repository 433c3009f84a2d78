/* real is float here. */
#include "oracle/step_source.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/exchange.h"
#include "oracle/formula.h"
#include "train/checkpoint.h"
#include "train/loader.h"

/* ---- configuration ------------------------------------------------------------------------------------------------------------------ */

static const char *argument(int count, char *const *arguments, const char *key) {
  size_t length = strlen(key);
  const char *value = NULL;
  for (int i = 0; i < count; i++)
    if (strncmp(arguments[i], key, length) == 0 && arguments[i][length] == '=') value = arguments[i] + length + 1;
  return value;
}

/* As config_from_arguments, over the configuration of a checkpoint (or null); what a dump does not need is not asked for. */
static bool read_config(struct config *c, const struct checkpoint *from, int count, char *const *arguments, struct error *err) {
  options_default(config_options, config_option_count, c);
  if (from && !options_parse(config_options, config_option_count, c, from->config, strlen(from->config), from->file.path, err))
    return false;
  const char *preset = argument(count, arguments, "preset");
  if (preset && !config_preset(c, preset, err)) return false;
  for (int i = 0; i < count; i++)
    if (!options_argument(config_options, config_option_count, c, arguments[i], err)) return false;
  static const char *const of_the_name[] = {"backend", "precision", "cuda.conv", "cuda.gemm"};
  for (size_t i = 0; i < sizeof of_the_name / sizeof *of_the_name; i++)
    if (argument(count, arguments, of_the_name[i]))
      return fail(err,
                  "%s: steps are computed by what the name of the backend says: oracle dump backend=cuda:bf16, oracle lockstep a=ref32 "
                  "b=cuda:tf32:libraries",
                  of_the_name[i]);
  struct config complete = *c;
  if (!*complete.data) strcpy(complete.data, "formula");
  if (!*complete.teacher) strcpy(complete.teacher, "seed");
  if (!*complete.out) strcpy(complete.out, "dump");
  return config_check(&complete, err);
}

/* ---- data --------------------------------------------------------------------------------------------------------------------------- */

static bool by_formula(const struct step_source *s) { return s->data.count == 0; }

static bool open_data(struct step_source *s, const struct checkpoint *from, struct error *err) {
  const struct config *c = &s->config;
  s->order_epoch = -1;
  s->steps_per_epoch = STEP_FORMULA_EPOCH;
  if (*c->data) {
    char fingerprint[65];
    if (!dataset_open(&s->data, c->data, err)) return false;
    dataset_fingerprint(&s->data, fingerprint);
    s->steps_per_epoch = s->data.count / c->batch;
    if (s->steps_per_epoch == 0)
      return fail(err, "%s: %td images do not fill one batch of %" PRId64 "; choose a smaller batch or more images", s->data.root,
                  s->data.count, c->batch);
    if (from && strcmp(from->data, fingerprint) != 0)
      return fail(err, "%s: was trained on another set of images than %s; give the same data, or data= for images by formula",
                  from->file.path, s->data.root);
    s->order = calloc((size_t)s->data.count, sizeof *s->order);
    s->is_bad = calloc((size_t)s->data.count, 1);
    if (!s->order || !s->is_bad) return fail(err, "%s: out of memory for the order of its images", s->data.root);
  }
  s->schedule = schedule_make(c->lr, c->batch, c->warmup, c->epochs, s->steps_per_epoch, c->tau0);
  return true;
}

/* ---- weights ------------------------------------------------------------------------------------------------------------------------ */

static bool load_teacher(struct step_source *s, struct error *err) {
  struct branch *t = &s->start->teacher;
  return weights_load(&t->net, s->config.teacher, NULL, false, t->state, err) || fail_within(err, "teacher");
}

/* state: laid out as that of the net; PREFIX NAME is what the formula is told. momentum: 1e-3 t in place of the values. */
static bool fill_by_formula(const struct net *net, uint64_t seed, const char *prefix, bool momentum, float *state, struct error *err) {
  for (int i = 0; i < net->parameters; i++) {
    const struct parameter *p = &net->parameter[i];
    char name[TENSOR_MAX_NAME];
    ptrdiff_t shape[4];
    int ndim = exchange_shape(p, shape);
    if (momentum && p->role == ROLE_STATISTIC) continue;
    double *x = malloc((size_t)p->size * sizeof *x);
    float *in_file = malloc((size_t)p->size * sizeof *in_file);
    bool ok = x && in_file;
    if (!ok) fail(err, "out of memory for %s", p->name);
    snprintf(name, sizeof name, "%s.%s", prefix, p->name);
    if (ok && momentum) formula_gradient(seed, name, p->size, x);
    if (ok && !momentum) ok = formula_parameter(seed, name, ndim, shape, x, err);
    for (ptrdiff_t k = 0; ok && k < p->size; k++) in_file[k] = (float)(momentum ? 0.5e-3 * x[k] : x[k]);
    if (ok) exchange_unpack(p, in_file, state + p->offset);
    free(x), free(in_file);
    if (!ok) return false;
  }
  return true;
}

static bool set_weights(struct step_source *s, const struct checkpoint *from, enum step_weights weights, struct error *err) {
  struct model_f32 *m = s->start;
  uint64_t seed = (uint64_t)s->config.seed;
  if (from) return checkpoint_load(from, m, err);
  bool ok = weights == STEP_FRESH
                ? model_initialise(m, seed, err)
                : fill_by_formula(&m->online.net, seed, "online", false, m->online.state, err) &&
                      fill_by_formula(&m->online.net, seed, "momentum", true, m->momentum, err) &&
                      fill_by_formula(&m->target.net, seed, "target", false, m->target.state, err) &&
                      (!m->teacher.state || fill_by_formula(&m->teacher.net, seed, "teacher", false, m->teacher.state, err));
  return ok && (!m->teacher.state || !*s->config.teacher || load_teacher(s, err));
}

/* ---- open and close ----------------------------------------------------------------------------------------------------------------- */

static bool open_source(struct step_source *s, const struct checkpoint *from, enum step_weights weights, struct error *err) {
  if (from && !config_same_run(&s->config, from->config, from->file.path, NULL, err)) return false;
  s->model = config_model(&s->config);
  if (!(s->start = calloc(1, sizeof *s->start))) return fail(err, "out of memory");
  if (!open_data(s, from, err) || !model_create(s->start, &s->model, backend_reference(), err) || !set_weights(s, from, weights, err))
    return false;
  return s->first < s->schedule.steps ||
         fail(err, "step %" PRId64 " is beyond the end of the run, which has %" PRId64 " steps", s->first, s->schedule.steps);
}

bool step_source_open(struct step_source *s, int count, char *const *arguments, enum step_weights weights, int64_t first,
                      struct error *err) {
  struct checkpoint from;
  const char *resume = argument(count, arguments, "resume");
  bool resumes = resume && strcmp(resume, "no") != 0;
  memset(s, 0, sizeof *s);
  s->first = first;
  if (resumes && !checkpoint_open(&from, resume, err)) return fail_within(err, "resume");
  if (resumes) s->first = from.step;
  bool ok = read_config(&s->config, resumes ? &from : NULL, count, arguments, err) && open_source(s, resumes ? &from : NULL, weights, err);
  if (resumes) checkpoint_close(&from);
  if (!ok) step_source_close(s);
  return ok;
}

void step_source_close(struct step_source *s) {
  if (s->start && s->start->memory) model_free(s->start);
  free(s->start);
  if (s->data.root) dataset_close(&s->data);
  free(s->order);
  free(s->is_bad);
  memset(s, 0, sizeof *s);
}

const float *step_source_state(const struct step_source *s, enum step_state state, int i) {
  const struct model_f32 *m = s->start;
  switch (state) {
  case STEP_ONLINE: return m->online.state + m->online.net.parameter[i].offset;
  case STEP_MOMENTUM: return m->momentum + m->online.net.parameter[i].offset;
  case STEP_TARGET: return m->target.state + m->target.net.parameter[i].offset;
  case STEP_TEACHER: break;
  }
  return m->teacher.state + m->teacher.net.parameter[i].offset;
}

/* ---- batches ------------------------------------------------------------------------------------------------------------------------ */

static bool formula_source(const struct step_source *s, int64_t i, struct image *image, struct error *err) {
  ptrdiff_t height = s->config.size * 5 / 4, width = s->config.size * 3 / 2, n = height * width * 3;
  char name[64];
  double *x = malloc((size_t)n * sizeof *x);
  *image = (struct image){.height = (int)height, .width = (int)width, .rgb = malloc((size_t)n)};
  bool ok = (x && image->rgb) || fail(err, "out of memory for an image of %td x %td pixels", height, width);
  snprintf(name, sizeof name, "source.%" PRId64, i);
  if (ok) formula_image((uint64_t)s->config.seed, name, 1, height, width, x);
  for (ptrdiff_t k = 0; ok && k < n; k++) image->rgb[k] = (uint8_t)rint(127.5 + 72 * x[k]);
  if (!ok) image_free(image);
  free(x);
  return ok;
}

/* Image `wanted`, or the next in the order of the data set that can be read, as the loader does. */
static bool read_source(struct step_source *s, ptrdiff_t wanted, struct image *image, struct error *err) {
  for (ptrdiff_t tried = 0; tried < s->data.count; tried++) {
    ptrdiff_t i = (wanted + tried) % s->data.count;
    if (s->is_bad[i]) continue;
    if (image_read(s->data.path[i], image, err)) return true;
    s->is_bad[i] = 1;
  }
  return fail(err, "%s: none of its %td images can be read", s->data.root, s->data.count);
}

bool step_source_batch(struct step_source *s, int64_t number, struct image *image, struct view *const view[2], struct error *err) {
  const struct config *c = &s->config;
  const ptrdiff_t b = config_micro_batch(c);
  const int64_t batches = by_formula(s) ? STEP_FORMULA_EPOCH * c->accumulate : (int64_t)loader_epoch_batches(&s->data, b, c->accumulate);
  const int64_t epoch = number / batches;
  if (!by_formula(s) && s->order_epoch != epoch) {
    loader_order(&s->data, (uint64_t)c->seed, (uint32_t)epoch, s->order);
    s->order_epoch = epoch;
  }
  for (ptrdiff_t i = 0; i < b; i++) {
    int64_t wanted = number % batches * b + i;
    if (!by_formula(s)) wanted = s->order[wanted];
    bool ok = by_formula(s) ? formula_source(s, wanted, &image[i], err) : read_source(s, wanted, &image[i], err);
    if (!ok) {
      while (i-- > 0) image_free(&image[i]);
      return false;
    }
    for (int v = 0; v < 2; v++) {
      struct augmentation a = config_augmentation(c, v);
      view[v][i] = augment_draw(&a, image[i].height, image[i].width, (uint64_t)c->seed, (uint32_t)epoch, (uint32_t)wanted, v);
    }
  }
  return true;
}

void step_draw_numbers(const struct view *v, double number[STEP_DRAW_NUMBERS]) {
  const double all[STEP_DRAW_NUMBERS] = {v->top,        v->left,     v->height,   v->width,    v->size,     v->antialias,  v->flip,
                                         v->form,       v->order[0], v->order[1], v->order[2], v->order[3], v->brightness, v->contrast,
                                         v->saturation, v->hue,      v->grey,     v->sigma,    v->taps,     v->solarise};
  memcpy(number, all, sizeof all);
}
