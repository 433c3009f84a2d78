/* What training steps are made of, in whatever precision they then run: a configuration, the state they begin with, and for every
 * micro-batch the images and the draws of its views.
 *
 * The keys are those of `ediy train`, with defaults where that has none:
 *   data      none: images by formula. Image I of seed S has 5/4 as many rows and 3/2 as many columns as a view, and the bytes
 *             rint(127.5 + 72 x), x of formula_image(S, "source.I"); micro-batch k takes the images k b .. k b + b - 1, and 100
 *             optimiser steps are an epoch
 *   teacher   none, where one is needed: weights from the seed
 *   resume    a checkpoint; its configuration is the one the other keys are laid over
 */
#ifndef EDIY_ORACLE_STEP_SOURCE_H
#define EDIY_ORACLE_STEP_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "model/model.h"
#include "train/config.h"
#include "train/dataset.h"
#include "train/schedule.h"

enum step_weights {
  STEP_FRESH,  /* as a training run begins: the target is a copy of online, momentum is 0 */
  STEP_FORMULA /* by formula (formula.h), each network its own; momentum 1e-3 t: nothing is 0 or alike. For goldens */
};

enum { STEP_FORMULA_EPOCH = 100 }; /* optimiser steps in an epoch of images by formula */

struct step_source {
  struct config config;
  struct model_config model;
  struct schedule schedule;
  int64_t steps_per_epoch, first; /* first: number of the first step */
  struct model_f32 *start;        /* states and momentum of that step */

  struct dataset data; /* empty: by formula */
  int32_t *order;      /* of the epoch at hand */
  int64_t order_epoch;
  unsigned char *is_bad;
};

/* arguments: key=value of `ediy train`. first: number of the first step, where no checkpoint says it. On failure nothing is held. */
MUST_CHECK bool step_source_open(struct step_source *s, int count, char *const *arguments, enum step_weights weights, int64_t first,
                                 struct error *err);
void step_source_close(struct step_source *s);

/* Parameter i of a state as it is before the first step, in the order of layers inside. */
enum step_state { STEP_ONLINE, STEP_MOMENTUM, STEP_TARGET, STEP_TEACHER };
const float *step_source_state(const struct step_source *s, enum step_state state, int i);

/* Images and draws of micro-batch `number` of the run, counted from 0 over all steps: config_micro_batch of them; view[v][i] is of image i.
 * image[i]: image_free by the caller. */
MUST_CHECK bool step_source_batch(struct step_source *s, int64_t number, struct image *image, struct view *const view[2],
                                  struct error *err);

/* The numbers of a draw, in the order of the attributes of the augment case `pipeline`: top, left, height, width, size, antialias, flip,
 * jitter (0 none, 1 byol, 2 torchvision), order (four: 0 brightness, 1 contrast, 2 saturation, 3 hue), brightness, contrast, saturation,
 * hue, grey, sigma, taps, solarised. */
enum { STEP_DRAW_NUMBERS = 20 };
void step_draw_numbers(const struct view *v, double number[STEP_DRAW_NUMBERS]);

#endif
