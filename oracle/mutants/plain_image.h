/* The augmentation, plainly, in float: beside the plain backend, since augmentation is no operation of a table. Images are height x width x
 * 3. */
#ifndef EDIY_ORACLE_MUTANTS_PLAIN_IMAGE_H
#define EDIY_ORACLE_MUTANTS_PLAIN_IMAGE_H

#include <stdint.h>

#include "image/augment.h"
#include "oracle/mutants/plain.h"
#include "oracle/run.h"

struct plain_source {
  const uint8_t *rgb;
  int height, width;
};

void plain_resize(const struct plain_source *s, int top, int left, int h, int w, int size_h, int size_w, bool antialias, bool clip,
                  float *y);

/* In place, as augment.h has them. */
void plain_flip(int height, int width, float *x);
void plain_jitter(enum jitter_form form, enum jitter_step step, float v, int pixels, float *x);
void plain_grey(int pixels, float *x);
MUST_CHECK bool plain_blur(double sigma, int taps, int height, int width, float *x);
void plain_solarise(int n, float *x);
void plain_clip(int n, float *x);
void plain_normalise(int pixels, float *x);

/* Cases of augmentation and of the schedules: leave results in the run, as the runners of oracle/twice/ do. */
MUST_CHECK bool plain_case_augment(struct case_run *run);
MUST_CHECK bool plain_case_schedule(struct case_run *run);

#endif
