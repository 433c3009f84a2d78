#include "oracle/mixed.h"

#include <string.h>

static bool is(const char *a, const char *b) { return strcmp(a, b) == 0; }
static bool begins(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

static bool is_product(const char *op) { return is(op, "conv") || is(op, "linear"); }

bool mixed_is_activation(const char *op, const char *name) {
  if (is(op, "match")) return begins(name, "in.t");
  if (is(op, "loss")) return begins(name, "in.") || begins(name, "grad_in.");
  if (!is_product(op) && !is(op, "norm") && !is(op, "relu") && !is(op, "maxpool") && !is(op, "avgpool")) return false;
  return is(name, "in.x") || is(name, "in.residual") || is(name, "in.before.x") || is(name, "grad_out.y") || is(name, "out.y") ||
         begins(name, "grad_in.");
}

bool mixed_is_stored(const char *op, const char *name) {
  return mixed_is_activation(op, name) || (is_product(op) && is(name, "param.weight"));
}

enum precision mixed_class(enum precision declared, const char *op, const char *result) {
  bool activation = mixed_is_activation(op, result);
  if (declared == PRECISION_TF32) return is_product(op) && !is(result, "grad_param.bias") ? PRECISION_TF32 : PRECISION_FP32;
  if (declared != PRECISION_BF16) return declared;
  if (is_product(op) && is(result, "grad_param.weight")) return PRECISION_FP32_RZ;
  return !activation ? PRECISION_FP32 : is_product(op) ? PRECISION_BF16 : PRECISION_BF16_OUT;
}

double mixed_stored(const struct tensor *t, ptrdiff_t i, double x, const void *context) {
  (void)i;
  return mixed_is_activation(context, t->name) ? number_round(&precision_classes[PRECISION_BF16].out, x) : x;
}
