/* What `ediy train` can be told: one struct, one table of keys (config.c), presets as text (presets.c).
 *
 *     struct config config;
 *     config_from_arguments(&config, argc, argv, err)     // preset=ediy-100 data=... out=... lr=0.5
 */
#ifndef EDIY_TRAIN_CONFIG_H
#define EDIY_TRAIN_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/options.h"
#include "image/augment.h"
#include "model/model.h"

enum { CONFIG_JITTER_BYOL, CONFIG_JITTER_TORCHVISION, CONFIG_JITTER_NONE };
enum { CONFIG_HEAD_NONE, CONFIG_HEAD_MLP };
enum { CONFIG_AUGMENT_AUTO, CONFIG_AUGMENT_CPU, CONFIG_AUGMENT_BACKEND };

/* The backbones: choices of an option, and their names (model/resnet.c) in the same order. */
#define BACKBONE_CHOICES "resnet18 | resnet34 | resnet50 | small"
extern const char *const backbone_names[];

/* Fields in the order of the table; each is the key of the comment. */
struct config {
  char preset[OPTION_TEXT_SIZE];  /* preset */
  char data[OPTION_TEXT_SIZE];    /* data */
  char out[OPTION_TEXT_SIZE];     /* out */
  char teacher[OPTION_TEXT_SIZE]; /* teacher: a weights file; "" for none */
  char resume[OPTION_TEXT_SIZE];  /* resume: no | auto | FILE */
  int64_t seed;

  int64_t epochs, warmup;    /* epochs, warmup: epochs */
  int64_t batch, accumulate; /* batch: images of one optimiser step; accumulate: micro-batches it is cut into */
  double lr, weight_decay, momentum, trust, tau0;
  int lars_variant; /* lars.variant: enum lars_variant */

  int backbone;               /* backbone: index into backbone_names */
  int stem;                   /* stem: enum stem */
  int64_t size;               /* size: pixels of a view */
  int64_t hidden, projection; /* projector.hidden, projector.out */
  int region_predictor;       /* region.predictor: CONFIG_HEAD_* */

  double lambda1, lambda2, lambda3;
  int sampler;       /* sampler: enum sampler */
  int rdem_negative; /* rdem.negative: enum negative */
  int rdem_stopgrad; /* rdem.stopgrad: enum rdem_stopgrad */
  int similarity;    /* match.similarity: enum similarity */
  int teacher_bn;    /* teacher.bn: 0 running, 1 batch */

  int jitter;      /* augment.jitter: CONFIG_JITTER_* */
  bool antialias;  /* augment.antialias */
  double area_min; /* augment.area: the smallest crop, share of the image */
  int augment_on;  /* augment.on: CONFIG_AUGMENT_* */

  int backend;                         /* backend: enum backend_choice */
  int precision;                       /* precision: enum backend_precision */
  int cuda_conv, cuda_gemm;            /* cuda.conv, cuda.gemm: BACKEND_CONV_CHOICES, BACKEND_GEMM_CHOICES */
  bool graph;                          /* cuda.graph */
  int64_t workers, threads;            /* workers: of the loader; threads: of the arithmetic, 0 for all processors */
  int64_t ahead, max_bad, cache;       /* data.ahead, data.max_bad, data.cache: MB */
  int64_t checkpoint_every, log_every; /* checkpoint.every: steps, 0 for once an epoch; log.every: steps */
  int64_t stop;                        /* stop: end cleanly after this step; 0: at the end of the last epoch */
};

extern const struct option config_options[];
extern const int config_option_count;

/* Defaults, then the preset (wherever preset=NAME or preset=FILE stands), then the other arguments in order; then config_check. */
MUST_CHECK bool config_from_arguments(struct config *c, int count, char *const *arguments, struct error *err);

/* What single keys cannot say: batch divisible by accumulate, a teacher where one is needed, ... A run that may go on from a checkpoint
 * (there is a config.txt in its folder, or resume names a file) is not asked for a teacher here. */
MUST_CHECK bool config_check(const struct config *c, struct error *err);

/* Fails where a teacher is needed and none is named. */
MUST_CHECK bool config_has_teacher(const struct config *c, struct error *err);

/* Sets the keys of a preset: the name of one of them, or a file of "key = value" lines (a name with a slash or a dot in it). */
MUST_CHECK bool config_preset(struct config *c, const char *name, struct error *err);

/* Presets by name, with a line about each and their text; preset_count of them. */
struct preset {
  const char *name, *about, *text;
};
extern const struct preset presets[];
extern const int preset_count;

/* Does resuming with `now` continue the run of `before` (the text stored in a checkpoint)? Every key that the result depends on must be
 * equal; where a run is, how it is watched and how many threads it has may change. A teacher need not be named again, but where one is
 * needed and named it must be the same. path names the checkpoint in the message, which names the key and both values. teacher (may be
 * null): OPTION_TEXT_SIZE characters, overwritten by that of the run. */
MUST_CHECK bool config_same_run(const struct config *now, const char *before, const char *path, char *teacher, struct error *err);

/* What the other rooms want to know. */
bool config_architecture(const struct config *c, struct architecture *arch);
bool config_needs_teacher(const struct config *c); /* regions are matched by one */
struct model_config config_model(const struct config *c);
struct augmentation config_augmentation(const struct config *c, int view);
int64_t config_micro_batch(const struct config *c);

#endif
