/* The gauge of a convolution that declares Winograd's F(2x2, 3x3): the same algorithm with every sign taken as plus, on absolute values.
 *
 * Y = A^T [(G g G^T) * (B^T d B)] A computes a result from the whole 4x4 tile of the input and the whole kernel, of which much cancels. Its
 * errors are roundings of what does not cancel before the end: |A^T| [(|G| |g| |G^T|) * (|B^T| |d| |B|)] |A|, as for other fast algorithms
 * (Higham 2002, Accuracy and stability of numerical algorithms, ch. 23). A direct convolution declares nothing and is held to sum |x| |w|.
 */
#include <math.h>
#include <string.h>

#include "oracle/gauge.h"

static void absolute_weights(const double *w, ptrdiff_t step, double u[4][4]) {
  double t[4][3];
  for (int j = 0; j < 3; j++) {
    double a = fabs(w[j * step]), b = fabs(w[(3 + j) * step]), c = fabs(w[(6 + j) * step]);
    t[0][j] = a, t[1][j] = t[2][j] = (a + b + c) / 2, t[3][j] = c;
  }
  for (int i = 0; i < 4; i++) u[i][0] = t[i][0], u[i][1] = u[i][2] = (t[i][0] + t[i][1] + t[i][2]) / 2, u[i][3] = t[i][2];
}

static void absolute_tile(double d[4][4]) {
  double t[4][4];
  for (int j = 0; j < 4; j++) t[0][j] = d[0][j] + d[2][j], t[1][j] = t[2][j] = d[1][j] + d[2][j], t[3][j] = d[1][j] + d[3][j];
  for (int i = 0; i < 4; i++) d[i][0] = t[i][0] + t[i][2], d[i][1] = d[i][2] = t[i][1] + t[i][2], d[i][3] = t[i][1] + t[i][3];
}

/* Output (i, j) of the tile, i and j 0 or 1: rows 0..2 or 1..3, and columns. */
static double absolute_output(double m[4][4], int i, int j) {
  double sum = 0;
  for (int r = i; r < i + 3; r++)
    for (int s = j; s < j + 3; s++) sum += m[r][s];
  return sum;
}

bool gauge_winograd(struct case_run *g, struct case_run *to) {
  ptrdiff_t xs[4] = {-1, -1, -1, -1}, ws[4] = {-1, 3, 3, -1}, pad, stride;
  const double *x = run_input(g, DTYPE_F64, 4, xs, "in.x"), *w;
  const struct tensor *y = run_result(to, "out.y"), *weights = safetensors_find(&g->file->file, "param.weight");
  if (!case_integer(g->file, "stride", 1, PTRDIFF_MAX, &stride, g->err) || !case_integer(g->file, "pad", 0, PTRDIFF_MAX, &pad, g->err))
    return false;
  if (stride != 1 || !weights || weights->shape[1] != 3 || weights->shape[2] != 3 || !y) return x != NULL; /* no such convolution */
  if (!x || !(w = run_input(g, DTYPE_F64, 4, ws, "param.weight"))) return false;
  ptrdiff_t P = y->shape[1], Q = y->shape[2], K = ws[0], C = xs[3];
  double *out = y->data;
  for (ptrdiff_t n = 0; n < xs[0]; n++)
    for (ptrdiff_t p = 0; p < P; p += 2)
      for (ptrdiff_t q = 0; q < Q; q += 2)
        for (ptrdiff_t k = 0; k < K; k++) {
          double m[4][4] = {{0}}, d[4][4], u[4][4];
          for (ptrdiff_t c = 0; c < C; c++) {
            for (int i = 0; i < 16; i++) {
              ptrdiff_t h = p - pad + i / 4, v = q - pad + i % 4;
              d[i / 4][i % 4] = h < 0 || v < 0 || h >= xs[1] || v >= xs[2] ? 0 : fabs(x[((n * xs[1] + h) * xs[2] + v) * C + c]);
            }
            absolute_tile(d);
            absolute_weights(w + k * 9 * C + c, C, u);
            for (int i = 0; i < 16; i++) m[i / 4][i % 4] += d[i / 4][i % 4] * u[i / 4][i % 4];
          }
          for (int i = 0; i < 4; i++) {
            if (p + i / 2 < P && q + i % 2 < Q) out[((n * P + p + i / 2) * Q + q + i % 2) * K + k] = absolute_output(m, i / 2, i % 2);
          }
        }
  return true;
}
