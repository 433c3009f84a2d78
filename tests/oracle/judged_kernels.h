/* The operations that ediy_oracle.h judges, as kernels to be spoiled, and a judge that takes one. */
#ifndef EDIY_TESTS_ORACLE_JUDGED_KERNELS_H
#define EDIY_TESTS_ORACLE_JUDGED_KERNELS_H

#include "oracle/spoiled_kernels.h"

/* The operations, and the results that can be spoiled. */
static const struct {
  const char *name;
  ediy_oracle_kernel kernel;
  const char *result[7];
} all[] = {
    {"conv", {.conv_forward = conv_y, .conv_backward_data = conv_dx, .conv_backward_weights = conv_dw}, {"y", "dx", "dw"}},
    {"linear", {.linear_forward = linear_y, .linear_backward = linear_d}, {"y", "dx", "dw", "db"}},
    {"norm", {.norm_forward = norm_y, .norm_backward = norm_d}, {"y", "running_mean", "running_var", "dx", "dresidual", "dgamma", "dbeta"}},
    {"relu", {.relu_forward = relu_y, .relu_backward = relu_d}, {"y", "dx"}},
    {"maxpool", {.maxpool_forward = maxpool_y, .maxpool_backward = maxpool_d}, {"y", "dx"}},
    {"avgpool", {.avgpool_forward = avgpool_y, .avgpool_backward = avgpool_d}, {"y", "dx"}},
    {"byol", {.loss_byol = byol}, {"value", "gradient"}},
    {"rdem", {.loss_rdem = rdem}, {"value", "gradient"}},
    {"riem", {.loss_riem = riem}, {"value", "gradient"}},
    {"lars", {.lars = lars}, {"w", "m"}},
    {"ema", {.ema = ema}, {"xi"}},
};
enum { ALL = sizeof all / sizeof *all };

static const ediy_oracle_options few = {.cases = 12, .seed = 3};

/* Judges a kernel with this fault in this result; the verdict stays until the next call. */
static const ediy_oracle_verdict *judge(const ediy_oracle_kernel *kernel, enum fault fault, const char *at,
                                        const ediy_oracle_options *options, bool *hit) {
  static ediy_oracle_verdict v;
  struct spoiler s = {.fault = fault, .at = at};
  ediy_oracle_kernel k = *kernel;
  k.context = &s;
  ediy_oracle_status status = ediy_oracle_judge(&k, options, &v);
  assert_int_equal(status, v.status);
  assert_null(strchr(v.text, '\n'));
  free(s.first);
  if (hit) *hit = s.hit;
  return &v;
}

static void expect(ediy_oracle_status status, const char *words, const ediy_oracle_verdict *v) {
  if (v->status != status || !strstr(v->text, words))
    fail_msg("status %d, expected %d with \"%s\": %s", (int)v->status, (int)status, words, v->text);
}

#endif
