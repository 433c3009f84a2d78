/* What `oracle case make` can be asked for: its keys, random draws of them, and the command that asks for the same again. */
#include <stdio.h>
#include <string.h>

#include "base/philox.h"
#include "oracle/make_case.h"

#define AT(field) offsetof(struct make_options, field)
const struct option make_keys[MAKE_KEYS] = {
    {"op", OPTION_CHOICE, AT(op), "conv", 0, 0,
     "conv | linear | norm | relu | maxpool | avgpool | match | loss | lars | ema | random | schedule | augment", "operation"},
    {"out", OPTION_TEXT, AT(out), "", 0, 0, NULL, "file to write, safetensors"},
    {"fill", OPTION_CHOICE, AT(fill), "normal", 0, 0,
     "normal | int | tiny | sparse | onehot | offset | ties | constant | zeros | denormal | inf | wide", "what the inputs look like"},
    {"seed", OPTION_INT, AT(seed), "1", 0, 1e15, NULL, "of the numbers, and of everything with op=random"},
    {"n", OPTION_INT, AT(n), "2", 1, 1e6, NULL, "images"},
    {"h", OPTION_INT, AT(h), "8", 1, 1e6, NULL, "rows; match, loss: h w regions"},
    {"w", OPTION_INT, AT(w), "8", 1, 1e6, NULL, "columns"},
    {"c", OPTION_INT, AT(c), "16", 1, 1e6, NULL, "channels"},
    {"k", OPTION_INT, AT(k), "16", 1, 1e6, NULL, "conv: output channels; lars, ema: a weight of k x r x r x c"},
    {"r", OPTION_INT, AT(r), "3", 1, 1e3, NULL, "conv: rows and columns of the kernel"},
    {"stride", OPTION_INT, AT(stride), "1", 1, 1e3, NULL, "conv"},
    {"pad", OPTION_INT, AT(pad), "1", 0, 1e3, NULL, "conv: zeros on every side"},
    {"m", OPTION_INT, AT(m), "32", 1, 1e6, NULL, "linear: rows"},
    {"i", OPTION_INT, AT(i), "64", 1, 1e6, NULL, "linear: inputs"},
    {"o", OPTION_INT, AT(o), "48", 1, 1e6, NULL, "linear: outputs"},
    {"bias", OPTION_BOOL, AT(bias), "yes", 0, 0, NULL, "linear"},
    {"train", OPTION_BOOL, AT(train), "yes", 0, 0, NULL, "norm: batch statistics, not the running ones"},
    {"relu", OPTION_BOOL, AT(relu), "no", 0, 0, NULL, "norm: ReLU behind it"},
    {"residual", OPTION_BOOL, AT(residual), "no", 0, 0, NULL, "norm: something added before the ReLU"},
    {"eps", OPTION_REAL, AT(eps), "1e-5", 0, 1, NULL, "norm; rounded to float"},
    {"momentum", OPTION_REAL, AT(momentum), "0.1", 0, 1, NULL, "norm; rounded to float"},
    {"dot", OPTION_BOOL, AT(dot), "no", 0, 0, NULL, "match: dot products, not cosines"},
    {"lambda1", OPTION_REAL, AT(lambda1), "1", -1e6, 1e6, NULL, "loss: weight of R-DEM"},
    {"lambda2", OPTION_REAL, AT(lambda2), "1", -1e6, 1e6, NULL, "loss: weight of R-IEM"},
    {"lambda3", OPTION_REAL, AT(lambda3), "1", -1e6, 1e6, NULL, "loss: weight of BYOL"},
    {"openselfsup", OPTION_BOOL, AT(openselfsup), "no", 0, 0, NULL, "lars: that variant, not BYOL's"},
    {"lr", OPTION_REAL, AT(lr), "0.2", 0, 1e6, NULL, "lars; rounded to float, as those below"},
    {"trust", OPTION_REAL, AT(trust), "1e-3", 0, 1e6, NULL, "lars"},
    {"mu", OPTION_REAL, AT(mu), "0.9", 0, 1, NULL, "lars: momentum"},
    {"decay", OPTION_REAL, AT(decay), "1e-4", 0, 1e6, NULL, "lars: weight decay"},
    {"tau", OPTION_REAL, AT(tau), "0.99", 0, 1, NULL, "ema"},
    {"before", OPTION_BOOL, AT(before), "no", 0, 0, NULL, "gradients are added to what is there"},
    {"stopgrad", OPTION_BOOL, AT(stopgrad), "no", 0, 0, NULL, "loss: R-DEM's second factor is a constant"},
    {"instance", OPTION_BOOL, AT(instance), "no", 0, 0, NULL, "loss: R-DEM's negatives are other images"},
    {"steps", OPTION_INT, AT(steps), "1", 1, 8, NULL, "lars, ema: steps one after the other"},
    {"round", OPTION_CHOICE, AT(round), "no", 0, 0, "no | bf16 | tf32",
     "inputs are rounded to this format: a kernel that reads it is given them exactly"},
};

const char *make_keys_of(int op) {
  static const char *const keys[MAKE_OPS] = {
      [MAKE_CONV] = " fill n h w c k r stride pad before round",
      [MAKE_LINEAR] = " fill m i o bias before round",
      [MAKE_NORM] = " fill n h w c train relu residual eps momentum before round",
      [MAKE_RELU] = " fill n h w c round",
      [MAKE_MAXPOOL] = " fill n h w c round",
      [MAKE_AVGPOOL] = " fill n h w c before round",
      [MAKE_MATCH] = " fill n h w c dot round",
      [MAKE_LOSS] = " fill n h w c lambda1 lambda2 lambda3 before stopgrad instance round",
      [MAKE_LARS] = " fill k r c openselfsup lr trust mu decay steps round",
      [MAKE_EMA] = " fill k r c tau steps round",
      [MAKE_RANDOM] = "",
      [MAKE_SCHEDULE] = "",
      [MAKE_AUGMENT] = "",
  };
  return keys[op];
}

bool make_may_be_infinite(int op) {
  return op == MAKE_CONV || op == MAKE_LINEAR || op == MAKE_RELU || op == MAKE_MAXPOOL || op == MAKE_AVGPOOL;
}

/* LARS has gradients and no activations: make_case.c draws them without single ones, a large mean and copied rows. */
bool make_fill_tells(int op, int fill) {
  if (fill == FILL_NORMAL) return true;
  if (op == MAKE_SCHEDULE || op == MAKE_AUGMENT) return false;
  if (op == MAKE_LARS && (fill == FILL_ONEHOT || fill == FILL_OFFSET || fill == FILL_TIES)) return false;
  return fill != FILL_INF || make_may_be_infinite(op);
}

bool make_fill_fits(int op, int fill, enum precision p) {
  const bool half = p == PRECISION_TF32 || p == PRECISION_BF16 || p == PRECISION_FP16, small = p == PRECISION_FP16;
  if (half && (fill == FILL_DENORMAL || (fill == FILL_OFFSET && (op == MAKE_NORM || op == MAKE_LOSS)))) return false;
  return !(small && (fill == FILL_TINY || fill == FILL_WIDE || fill == FILL_ZEROS));
}

static bool is_among(const char *keys, const char *key) {
  size_t length = strlen(key);
  for (const char *at = keys; (at = strchr(at, ' ')); at++) {
    if (strncmp(at + 1, key, length) == 0 && (at[1 + length] == ' ' || !at[1 + length])) return true;
  }
  return false;
}

bool make_check(const struct make_options *o, int count, char *const *arguments, struct error *err) {
  const char *keys = make_keys_of(o->op);
  for (int i = 0; i < count; i++) {
    char key[OPTION_KEY_SIZE];
    snprintf(key, sizeof key, "%.*s", (int)strcspn(arguments[i], "="), arguments[i]);
    if (!is_among(keys, key) && !is_among(" op out seed", key))
      return fail(err, "%s: says nothing of op=%s, which is made by %s", key, make_op_name(o->op), keys[0] ? keys + 1 : "its seed alone");
  }
  if (o->op != MAKE_RANDOM && !make_fill_tells(o->op, o->fill))
    return fail(err, "fill=%s says nothing of op=%s: its numbers would be normal", make_fill_name(o->fill), make_op_name(o->op));
  return true;
}

void make_defaults(struct make_options *o) { options_default(make_keys, MAKE_KEYS, o); }

void make_command(const struct make_options *options, const char *file, char *text, size_t size) {
  struct make_options usual, asked = *options;
  const struct make_options *o = &asked;
  char value[OPTION_TEXT_SIZE];
  make_defaults(&usual);
  if (!make_fill_tells(o->op, o->fill)) asked.fill = FILL_NORMAL;
  size_t used = (size_t)snprintf(text, size, "oracle case make");
  for (int i = 0; i < MAKE_KEYS && used < size; i++) {
    char standard[OPTION_TEXT_SIZE];
    options_value(&make_keys[i], o, value, sizeof value);
    options_value(&make_keys[i], &usual, standard, sizeof standard);
    const char *key = make_keys[i].key;
    if (i > 0 && (strcmp(value, standard) == 0 || !(is_among(make_keys_of(o->op), key) || strcmp(key, "seed") == 0))) continue;
    used += (size_t)snprintf(text + used, size - used, " %s=%s", key, value);
  }
  if (used < size) snprintf(text + used, size - used, " out=%s", file);
}

/* ---- random -------------------------------------------------------------------------------------------------------------------------- */

static int64_t between(struct philox *g, int64_t least, int64_t most) { return least + philox_below(g, (uint32_t)(most - least + 1)); }

void make_draw(struct make_options *o) {
  static const int64_t kernels[] = {1, 3, 3, 5, 7};
  struct philox g = philox_stream((uint64_t)o->seed, PHILOX_TEST, 3, 0, 0);
  int64_t op = between(&g, 0, MAKE_RANDOM - 1); /* drawn in any case: what follows does not depend on it */
  if (o->op == MAKE_RANDOM) o->op = (int)op;
  o->fill = (int)between(&g, 0, FILL_OFFSET);
  if (o->op == MAKE_MATCH && (o->fill == FILL_SPARSE || o->fill == FILL_OFFSET)) o->fill = FILL_NORMAL; /* not decided in float */
  if (!make_fill_tells(o->op, o->fill)) o->fill = FILL_NORMAL;
  o->n = between(&g, 1, 4), o->h = between(&g, 3, 14), o->w = between(&g, 3, 14), o->c = between(&g, 1, 40);
  o->k = between(&g, 1, 40), o->r = kernels[between(&g, 0, 4)], o->stride = between(&g, 1, 2);
  o->pad = o->r / 2;
  o->m = between(&g, 1, 64), o->i = between(&g, 1, 300), o->o = between(&g, 1, 64);
  o->bias = between(&g, 0, 1), o->train = between(&g, 0, 3) > 0, o->relu = between(&g, 0, 1), o->residual = between(&g, 0, 1);
  o->dot = between(&g, 0, 1), o->openselfsup = between(&g, 0, 1);
}

void make_draw_more(struct make_options *o) {
  struct philox g = philox_stream((uint64_t)o->seed, PHILOX_TEST, 3, 1, 0);
  static const double decays[] = {1e-6, 1e-4, 1e-2}, taus[] = {0, 0.9, 0.99, 0.996, 1};
  o->before = between(&g, 0, 1), o->stopgrad = between(&g, 0, 3) == 0, o->instance = between(&g, 0, 3) == 0;
  o->steps = between(&g, 1, 3), o->decay = decays[between(&g, 0, 2)], o->tau = taus[between(&g, 0, 4)];
  static const double lambdas[] = {0, 0.5, 1, 1, 2};
  o->lambda1 = lambdas[between(&g, 0, 4)], o->lambda2 = lambdas[between(&g, 0, 4)], o->lambda3 = lambdas[between(&g, 0, 4)];
}

enum { LONGEST_SUM = 7 * 7 * 40 }; /* of a convolution of those sizes */

#define DRAWN(g, values) (values)[between(g, 0, (int64_t)(sizeof(values) / sizeof *(values)) - 1)]

void make_draw_settings(struct make_options *o) {
  static const double epsilons[] = {1e-5, 1e-3, 1e-2}, shares[] = {0.01, 0.3, 1}, rates[] = {0.05, 0.2, 1.6}, trusts[] = {1e-3, 0.02};
  static const double momenta[] = {0, 0.5, 0.9, 0.99}, decays[] = {0, 1e-6, 1e-2}, taus[] = {0, 0.9, 0.996, 1};
  struct philox g = philox_stream((uint64_t)o->seed, PHILOX_TEST, 3, 2, 0);
  int64_t side = o->h < o->w ? o->h : o->w;
  o->stride = between(&g, 1, 3);
  o->pad = between(&g, o->r > side ? (o->r - side + 1) / 2 : 0, o->r - 1);
  o->eps = DRAWN(&g, epsilons), o->momentum = DRAWN(&g, shares);
  o->lr = DRAWN(&g, rates), o->trust = DRAWN(&g, trusts), o->mu = DRAWN(&g, momenta), o->decay = DRAWN(&g, decays);
  o->tau = DRAWN(&g, taus);
  if (o->op == MAKE_LARS && o->fill == FILL_CONSTANT) o->decay = 0; /* with a gradient of zeros: nothing to divide by */
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

void make_draw_extreme(struct make_options *o, int turn) {
  struct philox g = philox_stream((uint64_t)o->seed, PHILOX_TEST, 3, 3, 0);
  int64_t *const activations[] = {&o->c, &o->w, &o->n, NULL}, *const conv[] = {&o->c, &o->k, &o->w, &o->n},
                 *const linear[] = {&o->i, &o->o, &o->m, NULL}, *const regions[] = {&o->w, &o->c, &o->n};
  int64_t *size = o->op == MAKE_CONV                          ? conv[turn % 4]
                  : o->op == MAKE_LINEAR                      ? linear[turn % 4]
                  : o->op == MAKE_MATCH || o->op == MAKE_LOSS ? regions[turn % 3]
                  : o->op == MAKE_LARS || o->op == MAKE_EMA   ? &o->k
                                                              : activations[turn % 4];
  if (!size) {
    o->m = o->n = o->h = o->w = 1;
    return;
  }
  *size = size == &o->i ? between(&g, 301, 1000) : between(&g, 129, size == &o->n ? 250 : 320);
  if (size == &o->m) o->bias = true; /* the gradient of a bias is a sum over the rows */
  if (size == &o->w) o->n = 1, o->h = least(o->h, 2);
  if (size == &o->n) o->h = o->w = 2;
  if (size == &o->c || size == &o->k) o->h = least(o->h, 7), o->w = least(o->w, 7);
  while (o->r > 1 && o->r * o->r * (o->c > o->k ? o->c : o->k) > LONGEST_SUM) o->r -= 2;
  o->pad = o->r / 2;
}

static double products(const struct make_options *o) {
  double pixels = (double)(o->n * o->h * o->w), c = (double)o->c;
  switch (o->op) {
  case MAKE_CONV: return pixels * c * (double)(o->k * o->r * o->r);
  case MAKE_LINEAR: return (double)(o->m * o->i) * (double)o->o;
  case MAKE_MATCH: return pixels * (double)(o->h * o->w) * c;
  case MAKE_LARS:
  case MAKE_EMA: return c * (double)(o->k * o->r * o->r);
  default: return pixels * c;
  }
}

void make_limit(struct make_options *o, double most) {
  while (products(o) > most) {
    int64_t *sizes[] = {&o->h, &o->w, &o->c, &o->k, &o->m, &o->i, &o->o}, **largest = &sizes[0];
    int from = o->op == MAKE_LINEAR ? 4 : 0, to = o->op == MAKE_LINEAR                                            ? 7
                                                  : o->op == MAKE_CONV || o->op == MAKE_LARS || o->op == MAKE_EMA ? 4
                                                                                                                  : 3;
    if (o->op == MAKE_LARS || o->op == MAKE_EMA) from = 2;
    largest = &sizes[from];
    for (int i = from; i < to; i++) {
      if (*sizes[i] > **largest) largest = &sizes[i];
    }
    if (**largest < 4) return;
    **largest = (**largest + 1) / 2;
  }
}
