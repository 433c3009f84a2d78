/* See tensor_core.h. */
#include "cuda/ptx/tensor_core.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>

/* Paper, Table of features: NVIDIA's by generation. */
static const struct tensor_core known[] = {
    {"a100", 8, 4, 1, 0x1p-132}, {"h100", 16, 8, 2, 0x1p-133}, {"h200", 16, 8, 2, 0x1p-133}, {"b200", 16, 8, 2, 0x1p-133}};

const struct tensor_core *tensor_core_named(const char *name) {
  for (const struct tensor_core &t : known)
    if (strcmp(t.name, name) == 0) return &t;
  return nullptr;
}

/* The power of two at x's exponent; of numbers below the normal floats theirs, of zero zero. */
static inline double power_of(float x) {
  double power;
  uint64_t bits;
  double wide = (double)x;
  memcpy(&bits, &wide, sizeof bits);
  bits &= 0x7ff0000000000000;
  memcpy(&power, &bits, sizeof power);
  return x == 0 ? 0 : std::max(power, 0x1p-126);
}

/* x, a float in double, cut off toward zero to one. */
static inline float cut_off(double x) {
  float nearest = (float)x;
  uint32_t bits;
  memcpy(&bits, &nearest, sizeof bits);
  bits -= fabs((double)nearest) > fabs(x); /* one back */
  memcpy(&nearest, &bits, sizeof bits);
  return nearest;
}

enum { MOST_GROUP = 16 };

void tensor_core_add(const struct tensor_core *t, int group, int depth, const float *a, const float (*b)[TENSOR_COLUMNS],
                     float c[TENSOR_COLUMNS]) {
  double bits = ldexp(1, -23 - t->extra);
  for (int first = 0; first < depth; first += group) {
    int terms = std::min(group, depth - first);
    double term[MOST_GROUP][TENSOR_COLUMNS], largest[TENSOR_COLUMNS], plain[TENSOR_COLUMNS], all = 0;
    for (int j = 0; j < TENSOR_COLUMNS; j++) plain[j] = (double)c[j], largest[j] = std::max(power_of(c[j]), t->least);
    for (int k = 0; k < terms; k++) {
      double x = (double)a[first + k], power = power_of(a[first + k]);
      for (int j = 0; j < TENSOR_COLUMNS; j++) {
        term[k][j] = x * (double)b[first + k][j]; /* exact */
        largest[j] = std::max(largest[j], power * power_of(b[first + k][j]));
        plain[j] += term[k][j];
      }
    }
    for (int j = 0; j < TENSOR_COLUMNS; j++) all += plain[j];
    if (!(fabs(all) <= 0x1p1000)) {
      for (int j = 0; j < TENSOR_COLUMNS; j++) c[j] = (float)plain[j];
      continue;
    }
    for (int j = 0; j < TENSOR_COLUMNS; j++) {
      double last = largest[j] * bits, lasts = 1 / last, sum = trunc((double)c[j] * lasts);
      for (int k = 0; k < terms; k++) sum += trunc(term[k][j] * lasts);
      c[j] = cut_off(sum * last);
    }
  }
}
