/* oracle case make: golden cases from the reference in double. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "oracle/case.h"
#include "oracle/make_case.h"
#include "oracle/verb.h"

/* Whether nothing but an earlier case would be lost by writing there. */
static bool replaces_case(const char *path, struct error *err) {
  struct case_file there;
  struct error ignored;
  char first;
  if (file_start(path, &first, 1) <= 0) return true;
  if (!case_open(&there, path, &ignored))
    return fail(err, "case make: out=%s is there and is no case, and would be written over; choose another name", path);
  case_close(&there);
  return true;
}

static bool make(int count, char *const *arguments, struct make_options *o, struct error *err) {
  make_defaults(o);
  for (int i = 0; i < count; i++) {
    if (!strchr(arguments[i], '=')) {
      return fail(err, "case make: '%s' is not of the form key=value; usage: oracle case make %s", arguments[i], oracle_verb_make.usage);
    }
    if (!options_argument(make_keys, MAKE_KEYS, o, arguments[i], err)) return fail_within(err, "case make");
  }
  if (!make_check(o, count, arguments, err)) return fail_within(err, "case make");
  if (!o->out[0]) return fail(err, "case make: out= is missing; usage: oracle case make %s", oracle_verb_make.usage);
  if (!replaces_case(o->out, err)) return false;
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
             "begins with int_ is held to the exact bits by `oracle case FILE`. op=random draws operation, sizes and fill.\n"
             "round=bf16, round=tf32: inputs are numbers of that format, for kernels that read it and return floats.\n"
             "A case that is there is replaced, no other file.\n"
             "A key that says nothing of the operation is refused, and a fill that would make normal numbers of it.",
    .example = "oracle case make op=conv n=2 h=8 w=8 c=16 k=16 r=3 stride=2 pad=1 out=conv.safetensors\n"
               "oracle case make op=linear fill=int out=int_linear.safetensors\n"
               "oracle case make op=random seed=7 out=random.safetensors\n"
               "oracle case conv.safetensors int_linear.safetensors random.safetensors",
    .keys = make_keys,
    .key_count = MAKE_KEYS,
    .run = run,
};
