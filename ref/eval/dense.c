#include "eval/dense.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "eval/softmax.h"

/* Where a pixel lies between two cells of a line: below + share (above - below). */
struct between {
  ptrdiff_t below, above;
  double share;
};

static struct between locate(ptrdiff_t i, ptrdiff_t in, ptrdiff_t out) {
  double s = fmax(((double)i + 0.5) * ((double)in / (double)out) - 0.5, 0);
  ptrdiff_t below = size_min((ptrdiff_t)s, in - 1);
  return (struct between){below, size_min(below + 1, in - 1), s - (double)below};
}

/* Row Y of the upsampled map before it is widened: w x classes. */
static void blend_rows(const struct dense_shape *g, const real *x, ptrdiff_t row, double *line) {
  struct between v = locate(row, g->h, g->height);
  ptrdiff_t n = g->w * g->classes;
  for (ptrdiff_t i = 0; i < n; i++) line[i] = (1 - v.share) * (double)x[v.below * n + i] + v.share * (double)x[v.above * n + i];
}

/* Pixel X of such a row: classes. */
static void blend_cells(const struct dense_shape *g, const double *line, ptrdiff_t column, real *pixel) {
  struct between u = locate(column, g->w, g->width);
  const double *below = line + u.below * g->classes, *above = line + u.above * g->classes;
  for (int k = 0; k < g->classes; k++) pixel[k] = (real)((1 - u.share) * below[k] + u.share * above[k]);
}

/* The adjoints of the two, adding. */
static void spread_pixel(const struct dense_shape *g, const real *dpixel, ptrdiff_t column, double *dline) {
  struct between u = locate(column, g->w, g->width);
  double *below = dline + u.below * g->classes, *above = dline + u.above * g->classes;
  for (int k = 0; k < g->classes; k++) below[k] += (1 - u.share) * (double)dpixel[k];
  for (int k = 0; k < g->classes; k++) above[k] += u.share * (double)dpixel[k];
}

static void spread_row(const struct dense_shape *g, const double *dline, ptrdiff_t row, double *dx) {
  struct between v = locate(row, g->h, g->height);
  ptrdiff_t n = g->w * g->classes;
  for (ptrdiff_t i = 0; i < n; i++) dx[v.below * n + i] += (1 - v.share) * dline[i];
  for (ptrdiff_t i = 0; i < n; i++) dx[v.above * n + i] += v.share * dline[i];
}

void dense_upsample(const struct dense_shape *g, const real *x, real *y) {
  for (ptrdiff_t row = 0; row < g->height; row++) {
    struct between v = locate(row, g->h, g->height);
    for (ptrdiff_t column = 0; column < g->width; column++) {
      struct between u = locate(column, g->w, g->width);
      for (int k = 0; k < g->classes; k++) {
        double corner[2][2]; /* [row][column] */
        for (int i = 0; i < 2; i++)
          for (int j = 0; j < 2; j++) corner[i][j] = (double)x[((i ? v.above : v.below) * g->w + (j ? u.above : u.below)) * g->classes + k];
        double left = (1 - v.share) * corner[0][0] + v.share * corner[1][0], right = (1 - v.share) * corner[0][1] + v.share * corner[1][1];
        y[(row * g->width + column) * g->classes + k] = (real)((1 - u.share) * left + u.share * right);
      }
    }
  }
}

/* Scratch: the sums dx, a row and its gradient, and a pixel of reals (which are no longer than doubles). */
ptrdiff_t dense_scratch(const struct dense_shape *g) { return (g->h * g->w + 2 * g->w + 1) * g->classes; }

struct scratch {
  double *dx, *line, *dline;
  real *pixel;
};
static struct scratch cut(const struct dense_shape *g, double *scratch) {
  ptrdiff_t cells = g->h * g->w * g->classes, line = g->w * g->classes;
  return (struct scratch){scratch, scratch + cells, scratch + cells + line, (real *)(scratch + cells + 2 * line)};
}

static void store(ptrdiff_t n, const double *from, real *to) {
  for (ptrdiff_t i = 0; i < n; i++) to[i] = (real)from[i];
}

void dense_upsample_backward(const struct dense_shape *g, const real *dy, real *dx, double *scratch) {
  struct scratch s = cut(g, scratch);
  ptrdiff_t cells = g->h * g->w * g->classes, line = g->w * g->classes;
  memset(s.dx, 0, (size_t)cells * sizeof *s.dx);
  for (ptrdiff_t row = 0; row < g->height; row++) {
    memset(s.dline, 0, (size_t)line * sizeof *s.dline);
    for (ptrdiff_t column = 0; column < g->width; column++) spread_pixel(g, dy + (row * g->width + column) * g->classes, column, s.dline);
    spread_row(g, s.dline, row, s.dx);
  }
  store(cells, s.dx, dx);
}

double dense_loss(const struct dense_shape *g, const real *logits, const uint8_t *label, double scale, real *dlogits, double *scratch) {
  struct scratch s = cut(g, scratch);
  ptrdiff_t cells = g->h * g->w * g->classes, line = g->w * g->classes;
  double loss = 0;
  memset(s.dx, 0, (size_t)cells * sizeof *s.dx);
  for (ptrdiff_t row = 0; row < g->height; row++) {
    blend_rows(g, logits, row, s.line);
    memset(s.dline, 0, (size_t)line * sizeof *s.dline);
    for (ptrdiff_t column = 0; column < g->width; column++) {
      int own = label[row * g->width + column];
      if (own == g->void_class) continue;
      blend_cells(g, s.line, column, s.pixel);
      loss += softmax_cross_entropy(g->classes, s.pixel, own, scale, dlogits ? s.pixel : NULL);
      if (dlogits) spread_pixel(g, s.pixel, column, s.dline);
    }
    spread_row(g, s.dline, row, s.dx);
  }
  if (dlogits) store(cells, s.dx, dlogits);
  return loss;
}

int64_t dense_count(const struct dense_shape *g, const uint8_t *label) {
  int64_t count = 0;
  for (ptrdiff_t i = 0; i < g->height * g->width; i++) count += label[i] != g->void_class;
  return count;
}

void dense_confusion_add(const struct dense_shape *g, const real *logits, const uint8_t *label, struct dense_confusion *confusion,
                         double *scratch) {
  assert(confusion->classes == g->classes);
  struct scratch s = cut(g, scratch);
  for (ptrdiff_t row = 0; row < g->height; row++) {
    blend_rows(g, logits, row, s.line);
    for (ptrdiff_t column = 0; column < g->width; column++) {
      int own = label[row * g->width + column], best = 0;
      if (own == g->void_class) continue;
      assert(own < g->classes);
      blend_cells(g, s.line, column, s.pixel);
      for (int k = 1; k < g->classes; k++)
        if (s.pixel[k] > s.pixel[best]) best = k;
      confusion->count[own * g->classes + best]++;
    }
  }
}

struct dense_score dense_confusion_score(const struct dense_confusion *confusion, double *iou) {
  struct dense_score score = {0};
  int64_t right = 0;
  for (int k = 0; k < confusion->classes; k++) {
    int64_t labelled = 0, predicted = 0, both = confusion->count[k * confusion->classes + k];
    for (int j = 0; j < confusion->classes; j++) {
      labelled += confusion->count[k * confusion->classes + j];
      predicted += confusion->count[j * confusion->classes + k];
    }
    int64_t either = labelled + predicted - both;
    if (iou) iou[k] = either > 0 ? (double)both / (double)either : -1;
    if (either > 0) score.mean_iou += (double)both / (double)either, score.classes_seen++;
    right += both, score.pixels += labelled;
  }
  if (score.classes_seen > 0) score.mean_iou /= score.classes_seen;
  if (score.pixels > 0) score.pixel_accuracy = (double)right / (double)score.pixels;
  return score;
}

bool dense_labels_fit(const struct dense_shape *g, ptrdiff_t count, const uint8_t *label, const char *what, struct error *err) {
  ptrdiff_t pixels = g->height * g->width;
  for (ptrdiff_t i = 0; i < count * pixels; i++)
    if (label[i] >= g->classes && label[i] != g->void_class)
      return fail(err, "dense evaluation: label %d at row %td, column %td of %s label map %td is neither in 0..%d nor the void class %d",
                  label[i], i % pixels / g->width, i % g->width, what, i / pixels, g->classes - 1, g->void_class);
  return true;
}
