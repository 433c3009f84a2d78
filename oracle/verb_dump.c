/* oracle dump: training steps into a golden dump. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plural.h"
#include "oracle/dump_steps.h"
#include "oracle/step_keys.h"
#include "oracle/verb.h"

struct dump_options {
  struct step_keys steps;
  int kind;
  bool states;
  int64_t drift;
  char out[OPTION_TEXT_SIZE], backend[OPTION_TEXT_SIZE];
  struct step_backend b; /* what `backend` names */
};

#define AT(field) offsetof(struct dump_options, field)
static const struct option keys[] = {
    {"out", OPTION_TEXT, AT(out), "", 0, 0, NULL, "folder of the dump; made, and may hold none"},
    {"kind", OPTION_CHOICE, AT(kind), "full", 0, 0, "full | digest", "every tensor, or a few hundred bytes about each"},
    {"backend", OPTION_TEXT, AT(backend), "ref32", 0, 0, NULL, "what computes the steps: ref32, ref64, plain, ..."},
    STEP_KEYS(AT(steps)),
    {"states", OPTION_BOOL, AT(states), "yes", 0, 0, NULL, "what was before the first step, too"},
    {"drift", OPTION_INT, AT(drift), "0", 0, 64, NULL, "runs with moved sums, to measure how far right ones are apart"},
};
enum { KEYS = sizeof keys / sizeof keys[0] };

static bool check(void *config, struct error *err) {
  struct dump_options *o = config;
  if (!o->out[0]) return fail(err, "out= is missing; usage: oracle dump %s", oracle_verb_dump.usage);
  return step_backend_named(o->backend, &o->b, err);
}

static bool dump(struct dump_options *o, struct step_source *source, struct error *err) {
  struct dump_steps_result r;
  const struct dump_steps_options run = {
      .steps = (int)o->steps.steps, .kind = o->kind == 1 ? DUMP_DIGEST : DUMP_FULL, .no_states = !o->states};
  if (!dump_steps(source, &o->b, &run, o->out, &r, err)) return false;
  if (o->drift > 0 && !dump_drift(source, o->out, (int)o->drift, err)) return false;
  printf("%s: %s dump of %d tensor%s, %.1f MB; %d step%s on %s in %.2f s; loss %.9g\n", o->out, o->kind == 1 ? "digest" : "full", r.tensors,
         plural(r.tensors), r.bytes / 1e6, (int)o->steps.steps, plural(o->steps.steps), o->b.name, r.seconds, r.last.total);
  return true;
}

static enum oracle_exit run(int count, char *const *arguments, struct error *err) {
  struct dump_options *o = calloc(1, sizeof *o);
  struct step_source *source = calloc(1, sizeof *source);
  enum oracle_exit code = ORACLE_BAD_INPUT;
  bool ok = (o && source) || fail(err, "out of memory");
  ok = ok && step_keys_read(keys, KEYS, o, &o->steps, count, arguments, check, source, err);
  if (ok) {
    int threads = omp_get_max_threads();
    if (source->config.threads > 0) omp_set_num_threads((int)source->config.threads);
    ok = dump(o, source, err);
    omp_set_num_threads(threads);
    step_source_close(source);
  }
  if (ok)
    code = ORACLE_PASS;
  else
    fail_within(err, "dump");
  free(o), free(source);
  return code;
}

const struct oracle_verb oracle_verb_dump = {
    .name = "dump",
    .summary = "write every tensor of training steps into a golden dump",
    .usage = "out=FOLDER [steps=K] [kind=full|digest] [backend=...] [drift=N] [any key of ediy train]",
    .about = "Runs K steps of E-DIY and writes all that happens: states, sources and draws of the views, the views,\n"
             "activations, matches, losses, gradients, LARS, moving averages. The keys of ediy train say what is run;\n"
             "without data= the images are by formula from the seed, without teacher= its weights are. resume=FILE\n"
             "goes on from a checkpoint, with its configuration. drift=N adds to the manifest how far N runs in float,\n"
             "with sums moved by what floats are off, were from each tensor: oracle check judges by it.\n"
             "docs/golden-format.md says what is in the folder.\n"
             "Exit status: 0 written, 2 usage or input.",
    .example = "oracle dump out=golden preset=sanity batch=4\n"
               "oracle dump out=digests kind=digest backend=ref64 drift=4 preset=sanity batch=4",
    .keys = keys,
    .key_count = KEYS,
    .run = run,
};
