/* The three losses, one direction each, plainly: Eq. 2, 5 and 7 in float. For u = a / |a| and a constant v of length one,
 * d cos(a, v) / d a = (v - cos u) / |a|; below the guard |a| is a constant and the second part is missing. */
#include <math.h>

#include "oracle/mutants/plain.h"

static const float guard = 1e-12f;

static float as_tf32(float x) { return (float)number_round(&precision_classes[PRECISION_TF32].in, (double)x); }
static float as_bf16(float x) { return (float)number_round(&precision_classes[PRECISION_BF16].in, (double)x); }

/* How one loss treats its rows; filled from its faults. */
struct form {
  bool tf32, bf16, no_guard, guard_added, no_length /* of the constant row */, no_own_length, no_projection, guarded_projection;
  bool mean; /* the constant row is a mean of inputs, and no input itself */
  ptrdiff_t channels;
};

static float read(const struct form *f, float x) {
  x = plain_in(x);
  return f->tf32 ? as_tf32(x) : f->bf16 ? as_bf16(x) : x;
}

static float read_constant(const struct form *f, float x) { return f->mean ? x : read(f, x); }

static float inverse_length(const struct form *f, ptrdiff_t c, const float *a, bool constant) {
  float square;
  sum_begin(FAULT_NONE);
  for (ptrdiff_t k = 0; k < c; k++) {
    float x = constant ? read_constant(f, a[k]) : read(f, a[k]);
    sum_wide(x, x);
  }
  square = sum_total();
  if (f->no_guard) return 1 / sqrtf(square);
  if (f->guard_added) return 1 / sqrtf(square + 1e-6f);
  return 1 / sqrtf(square < guard ? guard : square);
}

static bool is_guarded(float inverse) { return inverse == 1 / sqrtf(guard); }

/* cos(a, v) for a row v that takes no gradient; adds factor * its gradient to da, unless null. */
static float cosine(const struct form *f, ptrdiff_t c, const float *a, const float *v, float factor, float *da) {
  float ia = inverse_length(f, c, a, false), iv = f->no_length ? 1 : inverse_length(f, c, v, true);
  sum_begin(FAULT_NONE);
  for (ptrdiff_t k = 0; k < f->channels; k++) sum_wide(read(f, a[k]), read_constant(f, v[k]));
  float cos = sum_total() * ia * iv;
  float along = is_guarded(ia) && !f->guarded_projection ? 0 : cos * ia, length = f->no_own_length ? 1 : ia;
  if (f->no_projection) along = 0;
  for (ptrdiff_t k = 0; da && k < c; k++)
    da[k] += factor * length * (read_constant(f, v[k]) * iv - along * read(f, a[k])); /* stored in float at any precision */
  return cos;
}

static void clear(float *to, ptrdiff_t n) {
  for (ptrdiff_t i = 0; to && i < n; i++) to[i] = 0;
}

/* ---- Eq. 2 --------------------------------------------------------------------------------------------------------------------------- */

void plain_loss_byol(const struct loss *g, const float *q, const float *z, double scale, double *value, float *dq, void *scratch) {
  (void)scratch;
  plain_begin(CALL_BYOL);
  struct form f = {.tf32 = FAULT(BYOL_TF32),
                   .bf16 = FAULT(BYOL_BF16),
                   .no_guard = FAULT(BYOL_NO_GUARD),
                   .guard_added = FAULT(BYOL_GUARD_ADDED),
                   .no_length = FAULT(BYOL_NO_Z_LENGTH),
                   .no_own_length = FAULT(BYOL_NO_Q_LENGTH),
                   .no_projection = FAULT(BYOL_NO_PROJECTION),
                   .guarded_projection = FAULT(BYOL_GUARDED_PROJECTION),
                   .channels = g->c - (FAULT(BYOL_LAST_CHANNEL) ? 1 : 0)};
  float factor = -2 * (float)scale / (float)(FAULT(BYOL_SUM) ? 1 : g->b);
  if (FAULT(BYOL_UNWEIGHTED)) factor = -2 / (float)g->b;
  if (FAULT(BYOL_DQ_HALF)) factor /= 2;
  if (FAULT(BYOL_SIGN)) factor = -factor;
  if (FAULT(BYOL_DQ_FACTOR)) factor *= 1.00001f;
  if (FAULT(BYOL_OVERWRITES)) clear(dq, g->b * g->c);
  if (scale == 0) dq = NULL;
  bool skipped = FAULT(BYOL_ONE_DIRECTION) && plain_calls(CALL_BYOL) % 2 == 0;
  for (ptrdiff_t b = 0; b < g->b; b++) {
    value[b] = 0;
    if (skipped) continue;
    float cos = cosine(&f, g->c, q + b * g->c, z + b * g->c, factor, dq ? dq + b * g->c : NULL);
    value[b] = (double)(FAULT(BYOL_HALF) ? 1 - cos : 2 - 2 * cos);
  }
}

/* ---- Eq. 5 --------------------------------------------------------------------------------------------------------------------------- */

/* One image: the mean cosine of region j and d[j], each term into both factors, or into the first alone. */
static float rdem_image(const struct form *f, const struct loss *g, const float *r, const int32_t *d, bool both, float factor, float *dr) {
  ptrdiff_t regions = g->n - (FAULT(RDEM_LAST_REGION) && g->n > 1 ? 1 : 0);
  float sum = 0;
  for (ptrdiff_t j = 0; j < regions; j++) {
    ptrdiff_t z = FAULT(RDEM_SHIFT) ? (d[j] + 1) % g->n : d[j];
    bool lost = false; /* a later region has the same partner */
    for (ptrdiff_t i = j + 1; i < g->n && FAULT(RDEM_RACE); i++) lost = lost || d[i] == d[j];
    const float *own = r + j * g->c, *other = r + z * g->c;
    sum += cosine(f, g->c, own, other, factor, dr ? dr + j * g->c : NULL);
    if (dr && both && !lost) cosine(f, g->c, other, own, factor, dr + z * g->c);
  }
  return FAULT(RDEM_SUM) ? sum : sum / (float)g->n;
}

void plain_loss_rdem(const struct loss *g, const float *r, const int32_t *d, enum rdem_stopgrad stopgrad, double scale, double *value,
                     float *dr, void *scratch) {
  (void)scratch;
  plain_begin(CALL_RDEM);
  struct form f = {
      .tf32 = FAULT(RDEM_TF32), .no_length = FAULT(RDEM_NO_LENGTH), .no_projection = FAULT(RDEM_NO_PROJECTION), .channels = g->c};
  float factor = (float)scale / (float)(FAULT(RDEM_SUM) ? g->b : g->b * g->n);
  bool both = stopgrad == RDEM_STOPGRAD_NONE;
  if (FAULT(RDEM_SIGN)) factor = -factor;
  if (FAULT(RDEM_STOPPED)) both = false;
  if (FAULT(RDEM_NOT_STOPPED)) both = true;
  if (FAULT(RDEM_OVERWRITES)) clear(dr, g->b * g->n * g->c);
  if (scale == 0) dr = NULL;
  bool skipped = FAULT(RDEM_ONE_DIRECTION) && plain_calls(CALL_RDEM) % 2 == 0;
  for (ptrdiff_t b = 0; b < g->b; b++) {
    ptrdiff_t at = b * g->n * g->c;
    const int32_t *matches = d + (FAULT(RDEM_IMAGE) ? 0 : b) * g->n;
    value[b] = skipped ? 0 : (double)(rdem_image(&f, g, r + at, matches, both, factor, dr ? dr + at : NULL));
  }
}

/* The mean over regions of one image's target features: the negative of another image. */
static void mean_region(const struct loss *g, const float *regions, float *mean) {
  struct form f = {.channels = g->c};
  for (ptrdiff_t k = 0; k < g->c; k++) {
    mean[k] = 0;
    for (ptrdiff_t j = 0; j < g->n; j++) {
      float x = plain_in(regions[j * g->c + k]);
      mean[k] += FAULT(INSTANCE_UNIT) ? x * inverse_length(&f, g->c, regions + j * g->c, false) : x;
    }
    mean[k] = FAULT(INSTANCE_FIRST) ? plain_in(regions[k]) : mean[k] / (float)g->n;
  }
}

void plain_loss_rdem_instance(const struct loss *g, const float *r, const float *g_target, const int32_t *neg, double scale, double *value,
                              float *dr, void *scratch) {
  plain_begin(CALL_INSTANCE);
  struct form f = {.no_length = FAULT(INSTANCE_NO_LENGTH), .mean = true, .channels = g->c};
  float factor = (float)scale / (float)(FAULT(INSTANCE_SUM) ? g->b : g->b * g->n), *mean = scratch;
  if (scale == 0) dr = NULL;
  for (ptrdiff_t b = 0; b < g->b; b++) {
    ptrdiff_t image = FAULT(INSTANCE_OWN) ? b : neg[b];
    float sum = 0;
    mean_region(g, g_target + image * g->n * g->c, mean);
    for (ptrdiff_t j = 0; j < g->n; j++) {
      ptrdiff_t at = (b * g->n + j) * g->c;
      sum += cosine(&f, g->c, r + at, mean, factor, dr ? dr + at : NULL);
    }
    value[b] = (double)(FAULT(INSTANCE_SUM) ? sum : sum / (float)g->n);
  }
}

/* ---- Eq. 7 --------------------------------------------------------------------------------------------------------------------------- */

void plain_loss_riem(const struct loss *g, const float *p, const float *g_target, const int32_t *s, double scale, double *value, float *dp,
                     void *scratch) {
  (void)scratch;
  plain_begin(CALL_RIEM);
  struct form f = {
      .bf16 = FAULT(RIEM_BF16), .no_length = FAULT(RIEM_NO_LENGTH), .no_projection = FAULT(RIEM_NO_PROJECTION), .channels = g->c};
  float factor = -(float)scale / (float)(FAULT(RIEM_SUM) ? g->b : g->b * g->n);
  ptrdiff_t regions = g->n - (FAULT(RIEM_LAST_REGION) && g->n > 1 ? 1 : 0);
  if (FAULT(RIEM_SIGN)) factor = -factor;
  if (FAULT(RIEM_HALF)) factor /= 2;
  if (FAULT(RIEM_OVERWRITES)) clear(dp, g->b * g->n * g->c);
  if (scale == 0) dp = NULL;
  bool skipped = FAULT(RIEM_ONE_DIRECTION) && plain_calls(CALL_RIEM) % 2 == 0;
  for (ptrdiff_t b = 0; b < g->b; b++) {
    float sum = 0;
    for (ptrdiff_t j = 0; j < regions && !skipped; j++) {
      ptrdiff_t at = b * g->n + j, z = s[at], image = FAULT(RIEM_IMAGE) ? 0 : b;
      if (FAULT(RIEM_SHIFT)) z = (z + 1) % g->n;
      if (FAULT(RIEM_OWN)) z = j;
      sum += cosine(&f, g->c, p + at * g->c, g_target + (image * g->n + z) * g->c, factor, dp ? dp + at * g->c : NULL);
    }
    float mean = FAULT(RIEM_SUM) ? sum : sum / (float)g->n;
    float loss = FAULT(RIEM_NO_ONE) ? -mean : 1 - mean;
    value[b] = skipped ? 0 : (double)(FAULT(RIEM_HALF) ? loss / 2 : loss);
  }
}
