/* Convolution 3x3 with stride 1 as F(2x2, 3x3) (Lavin, Gray 2016): Y = A^T [(G g G^T) * (B^T d B)] A for each 4x4 tile of the input, the
 * products summed over channels before the last transform. In float; rounding errors of a tile reach all four of its outputs. */
#include "oracle/mutants/plain.h"

/* G g G^T of one 3x3 kernel. g: its taps, channels apart. */
static void transform_weights(const float *w, ptrdiff_t step, float u[4][4]) {
  float t[4][3];
  for (int j = 0; j < 3; j++) {
    float a = plain_in(w[j * step]), b = plain_in(w[(3 + j) * step]), c = plain_in(w[(6 + j) * step]);
    t[0][j] = a, t[1][j] = (a + b + c) / 2, t[2][j] = (a - b + c) / 2, t[3][j] = c;
  }
  for (int i = 0; i < 4; i++) {
    u[i][0] = t[i][0], u[i][1] = (t[i][0] + t[i][1] + t[i][2]) / 2, u[i][2] = (t[i][0] - t[i][1] + t[i][2]) / 2, u[i][3] = t[i][2];
  }
}

/* B^T d B of one tile and channel. */
static void transform_tile(float d[4][4]) {
  float t[4][4];
  for (int j = 0; j < 4; j++) {
    t[0][j] = d[0][j] - d[2][j], t[1][j] = d[1][j] + d[2][j], t[2][j] = d[2][j] - d[1][j], t[3][j] = d[1][j] - d[3][j];
  }
  for (int i = 0; i < 4; i++) {
    d[i][0] = t[i][0] - t[i][2], d[i][1] = t[i][1] + t[i][2], d[i][2] = t[i][2] - t[i][1], d[i][3] = t[i][1] - t[i][3];
  }
}

/* The tile whose outputs begin at (p, q), of channel c: x at (p - pad, q - pad), zeros outside. */
static void read_tile(const struct conv *g, const float *x, ptrdiff_t n, ptrdiff_t p, ptrdiff_t q, ptrdiff_t c, float d[4][4]) {
  for (int i = 0; i < 4; i++) {
    for (int j = 0; j < 4; j++) {
      ptrdiff_t h = p - g->pad + i, v = q - g->pad + j;
      d[i][j] = h < 0 || v < 0 || h >= g->h || v >= g->w ? 0 : plain_in(x[((n * g->h + h) * g->w + v) * g->c + c]);
    }
  }
  transform_tile(d);
}

static void write_tile(const struct conv *g, ptrdiff_t n, ptrdiff_t p, ptrdiff_t q, ptrdiff_t k, float m[4][4], float *y) {
  float t[2][4];
  for (int j = 0; j < 4; j++) t[0][j] = m[0][j] + m[1][j] + m[2][j], t[1][j] = m[1][j] - m[2][j] - m[3][j];
  for (int i = 0; i < 2; i++) {
    const float out[2] = {t[i][0] + t[i][1] + t[i][2], t[i][1] - t[i][2] - t[i][3]};
    for (int j = 0; j < 2; j++) {
      if (p + i < g->p && q + j < g->q) y[((n * g->p + p + i) * g->q + q + j) * g->k + k] = plain_out(out[j]);
    }
  }
}

void plain_conv_winograd(const struct conv *g, const float *x, const float *w, float *y) {
  for (ptrdiff_t n = 0; n < g->n; n++)
    for (ptrdiff_t p = 0; p < g->p; p += 2)
      for (ptrdiff_t q = 0; q < g->q; q += 2)
        for (ptrdiff_t k = 0; k < g->k; k++) {
          float m[4][4] = {{0}}, d[4][4], u[4][4];
          for (ptrdiff_t c = 0; c < g->c; c++) {
            read_tile(g, x, n, p, q, c, d);
            transform_weights(w + k * 9 * g->c + c, g->c, u);
            for (int i = 0; i < 4; i++)
              for (int j = 0; j < 4; j++) m[i][j] += d[i][j] * u[i][j];
          }
          write_tile(g, n, p, q, k, m, y);
        }
}
