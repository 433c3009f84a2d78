#include "oracle/formula.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "oracle/exact_sum.h"

uint64_t fnv1a64(const char *s) {
  uint64_t h = 0xcbf29ce484222325u;
  for (; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3u;
  return h;
}

uint64_t splitmix64(uint64_t x) {
  uint64_t z = x + 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

/* What a name and a seed begin with: bits of index i are splitmix64(base + i). */
static uint64_t formula_base(uint64_t seed, const char *name) { return seed ^ fnv1a64(name); }

static double unit_of(uint64_t bits) { return (double)(bits >> 40) * 0x1p-23 - 1.0; }

uint64_t formula_bits(uint64_t seed, const char *name, uint64_t i) { return splitmix64(formula_base(seed, name) + i); }

double formula_unit(uint64_t seed, const char *name, uint64_t i) { return unit_of(formula_bits(seed, name, i)); }

static double to_float(double x) { return (double)(float)x; }

static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s), m = strlen(end);
  return n >= m && strcmp(s + n - m, end) == 0;
}

bool formula_parameter(uint64_t seed, const char *name, int ndim, const ptrdiff_t *shape, double *values, struct error *err) {
  ptrdiff_t fan_in = 1;
  for (int d = 1; d < ndim; d++) fan_in *= shape[d];
  ptrdiff_t count = fan_in * (ndim > 0 ? shape[0] : 1);
  double centre = 0, amplitude;
  if (ndim == 4 || ndim == 2) {
    amplitude = to_float(sqrt(6.0 / (double)fan_in));
  } else if (ends_with(name, "bn3.weight")) {
    centre = 0.25, amplitude = 0.125;
  } else if (ends_with(name, "weight") || ends_with(name, "running_var")) {
    centre = 1, amplitude = 0.5;
  } else if (ends_with(name, "bias") || ends_with(name, "running_mean")) {
    amplitude = to_float(0.1);
  } else {
    return fail(err, "no formula for a parameter named %s with %d dimensions", name, ndim);
  }
  uint64_t base = formula_base(seed, name);
  for (ptrdiff_t i = 0; i < count; i++) { values[i] = to_float(centre + to_float(amplitude * unit_of(splitmix64(base + (uint64_t)i)))); }
  return true;
}

void formula_gradient(uint64_t seed, const char *name, ptrdiff_t count, double *values) {
  uint64_t base = formula_base(seed, name);
  for (ptrdiff_t i = 0; i < count; i++) values[i] = 2.0 * unit_of(splitmix64(base + (uint64_t)i));
}

void formula_image(uint64_t seed, const char *name, ptrdiff_t lead, ptrdiff_t h, ptrdiff_t w, double *values) {
  char key[TENSOR_MAX_NAME + 16];
  snprintf(key, sizeof key, "%s.image", name);
  uint64_t image = formula_base(seed, key);
  snprintf(key, sizeof key, "%s.block", name);
  uint64_t block = formula_base(seed, key);
  snprintf(key, sizeof key, "%s.pixel", name);
  uint64_t pixel = formula_base(seed, key);
  ptrdiff_t block_rows = size_ceil_div(h, 8), block_columns = size_ceil_div(w, 8);
  for (ptrdiff_t l = 0; l < lead; l++) {
    for (ptrdiff_t y = 0; y < h; y++) {
      for (ptrdiff_t x = 0; x < w; x++) {
        ptrdiff_t at_block = (l * block_rows + y / 8) * block_columns + x / 8, at_pixel = (l * h + y) * w + x;
        for (ptrdiff_t c = 0; c < 3; c++) {
          double u = unit_of(splitmix64(image + (uint64_t)(l * 3 + c)));
          double v = unit_of(splitmix64(block + (uint64_t)(at_block * 3 + c)));
          double noise = unit_of(splitmix64(pixel + (uint64_t)(at_pixel * 3 + c)));
          values[at_pixel * 3 + c] = to_float(u + 0.5 * v + 0.25 * noise);
        }
      }
    }
  }
}

void formula_digest(uint64_t seed, const char *name, const struct tensor *t, double digest[DIGEST_SIZE]) {
  struct exact_sum sum = {0}, sum_abs = {0}, squares = {0}, dot = {0};
  char key[TENSOR_MAX_NAME + 16];
  ptrdiff_t count = tensor_count(t);
  snprintf(key, sizeof key, "digest:%s", name);
  uint64_t base = formula_base(seed, key);
  for (ptrdiff_t i = 0; i < count; i++) {
    double x = tensor_at(t, i);
    exact_sum_add(&sum, x);
    exact_sum_add(&sum_abs, fabs(x));
    exact_sum_add(&squares, x * x);
    exact_sum_add(&dot, x * unit_of(splitmix64(base + (uint64_t)i)));
  }
  digest[DIGEST_SUM] = exact_sum_value(&sum);
  digest[DIGEST_SUM_ABS] = exact_sum_value(&sum_abs);
  digest[DIGEST_L2] = sqrt(exact_sum_value(&squares));
  digest[DIGEST_DOT] = exact_sum_value(&dot);
  snprintf(key, sizeof key, "sample:%s", name);
  for (uint64_t j = 0; j < DIGEST_SIZE - DIGEST_SAMPLES; j++) {
    digest[DIGEST_SAMPLES + j] = tensor_at(t, (ptrdiff_t)(formula_bits(seed, key, j) % (uint64_t)count));
  }
}
