#include "train/config.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "train/backends.h"

const char *const backbone_names[] = {"resnet18", "resnet34", "resnet50", "small"};

/* Beyond every use; keeps products of sizes far from overflow. */
#define MANY 1e9

#define AT(field) offsetof(struct config, field)
const struct option config_options[] = {
    {"preset", OPTION_TEXT, AT(preset), "", 0, 0, NULL,
     "settings to start from: ediy-1000, ediy-300, ediy-100, byol-1000, byol-300, byol-100, tiny64, demo, sanity, or a file"},
    {"data", OPTION_TEXT, AT(data), "", 0, 0, NULL, "folder of images: flat, or one sub-folder a class"},
    {"out", OPTION_TEXT, AT(out), "", 0, 0, NULL, "folder of the run: log and checkpoints are written there"},
    {"teacher", OPTION_TEXT, AT(teacher), "", 0, 0, NULL,
     "weights of the frozen teacher: a checkpoint of a BYOL run, or torchvision's names; a run that goes on has its own"},
    {"resume", OPTION_TEXT, AT(resume), "auto", 0, 0, NULL, "no | auto (go on from the newest checkpoint in out, if any) | FILE"},
    {"seed", OPTION_INT, AT(seed), "1", 0, 0x1p53, NULL, "of weights, order, augmentation and samplers"},
    {"epochs", OPTION_INT, AT(epochs), "100", 1, 1e6, NULL, "passes over the data"},
    {"warmup", OPTION_INT, AT(warmup), "10", 0, 1e6, NULL, "epochs of linear warm-up from 0 (BYOL: 10)"},
    {"batch", OPTION_INT, AT(batch), "256", 2, MANY, NULL, "images of one optimiser step (BYOL: 4096)"},
    {"accumulate", OPTION_INT, AT(accumulate), "1", 1, MANY, NULL,
     "micro-batches a step is cut into; batch statistics are of one micro-batch"},
    {"lr", OPTION_REAL, AT(lr), "0.5", 0, MANY, NULL, "base learning rate; the peak is lr * batch / 256"},
    {"weight_decay", OPTION_REAL, AT(weight_decay), "1.5e-6", 0, 1, NULL, "of weights; biases and batch norm have none"},
    {"momentum", OPTION_REAL, AT(momentum), "0.9", 0, 1, NULL, "of LARS"},
    {"trust", OPTION_REAL, AT(trust), "0.001", 0, MANY, NULL, "trust coefficient of LARS"},
    {"lars.variant", OPTION_CHOICE, AT(lars_variant), "byol", 0, 0, "byol | openselfsup",
     "official BYOL, or the form of most PyTorch codes"},
    {"tau0", OPTION_REAL, AT(tau0), "0.996", 0, 1, NULL, "weight of the past in the moving average at step 0; rises to 1"},
    {"backbone", OPTION_CHOICE, AT(backbone), "resnet50", 0, 0, BACKBONE_CHOICES, "network; small is for tests and sanity runs"},
    {"stem", OPTION_CHOICE, AT(stem), "imagenet", 0, 0, "imagenet | cifar", "7x7/2 and max pool, or 3x3/1 for small images"},
    {"size", OPTION_INT, AT(size), "224", 8, 4096, NULL, "height and width of a view, pixels"},
    {"projector.hidden", OPTION_INT, AT(hidden), "4096", 1, 1e6, NULL, "hidden units of every head (BYOL: 4096)"},
    {"projector.out", OPTION_INT, AT(projection), "256", 1, 1e6, NULL, "outputs of every head (BYOL: 256)"},
    {"region.predictor", OPTION_CHOICE, AT(region_predictor), "none", 0, 0, "none | mlp",
     "what R-IEM reads: the local projection, or a prediction from it"},
    {"lambda1", OPTION_REAL, AT(lambda1), "1", 0, MANY, NULL, "weight of R-DEM (Eq. 3)"},
    {"lambda2", OPTION_REAL, AT(lambda2), "1", 0, MANY, NULL, "weight of R-IEM (Eq. 3)"},
    {"lambda3", OPTION_REAL, AT(lambda3), "1", 0, MANY, NULL, "weight of BYOL (Eq. 3); lambda1 = lambda2 = 0 is plain BYOL"},
    {"sampler", OPTION_CHOICE, AT(sampler), "teacher", 0, 0, "teacher | random", "who picks regions; random is R of Table 1"},
    {"rdem.negative", OPTION_CHOICE, AT(rdem_negative), "region", 0, 0, "region | instance",
     "negative of R-DEM; instance is R-INS of Table 1"},
    {"rdem.stopgrad", OPTION_CHOICE, AT(rdem_stopgrad), "none", 0, 0, "none | match", "whether R-DEM's second factor is a constant"},
    {"match.similarity", OPTION_CHOICE, AT(similarity), "cosine", 0, 0, "cosine | dot", "of the teacher's regions (Eq. 4, 6)"},
    {"teacher.bn", OPTION_CHOICE, AT(teacher_bn), "running", 0, 0, "running | batch", "statistics of the teacher's batch norms"},
    {"augment.jitter", OPTION_CHOICE, AT(jitter), "byol", 0, 0, "byol | torchvision | none", "form of the colour jitter"},
    {"augment.antialias", OPTION_BOOL, AT(antialias), "yes", 0, 0, NULL, "resize as Pillow (yes) or as the official code (no)"},
    {"augment.area", OPTION_REAL, AT(area_min), "0.08", 0.001, 1, NULL, "smallest crop, share of the image"},
    {"augment.on", OPTION_CHOICE, AT(augment_on), "auto", 0, 0, "auto | cpu | backend",
     "what computes views: workers, or the backend; auto: a backend that can. The bits are the same"},
    {"backend", OPTION_CHOICE, AT(backend), "reference", 0, 0, BACKEND_CHOICES,
     "what computes the steps: the processors, or a GPU (the first that CUDA_VISIBLE_DEVICES leaves)"},
    {"precision", OPTION_CHOICE, AT(precision), "fp32", 0, 0, PRECISION_CHOICES,
     "with backend=cuda, what products compute in; bf16 also stores activations so; weights are always float"},
    {"cuda.conv", OPTION_CHOICE, AT(cuda_conv), "own", 0, 0, BACKEND_CONV_CHOICES, "with backend=cuda, what computes convolutions"},
    {"cuda.gemm", OPTION_CHOICE, AT(cuda_gemm), "own", 0, 0, BACKEND_GEMM_CHOICES, "with backend=cuda, what computes linear layers"},
    {"cuda.graph", OPTION_BOOL, AT(graph), "yes", 0, 0, NULL, "whether a GPU repeats a step as one recorded graph"},
    {"workers", OPTION_INT, AT(workers), "2", 1, 1024, NULL, "threads that read and augment images"},
    {"threads", OPTION_INT, AT(threads), "0", 0, 1024, NULL,
     "threads of the arithmetic; 0: as many as OMP_NUM_THREADS says, or the processors that it may run on"},
    {"data.ahead", OPTION_INT, AT(ahead), "2", 1, 1024, NULL, "micro-batches prepared ahead"},
    {"data.max_bad", OPTION_INT, AT(max_bad), "10", 0, MANY, NULL, "unreadable images to pass over before the run stops"},
    {"data.cache", OPTION_INT, AT(cache), "1024", 0, 1e6, NULL, "decoded images kept in memory, MB"},
    {"checkpoint.every", OPTION_INT, AT(checkpoint_every), "0", 0, MANY, NULL, "steps between checkpoints; 0: one an epoch"},
    {"log.every", OPTION_INT, AT(log_every), "10", 1, MANY, NULL, "steps between lines of the log"},
    {"stop", OPTION_INT, AT(stop), "0", 0, MANY, NULL, "end after this step, with a checkpoint; 0: after the last epoch"},
};
#undef AT
const int config_option_count = sizeof config_options / sizeof config_options[0];

/* A run goes on the same with other values of these: where its files are, how it is watched, what computes it. (The data set has a
 * fingerprint in the checkpoint.) */
static bool is_free(const char *key) {
  static const char *const keys[] = {"preset",     "data",         "out",        "resume",           "backend",   "precision",
                                     "cuda.conv",  "cuda.gemm",    "cuda.graph", "augment.on",       "workers",   "threads",
                                     "data.ahead", "data.max_bad", "data.cache", "checkpoint.every", "log.every", "stop"};
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
    if (strcmp(key, keys[i]) == 0) return true;
  return false;
}

enum { PRESET_LIMIT = 1 << 20 }; /* bytes of a preset file: a thousand times what any needs */

bool config_preset(struct config *c, const char *name, struct error *err) {
  bool ok;
  if (strpbrk(name, "/.")) {
    char *text;
    size_t size;
    if (!file_read(name, PRESET_LIMIT, &text, &size, err)) return fail_within(err, "preset");
    ok = options_parse(config_options, config_option_count, c, text, size, name, err);
    free(text);
  } else {
    const struct preset *p = presets;
    while (p < presets + preset_count && strcmp(p->name, name) != 0) p++;
    if (p == presets + preset_count) {
      char known[512] = "";
      for (int i = 0; i < preset_count; i++) {
        size_t at = strlen(known);
        snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", presets[i].name);
      }
      return fail(err, "preset = %s: no such preset; there are %s, or give the path of a file", name, known);
    }
    ok = options_parse(config_options, config_option_count, c, p->text, strlen(p->text), p->name, err);
  }
  if (ok) snprintf(c->preset, sizeof c->preset, "%s", name);
  return ok;
}

bool config_from_arguments(struct config *c, int count, char *const *arguments, struct error *err) {
  static const char key[] = "preset=";
  options_default(config_options, config_option_count, c);
  for (int i = 0; i < count; i++)
    if (strncmp(arguments[i], key, sizeof key - 1) == 0 && !config_preset(c, arguments[i] + sizeof key - 1, err)) return false;
  for (int i = 0; i < count; i++)
    if (!options_argument(config_options, config_option_count, c, arguments[i], err)) return false;
  return config_check(c, err);
}

static bool has_regions(const struct config *c) { return c->lambda1 > 0 || c->lambda2 > 0; }

bool config_needs_teacher(const struct config *c) { return has_regions(c) && c->sampler == SAMPLER_TEACHER; }

bool config_has_teacher(const struct config *c, struct error *err) {
  return *c->teacher || !config_needs_teacher(c) ||
         fail(err,
              "regions are matched by a teacher, and none is given: give teacher=FILE (a checkpoint of a BYOL run: lambda1=0 lambda2=0 "
              "trains one), or sampler=random, or lambda1=0 lambda2=0");
}

/* From a checkpoint, which has the teacher's weights: whether there is one is looked at later. */
static bool may_go_on(const struct config *c) {
  char path[OPTION_TEXT_SIZE + 16];
  if (strcmp(c->resume, "no") == 0) return false;
  snprintf(path, sizeof path, "%s/config.txt", c->out);
  return strcmp(c->resume, "auto") != 0 || access(path, F_OK) == 0;
}

bool config_check(const struct config *c, struct error *err) {
  if (!*c->data) return fail(err, "data is not set: give data=FOLDER, a folder of images");
  if (!*c->out) return fail(err, "out is not set: give out=FOLDER, where log and checkpoints go");
  if (!*c->resume) return fail(err, "resume is empty: give resume=no, resume=auto or resume=FILE");
  if (c->batch % c->accumulate != 0)
    return fail(err, "batch = %lld cannot be cut into accumulate = %lld equal micro-batches; choose a divisor", (long long)c->batch,
                (long long)c->accumulate);
  if (c->batch / c->accumulate < 2)
    return fail(err,
                "batch = %lld in accumulate = %lld micro-batches leaves one image each, which has no batch statistics; choose at least 2",
                (long long)c->batch, (long long)c->accumulate);
  if (c->augment_on == CONFIG_AUGMENT_BACKEND && c->backend != BACKEND_CUDA)
    return fail(err, "augment.on = backend needs a backend that computes views: give backend=cuda, or augment.on=auto");
  if (!has_regions(c) && !(c->lambda3 > 0)) return fail(err, "lambda1 = lambda2 = lambda3 = 0 leaves nothing to train; set one of them");
  return may_go_on(c) || config_has_teacher(c, err);
}

bool config_same_run(const struct config *now, const char *before, const char *path, char *teacher, struct error *err) {
  struct config *then = malloc(sizeof *then);
  if (!then) return fail(err, "%s: out of memory", path);
  options_default(config_options, config_option_count, then);
  char name[OPTION_TEXT_SIZE];
  snprintf(name, sizeof name, "%s (its configuration)", path);
  bool ok = options_parse(config_options, config_option_count, then, before, strlen(before), name, err);
  for (int i = 0; ok && i < config_option_count; i++) {
    const struct option *o = &config_options[i];
    if (is_free(o->key)) continue;
    char a[OPTION_TEXT_SIZE], b[OPTION_TEXT_SIZE];
    options_value(o, then, a, sizeof a);
    options_value(o, now, b, sizeof b);
    if (strcmp(o->key, "teacher") == 0) {
      if (*now->teacher && config_needs_teacher(now) && strcmp(a, b) != 0)
        ok = fail(
            err,
            "%s: was trained with teacher = %s, this run has teacher = %s; leave teacher= out (the checkpoint has its weights), or give "
            "another out for a new run",
            path, a, b);
      else if (teacher)
        memcpy(teacher, then->teacher, sizeof then->teacher);
    } else if (strcmp(a, b) != 0) {
      ok = fail(err, "%s: was trained with %s = %s, this run has %s = %s; give the same value, or another out for a new run", path, o->key,
                a, o->key, b);
    }
  }
  free(then);
  return ok;
}

/* ---- for the other rooms ------------------------------------------------------------------------------------------------------------- */

int64_t config_micro_batch(const struct config *c) { return c->batch / c->accumulate; }

bool config_architecture(const struct config *c, struct architecture *arch) {
  if (!architecture_named_f32(backbone_names[c->backbone], arch)) return false;
  arch->stem = (enum stem)c->stem;
  arch->hidden = c->hidden, arch->out = c->projection;
  return true;
}

struct model_config config_model(const struct config *c) {
  struct model_config m = {
      .batch = config_micro_batch(c),
      .height = c->size,
      .width = c->size,
      .regions = has_regions(c),
      .region_predictor = c->region_predictor == CONFIG_HEAD_MLP,
      .teacher = config_needs_teacher(c),
      .teacher_batch = c->teacher_bn == 1,
      .lambda_rdem = c->lambda1,
      .lambda_riem = c->lambda2,
      .lambda_byol = c->lambda3,
      .stopgrad = (enum rdem_stopgrad)c->rdem_stopgrad,
      .negative = (enum negative)c->rdem_negative,
      .sampler = (enum sampler)c->sampler,
      .similarity = (enum similarity)c->similarity,
      .lars = {.variant = (enum lars_variant)c->lars_variant, .trust = c->trust, .momentum = c->momentum, .weight_decay = c->weight_decay}};
  config_architecture(c, &m.arch);
  return m;
}

struct augmentation config_augmentation(const struct config *c, int view) {
  static const enum jitter_form form[] = {
      [CONFIG_JITTER_BYOL] = JITTER_BYOL, [CONFIG_JITTER_TORCHVISION] = JITTER_TORCHVISION, [CONFIG_JITTER_NONE] = JITTER_NONE};
  struct augmentation a = augmentation_byol(view, (int)c->size);
  a.form = form[c->jitter];
  a.antialias = c->antialias;
  a.area_min = c->area_min;
  return a;
}
