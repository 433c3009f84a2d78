/* The sums of tensor_core.h beside those that GPUs were measured to give, in the files of the authors' repository
 * (north-numerical-computing/MATLAB-tensor-core on GitHub, folder model_validation).
 *
 *     measured FOLDER        each of the generations known here, in bf16 and tf32; exit status 1 when a sum differs
 *
 * A file has a line a sum: of a and b their products' operands as hexadecimal floats, of c and d a float in 32 binary digits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/ptx/tensor_core.h"

enum { MOST = 32, DIGITS = 33 };

static float float_of(unsigned long bits) {
  float x;
  unsigned word = (unsigned)bits;
  memcpy(&x, &word, sizeof x);
  return x;
}

static FILE *opened(const char *folder, const char *core, const char *type, char what, const char *of) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s/%s/%c_%s_%s.txt", folder, core, type, what, core, of);
  FILE *f = fopen(path, "r");
  if (!f) printf("%s: not there\n", path);
  return f;
}

/* The numbers of a line. */
static int line_of(FILE *f, int base, float *x) {
  char line[1 << 12], *at = line, *end;
  int n = 0;
  if (!fgets(line, sizeof line, f)) return 0;
  for (unsigned long bits = strtoul(at, &end, base); end > at && n < MOST; bits = strtoul(at = end, &end, base)) x[n++] = float_of(bits);
  return n;
}

/* Whether all are the same bits. */
static int compare(const char *folder, const char *core, const struct tensor_core *t, const char *type) {
  FILE *f[4];
  long sums = 0, wrong = 0;
  for (int i = 0; i < 4; i++) f[i] = opened(folder, core, type, "abcd"[i], i < 2 ? type : "fp32");
  if (f[0] && f[1] && f[2] && f[3])
    for (;; sums++) {
      float a[MOST], b[MOST], wide[MOST][TENSOR_COLUMNS] = {{0}}, c[TENSOR_COLUMNS] = {0}, d;
      int depth = line_of(f[0], 16, a);
      if (depth == 0 || line_of(f[1], 16, b) != depth || line_of(f[2], 2, c) != 1 || line_of(f[3], 2, &d) != 1) break;
      for (int k = 0; k < depth; k++) wide[k][0] = b[k];
      tensor_core_add(t, strcmp(type, "bf16") == 0 ? t->bf16_group : t->tf32_group, depth, a, (const float(*)[TENSOR_COLUMNS])wide, c);
      wrong += memcmp(&c[0], &d, sizeof d) != 0;
    }
  for (int i = 0; i < 4; i++)
    if (f[i]) fclose(f[i]);
  printf("%s %s: %ld sums, %ld differ\n", core, type, sums, wrong);
  return sums > 0 && wrong == 0;
}

int main(int arguments, char **argument) {
  static const char *const cores[][2] = {{"A100", "a100"}, {"H100", "h100"}, {"H200", "h200"}, {"B200", "b200"}};
  int same = 1;
  if (arguments != 2) return fprintf(stderr, "measured: name the folder model_validation\n"), 2;
  for (size_t i = 0; i < sizeof cores / sizeof cores[0]; i++)
    for (int type = 0; type < 2; type++) same &= compare(argument[1], cores[i][0], tensor_core_named(cores[i][1]), type ? "tf32" : "bf16");
  return !same;
}
