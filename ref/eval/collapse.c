#include "eval/collapse.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "op/unit.h"

/* Of a row; the normalised row is not stored, and so not rounded to real. */
static double inverse_length(ptrdiff_t d, const real *x) {
  double sum = 0;
  for (ptrdiff_t j = 0; j < d; j++) sum += (double)x[j] * (double)x[j];
  return unit_inverse(sum);
}

ptrdiff_t collapse_scratch(ptrdiff_t m, ptrdiff_t d) { return m + 2 * d; }

double collapse_std(ptrdiff_t m, ptrdiff_t d, const real *features, double *std, double *scratch) {
  assert(m >= 1 && d >= 1);
  double *inverse = scratch, *mean = scratch + m, *square = mean + d;
  memset(mean, 0, 2 * (size_t)d * sizeof *mean);
  for (ptrdiff_t i = 0; i < m; i++) {
    const real *x = features + i * d;
    inverse[i] = inverse_length(d, x);
    for (ptrdiff_t j = 0; j < d; j++) mean[j] += inverse[i] * (double)x[j] / (double)m;
  }
  /* A second pass for the squares: their difference from the mean's square would lose a small deviation to cancellation. */
  for (ptrdiff_t i = 0; i < m; i++)
    for (ptrdiff_t j = 0; j < d; j++) {
      double from_mean = inverse[i] * (double)features[i * d + j] - mean[j];
      square[j] += from_mean * from_mean;
    }
  double sum = 0;
  for (ptrdiff_t j = 0; j < d; j++) {
    double s = sqrt(square[j] / (double)m);
    if (std) std[j] = s;
    sum += s;
  }
  return sum / (double)d;
}

double collapse_cosine(ptrdiff_t b, ptrdiff_t n, ptrdiff_t c, const real *regions, double *image, double *scratch) {
  assert(b >= 1 && n >= 1 && c >= 1);
  double total = 0;
  for (ptrdiff_t i = 0; i < b; i++) {
    /* sum over i != j of u_i . u_j = |sum u_i|^2 - sum |u_i|^2: n c products instead of n^2 c. */
    double *sum = scratch, own = 0, all = 0;
    memset(sum, 0, (size_t)c * sizeof *sum);
    for (ptrdiff_t j = 0; j < n; j++) {
      const real *x = regions + (i * n + j) * c;
      double inverse = inverse_length(c, x);
      for (ptrdiff_t k = 0; k < c; k++) {
        double u = inverse * (double)x[k];
        sum[k] += u;
        own += u * u;
      }
    }
    for (ptrdiff_t k = 0; k < c; k++) all += sum[k] * sum[k];
    double mean = n > 1 ? (all - own) / ((double)n * (double)(n - 1)) : 0;
    if (image) image[i] = mean;
    total += mean;
  }
  return total / (double)b;
}

double collapse_entropy(ptrdiff_t b, ptrdiff_t n, const int32_t *index, double *image, double *scratch) {
  assert(b >= 1 && n >= 1);
  double total = 0;
  for (ptrdiff_t i = 0; i < b; i++) {
    double *times = scratch, entropy = 0;
    memset(times, 0, (size_t)n * sizeof *times);
    for (ptrdiff_t j = 0; j < n; j++) {
      assert(0 <= index[i * n + j] && index[i * n + j] < n);
      times[index[i * n + j]]++;
    }
    for (ptrdiff_t z = 0; z < n; z++)
      if (times[z] > 0) entropy += times[z] / (double)n * log((double)n / times[z]);
    if (image) image[i] = entropy;
    total += entropy;
  }
  return total / (double)b;
}
