/* oracle case make: golden cases from the reference in double. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/make_case.h"
#include "oracle/verb.h"

#define AT(field) offsetof(struct make_options, field)
static const struct option keys[] = {
    {"op", OPTION_CHOICE, AT(op), "conv", 0, 0, "conv | linear | norm | relu | maxpool | avgpool | match | loss | lars | ema | random",
     "operation"},
    {"out", OPTION_TEXT, AT(out), "", 0, 0, NULL, "file to write, safetensors"},
    {"fill", OPTION_CHOICE, AT(fill), "normal", 0, 0, "normal | int | tiny | sparse | onehot | offset", "what the inputs look like"},
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
};
enum { KEYS = sizeof keys / sizeof keys[0] };

static bool make(int count, char *const *arguments, struct make_options *o, struct error *err) {
  options_default(keys, KEYS, o);
  for (int i = 0; i < count; i++) {
    if (!strchr(arguments[i], '=')) {
      return fail(err, "case make: '%s' is not of the form key=value; usage: oracle case make %s", arguments[i], oracle_verb_make.usage);
    }
    if (!options_argument(keys, KEYS, o, arguments[i], err)) return fail_within(err, "case make");
  }
  if (!o->out[0]) return fail(err, "case make: out= is missing; usage: oracle case make %s", oracle_verb_make.usage);
  if (o->op == MAKE_RANDOM) make_draw(o);
  return make_case(o, err);
}

static enum oracle_exit run(int count, char *const *arguments, struct error *err) {
  struct make_options *o = calloc(1, sizeof *o);
  enum oracle_exit code = ORACLE_BAD_INPUT;
  if (!o) return fail(err, "case make: out of memory"), code;
  if (make(count, arguments, o, err)) {
    printf("%s: written\n", o->out);
    code = ORACLE_PASS;
  }
  free(o);
  return code;
}

const struct oracle_verb oracle_verb_make = {
    .name = "case make",
    .summary = "write a golden case, computed by the reference in double",
    .usage = "op=NAME out=FILE [key=value...]",
    .about = "Inputs are drawn from the seed and exact in float; results are those of the reference in double, and what its\n"
             "float build is off by stands in the metadata. Fills: int (whole numbers, -3 to 3: sums are exact), tiny (1e-4),\n"
             "sparse (nine zeros in ten), onehot (a single 1), offset (mean 100, deviation 0.01). A file whose name\n"
             "begins with int_ is held to the exact bits by `oracle case FILE`. op=random draws operation, sizes and fill.",
    .example = "oracle case make op=conv n=2 h=8 w=8 c=16 k=16 r=3 stride=2 pad=1 out=conv.safetensors\n"
               "oracle case make op=linear fill=int out=int_linear.safetensors\n"
               "oracle case make op=random seed=7 out=random.safetensors\n"
               "oracle case conv.safetensors int_linear.safetensors random.safetensors",
    .keys = keys,
    .key_count = KEYS,
    .run = run,
};
