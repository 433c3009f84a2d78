/* Matching, losses and updates for outsiders: arguments are checked here, scratch comes from malloc, the arithmetic is that of op/. */
#include <math.h>
#include <stdlib.h>

#include "api/outside.h"
#include "base/size.h"
#include "op/lars.h"
#include "op/loss.h"
#include "op/match.h"

/* Doubles, or null with a message. */
static double *scratch_take(ptrdiff_t count, const char *what, struct error *err) {
  double *scratch = malloc((size_t)count * sizeof *scratch);
  if (!scratch) fail(err, "%s: out of memory for %.3f GB of scratch", what, (double)count * sizeof *scratch / 1e9);
  return scratch;
}

static bool check_shape(const char *what, ptrdiff_t images, ptrdiff_t regions, ptrdiff_t channels, struct error *err) {
  ptrdiff_t all, pairs;
  if (images < 1 || regions < 1 || channels < 1)
    return fail(err, "%s: %td images of %td regions of %td channels; all must be at least 1", what, images, regions, channels);
  /* Bytes of the arrays and of the scratch of op/: below 16 (images regions channels), and for matching pairs for each of 32 workers. */
  if (regions > INT32_MAX || !size_product(images, regions, channels, 16 * (ptrdiff_t)sizeof(double), &all) ||
      !size_product(regions, regions + 512, 32, sizeof(double), &pairs))
    return fail(err, "%s: %td images of %td regions of %td channels are too large", what, images, regions, channels);
  return true;
}

static bool check_pointers(const char *what, const void *a, const void *b, const void *c, struct error *err) {
  return (a && b && c) || fail(err, "%s: a pointer that is needed is null", what);
}

static bool check_index(const char *what, ptrdiff_t images, ptrdiff_t regions, const int32_t *index, struct error *err) {
  for (ptrdiff_t i = 0; i < images * regions; i++)
    if (index[i] < 0 || index[i] >= regions)
      return fail(err, "%s: image %td, region %td is matched to region %d; there are %td, counted from 0", what, i / regions, i % regions,
                  (int)index[i], regions);
  return true;
}

static bool check_finite(const char *what, const char *name, double x, struct error *err) {
  return isfinite(x) || fail(err, "%s: %s is %g; it must be a finite number", what, name, x);
}

/* ---- matching ----------------------------------------------------------------------------------------------------------------------- */

static bool check_match(const char *what, const struct match *g, ediy_similarity similarity, const real *from, const real *to,
                        const int32_t *index, struct error *err) {
  if (similarity != EDIY_COSINE && similarity != EDIY_DOT)
    return fail(err, "%s: similarity %d; it must be EDIY_COSINE or EDIY_DOT", what, (int)similarity);
  return check_shape(what, g->b, g->n, g->c, err) && check_pointers(what, from, to, index, err);
}

static enum similarity inner_similarity(ediy_similarity s) { return s == EDIY_DOT ? SIMILARITY_DOT : SIMILARITY_COSINE; }

EDIY_API bool REAL_NAME(ediy_match_diversity)(ptrdiff_t images, ptrdiff_t regions, ptrdiff_t channels, ediy_similarity similarity,
                                              const real *t, int32_t *d, ediy_error *err) {
  static const char what[] = "ediy_match_diversity";
  struct error inner = {.text = ""};
  const struct match g = {images, regions, channels, inner_similarity(similarity)};
  double *scratch = NULL;
  bool ok = check_match(what, &g, similarity, t, t, d, &inner) && (scratch = scratch_take(match_scratch(&g), what, &inner));
  if (ok) match_diversity(&g, t, d, scratch);
  free(scratch);
  return outside(ok, &inner, err);
}

EDIY_API bool REAL_NAME(ediy_match_invariance)(ptrdiff_t images, ptrdiff_t regions, ptrdiff_t channels, ediy_similarity similarity,
                                               const real *from, const real *to, int32_t *s, ediy_error *err) {
  static const char what[] = "ediy_match_invariance";
  struct error inner = {.text = ""};
  const struct match g = {images, regions, channels, inner_similarity(similarity)};
  double *scratch = NULL;
  bool ok = check_match(what, &g, similarity, from, to, s, &inner) && (scratch = scratch_take(match_scratch(&g), what, &inner));
  if (ok) match_invariance(&g, from, to, s, scratch);
  free(scratch);
  return outside(ok, &inner, err);
}

/* ---- losses ------------------------------------------------------------------------------------------------------------------------- */

EDIY_API bool REAL_NAME(ediy_loss_byol)(ptrdiff_t images, ptrdiff_t channels, const real *q, const real *z, double scale, double *value,
                                        real *dq, ediy_error *err) {
  static const char what[] = "ediy_loss_byol";
  struct error inner = {.text = ""};
  const struct loss g = {images, 1, channels};
  double *scratch = NULL;
  bool ok = check_shape(what, images, 1, channels, &inner) && check_pointers(what, q, z, value, &inner) &&
            check_finite(what, "scale", scale, &inner) && (scratch = scratch_take(loss_scratch(&g), what, &inner));
  if (ok) loss_byol(&g, q, z, scale, value, dq, scratch);
  free(scratch);
  return outside(ok, &inner, err);
}

EDIY_API bool REAL_NAME(ediy_loss_rdem)(ptrdiff_t images, ptrdiff_t regions, ptrdiff_t channels, const real *r, const int32_t *d,
                                        bool stop_match, double scale, double *value, real *dr, ediy_error *err) {
  static const char what[] = "ediy_loss_rdem";
  struct error inner = {.text = ""};
  const struct loss g = {images, regions, channels};
  double *scratch = NULL;
  bool ok = check_shape(what, images, regions, channels, &inner) && check_pointers(what, r, d, value, &inner) &&
            check_index(what, images, regions, d, &inner) && check_finite(what, "scale", scale, &inner) &&
            (scratch = scratch_take(loss_scratch(&g), what, &inner));
  if (ok) loss_rdem(&g, r, d, stop_match ? RDEM_STOPGRAD_MATCH : RDEM_STOPGRAD_NONE, scale, value, dr, scratch);
  free(scratch);
  return outside(ok, &inner, err);
}

EDIY_API bool REAL_NAME(ediy_loss_riem)(ptrdiff_t images, ptrdiff_t regions, ptrdiff_t channels, const real *p, const real *g_target,
                                        const int32_t *s, double scale, double *value, real *dp, ediy_error *err) {
  static const char what[] = "ediy_loss_riem";
  struct error inner = {.text = ""};
  const struct loss g = {images, regions, channels};
  double *scratch = NULL;
  bool ok = check_shape(what, images, regions, channels, &inner) && check_pointers(what, p, g_target, s, &inner) &&
            check_pointers(what, value, value, value, &inner) && check_index(what, images, regions, s, &inner) &&
            check_finite(what, "scale", scale, &inner) && (scratch = scratch_take(loss_scratch(&g), what, &inner));
  if (ok) loss_riem(&g, p, g_target, s, scale, value, dp, scratch);
  free(scratch);
  return outside(ok, &inner, err);
}

/* ---- updates ------------------------------------------------------------------------------------------------------------------------ */

static bool check_size(const char *what, ptrdiff_t size, struct error *err) {
  ptrdiff_t bytes;
  if (size < 1) return fail(err, "%s: %td numbers; there must be at least 1", what, size);
  return size_product(size, sizeof(double), 1, 1, &bytes) || fail(err, "%s: %td numbers are too large", what, size);
}

static bool check_variant(const char *what, ediy_lars_variant v, struct error *err) {
  return v == EDIY_LARS_BYOL || v == EDIY_LARS_OPENSELFSUP ||
         fail(err, "%s: variant %d; it must be EDIY_LARS_BYOL or EDIY_LARS_OPENSELFSUP", what, (int)v);
}

static bool check_rates(const char *what, const ediy_lars *o, double lr, struct error *err) {
  return check_finite(what, "lr", lr, err) && check_finite(what, "trust", o->trust, err) &&
         check_finite(what, "momentum", o->momentum, err) && check_finite(what, "weight_decay", o->weight_decay, err);
}

EDIY_API bool REAL_NAME(ediy_lars)(const ediy_lars *o, ptrdiff_t size, bool adapt, double lr, const real *g, real *w, real *m,
                                   ediy_error *err) {
  static const char what[] = "ediy_lars";
  struct error inner = {.text = ""};
  bool ok = check_size(what, size, &inner) && check_pointers(what, g, w, m, &inner) && check_pointers(what, o, o, o, &inner) &&
            check_variant(what, o->variant, &inner) && check_rates(what, o, lr, &inner);
  if (ok) {
    const struct lars given = {o->variant == EDIY_LARS_OPENSELFSUP ? LARS_OPENSELFSUP : LARS_BYOL, o->trust, o->momentum, o->weight_decay};
    lars_update(&given, size, adapt, lr, g, w, m);
  }
  return outside(ok, &inner, err);
}

EDIY_API bool REAL_NAME(ediy_ema)(ptrdiff_t size, double tau, const real *theta, real *xi, ediy_error *err) {
  static const char what[] = "ediy_ema";
  struct error inner = {.text = ""};
  bool ok = check_size(what, size, &inner) && check_pointers(what, theta, xi, xi, &inner);
  ok = ok && ((tau >= 0 && tau <= 1) || fail(&inner, "%s: tau is %g; it must be from 0 to 1", what, tau));
  if (ok) ema_update(size, tau, theta, xi);
  return outside(ok, &inner, err);
}
