/* oracle gradcheck: the reference's gradients against central differences. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/gradcheck.h"
#include "oracle/make_case.h"
#include "oracle/verb.h"

struct gradcheck_keys {
  int64_t seed, runs;
  char op[OPTION_TEXT_SIZE];
};

#define AT(field) offsetof(struct gradcheck_keys, field)
static const struct option keys[] = {
    {"op", OPTION_TEXT, AT(op), "", 0, 0, NULL, "only this operation: conv, linear, norm, relu, maxpool, avgpool, loss"},
    {"runs", OPTION_INT, AT(runs), "8", 1, 1e6, NULL, "random cases for each operation, where no files are named"},
    {"seed", OPTION_INT, AT(seed), "1", 0, 1e15, NULL, "of the first case, and of the directions"},
};
enum { KEYS = sizeof keys / sizeof keys[0] };

struct tally {
  int checked, wrong, undecided;
  double closest; /* largest error / allowed of those that pass */
};

static bool check(const struct case_file *c, const char *name, uint64_t seed, struct tally *t, struct error *err) {
  struct gradcheck g[GRADCHECK_MOST];
  int count;
  if (!gradcheck_case(c, seed, g, &count, err)) return false;
  for (int i = 0; i < count; i++) {
    t->checked++;
    if (!g[i].pass) {
      t->wrong++;
      printf("%s: %s: %.12g along the direction, %.12g by differences: off by %.2g, allowed %.2g\n", name, g[i].gradient, g[i].by_gradient,
             g[i].by_difference, g[i].error, g[i].allowed);
    } else if (!g[i].decided) {
      t->undecided++;
    } else {
      t->closest = fmax(t->closest, g[i].error / g[i].allowed);
    }
  }
  return true;
}

static bool check_operation(int op, const struct gradcheck_keys *k, struct tally *t, struct error *err) {
  struct make_options *o = malloc(sizeof *o);
  struct made_case *made = malloc(sizeof *made);
  char command[1000];
  bool ok = (o && made) || fail(err, "out of memory");
  for (int i = 0; ok && i < k->runs; i++) {
    make_defaults(o);
    o->op = op, o->seed = k->seed + i;
    make_draw(o);
    make_draw_more(o);
    make_limit(o, 1 << 14);
    o->fill = FILL_NORMAL; /* hardly a number is near a kink */
    o->stopgrad = false;   /* no gradient of a function */
    make_command(o, "case.safetensors", command, sizeof command);
    ok = make_inputs(made, o, err);
    if (!ok) break;
    ok = check(&made->file, command, (uint64_t)(k->seed + i), t, err);
    made_case_free(made);
  }
  free(o);
  free(made);
  return ok;
}

static bool check_operations(const struct gradcheck_keys *k, struct tally *all, struct error *err) {
  static const int ops[] = {MAKE_CONV, MAKE_LINEAR, MAKE_NORM, MAKE_RELU, MAKE_MAXPOOL, MAKE_AVGPOOL, MAKE_LOSS};
  bool any = false, ok = true;
  for (size_t i = 0; ok && i < sizeof ops / sizeof *ops; i++) {
    struct tally t = {0};
    if (k->op[0] && strcmp(k->op, make_op_name(ops[i])) != 0) continue;
    any = true;
    ok = check_operation(ops[i], k, &t, err);
    printf("%-8s %4d gradients: %d wrong, %d not decided; closest to its limit at %.2g\n", make_op_name(ops[i]), t.checked, t.wrong,
           t.undecided, t.closest);
    all->checked += t.checked, all->wrong += t.wrong, all->undecided += t.undecided;
  }
  return ok &&
         (any || fail(err, "no gradients of an operation '%s' can be checked; conv, linear, norm, relu, maxpool, avgpool, loss", k->op));
}

static bool read_arguments(int count, char *const *arguments, struct gradcheck_keys *k, int *files, struct error *err) {
  options_default(keys, KEYS, k);
  *files = 0;
  for (int i = 0; i < count; i++) {
    const char *equals = strchr(arguments[i], '='), *slash = strchr(arguments[i], '/');
    bool option = equals && (!slash || equals < slash); /* ./a=b is a file */
    if (option && !options_argument(keys, KEYS, k, arguments[i], err)) return false;
    *files += !option;
  }
  return true;
}

static enum oracle_exit run(int count, char *const *arguments, struct error *err) {
  struct gradcheck_keys *k = calloc(1, sizeof *k);
  struct tally all = {0};
  int files;
  bool ok = (k || fail(err, "out of memory")) && read_arguments(count, arguments, k, &files, err);
  if (ok && files == 0) ok = check_operations(k, &all, err);
  for (int i = 0; ok && files > 0 && i < count; i++) {
    const char *equals = strchr(arguments[i], '='), *slash = strchr(arguments[i], '/');
    struct case_file c;
    if (equals && (!slash || equals < slash)) continue;
    if (!(ok = case_open(&c, arguments[i], err))) break;
    ok = check(&c, arguments[i], (uint64_t)k->seed, &all, err);
    case_close(&c);
  }
  free(k);
  if (!ok) return fail_within(err, "gradcheck"), ORACLE_BAD_INPUT;
  printf("%d gradients: %d wrong, %d not decided\n", all.checked, all.wrong, all.undecided);
  return all.wrong ? ORACLE_MISMATCH : all.checked == all.undecided ? ORACLE_VACUOUS : ORACLE_PASS;
}

const struct oracle_verb oracle_verb_gradcheck = {
    .name = "gradcheck",
    .summary = "hold the reference's gradients to central differences, in double",
    .usage = "[op=NAME] [runs=N] [seed=N]   or   FILE... [seed=N]",
    .about = "Along a random direction of each input, the sum of gradient times direction is compared with the difference of\n"
             "the results, whose own error is estimated from two steps. A difference that is known too badly is not decided.\n"
             "Files are cases whose operation has gradients; a ReLU or a maximum that sits on a kink may fail.\n"
             "Exit status: 0 pass, 1 mismatch, 2 usage or input, 3 nothing was decided.",
    .example = "oracle gradcheck op=conv runs=4\n"
               "oracle case make op=loss out=loss.safetensors\n"
               "oracle gradcheck loss.safetensors",
    .keys = keys,
    .key_count = KEYS,
    .run = run,
};
