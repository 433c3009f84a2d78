/* oracle lockstep: how fast two backends drift apart, and whether each repeats itself to the bit. */
#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plural.h"
#include "oracle/findings.h"
#include "oracle/lockstep.h"
#include "oracle/step_keys.h"
#include "oracle/verb.h"

enum { MAX_COUNTS = 16 };

struct lockstep_options {
  struct step_keys steps;
  char a[OPTION_TEXT_SIZE], b[OPTION_TEXT_SIZE], counts[OPTION_TEXT_SIZE], json[OPTION_TEXT_SIZE];
  /* what they name */
  struct step_backend both[2];
  int count[MAX_COUNTS], times; /* threads of each run once more; none: as many as there are */
};

#define AT(field) offsetof(struct lockstep_options, field)
static const struct option keys[] = {
    {"a", OPTION_TEXT, AT(a), "ref64", 0, 0, NULL, "the first backend"},
    {"b", OPTION_TEXT, AT(b), "ref32", 0, 0, NULL, "the second: ref32, ref64, plain, ..."},
    STEP_KEYS(AT(steps)),
    {"again", OPTION_TEXT, AT(counts), "", 0, 0, NULL, "numbers of threads to run each once more with: 1,2,4; empty: as many"},
    {"json", OPTION_TEXT, AT(json), "", 0, 0, NULL, "write the table to this file"},
};
enum { KEYS = sizeof keys / sizeof keys[0] };

/* "1,2,4" */
static bool read_counts(const char *text, int count[MAX_COUNTS], int *counts, struct error *err) {
  *counts = 0;
  while (*text) {
    char *end;
    long n = strtol(text, &end, 10);
    if (end == text || n < 1 || n > 1024 || (*end && *end != ',') || *counts == MAX_COUNTS)
      return fail(err, "again = %s: expected numbers of threads from 1 to 1024, as in 1,2,4", text);
    count[(*counts)++] = (int)n;
    text = *end ? end + 1 : end;
  }
  return true;
}

static bool check(void *config, struct error *err) {
  struct lockstep_options *o = config;
  return step_backend_named(o->a, &o->both[0], err) && step_backend_named(o->b, &o->both[1], err) &&
         read_counts(o->counts, o->count, &o->times, err) && findings_wanted(o->json, err);
}

/* ---- the table ---------------------------------------------------------------------------------------------------------------------- */

static void print_head(const char *a, const char *b) {
  printf("%6s %15s %15s %9s %11s", "step", a, b, "loss off", "matched");
  for (int g = 0; g < LOCKSTEP_GROUPS; g++) printf(" %11s", lockstep_group_names[g]);
  printf(" %8s\n", "growth");
}

/* growth: of the parameters' drift since the step before. */
static void print_step(int64_t k, const struct lockstep_step *s, double before) {
  char matched[32];
  snprintf(matched, sizeof matched, "%td/%td", s->matched_apart, s->regions);
  printf("%6lld %15.9g %15.9g %9.2g %11s", (long long)k, s->a.total, s->b.total, fabs(s->b.total - s->a.total), matched);
  for (int g = 0; g < LOCKSTEP_GROUPS; g++) printf(" %11.2g", s->drift[g]);
  if (before > 0)
    printf(" %8.3g\n", s->drift[LOCKSTEP_PARAMETER] / before);
  else
    printf(" %8s\n", "-");
  fflush(stdout);
}

static json_t *step_json(int64_t k, const struct lockstep_step *s) {
  json_t *o = json_pack("{s:I,s:o,s:o,s:I,s:I}", "step", (json_int_t)k, "loss_a", findings_number(s->a.total), "loss_b",
                        findings_number(s->b.total), "regions", (json_int_t)s->regions, "matched_apart", (json_int_t)s->matched_apart);
  for (int g = 0; g < LOCKSTEP_GROUPS; g++) json_object_set_new(o, lockstep_group_names[g], findings_number(s->drift[g]));
  return o;
}

static bool write_json(const struct lockstep_options *o, json_t *steps, bool same, struct error *err) {
  return findings_save(
      o->json, json_pack("{s:s,s:s,s:s,s:b,s:O}", "format", "ediy-lockstep-1", "a", o->a, "b", o->b, "repeats", same, "steps", steps), err);
}

/* ---- running ------------------------------------------------------------------------------------------------------------------------ */

static bool run_table(const struct lockstep_options *o, struct lockstep *l, struct step_source *source, json_t *steps, struct error *err) {
  double before = 0;
  print_head(o->a, o->b);
  for (int64_t k = 0; k < o->steps.steps; k++) {
    struct lockstep_step s;
    if (!lockstep_next(l, &s, err)) return false;
    print_step(source->first + k, &s, before);
    json_array_append_new(steps, step_json(source->first + k, &s));
    before = s.drift[LOCKSTEP_PARAMETER];
  }
  return true;
}

/* Each backend once more with each number of threads. */
static bool repeat(const struct lockstep_options *o, const struct lockstep *l, struct step_source *source, bool *same, struct error *err) {
  const int threads = omp_get_max_threads(), times = o->times ? o->times : 1;
  bool ok = true;
  *same = true;
  for (int i = 0; ok && i < times; i++)
    for (int side = 0; ok && side < 2; side++) {
      const struct step_backend *b = &o->both[side];
      const int count = o->times ? o->count[i] : threads;
      bool again;
      char where[TENSOR_MAX_NAME];
      omp_set_num_threads(count);
      ok = lockstep_again(side ? &l->hashes_b : &l->hashes_a, source, b, (int)o->steps.steps, &again, where, err);
      if (!ok) break;
      if (again)
        printf("%s once more with %d thread%s: the same bits\n", b->name, count, plural(count));
      else
        printf("%s once more with %d thread%s: other bits, first in %s\n", b->name, count, plural(count), where);
      *same = *same && again;
    }
  omp_set_num_threads(threads);
  return ok;
}

static bool lockstep(const struct lockstep_options *o, struct step_source *source, bool *same, struct error *err) {
  struct lockstep l;
  if (!lockstep_begin(&l, source, &o->both[0], &o->both[1], err)) return false;
  json_t *steps = json_array();
  bool ok = run_table(o, &l, source, steps, err) && repeat(o, &l, source, same, err);
  if (ok && o->json[0]) ok = write_json(o, steps, *same, err);
  json_decref(steps);
  lockstep_end(&l);
  return ok;
}

static enum oracle_exit run(int count, char *const *arguments, struct error *err) {
  struct lockstep_options *o = calloc(1, sizeof *o);
  struct step_source *source = calloc(1, sizeof *source);
  bool same = false, ok = (o && source) || fail(err, "out of memory");
  ok = ok && step_keys_read(keys, KEYS, o, &o->steps, count, arguments, check, source, err);
  if (ok) {
    int threads = omp_get_max_threads();
    if (source->config.threads > 0) omp_set_num_threads((int)source->config.threads);
    ok = lockstep(o, source, &same, err);
    omp_set_num_threads(threads);
    step_source_close(source);
  }
  free(o), free(source);
  if (!ok) fail_within(err, "lockstep");
  return !ok ? ORACLE_BAD_INPUT : same ? ORACLE_PASS : ORACLE_NONDETERMINISTIC;
}

const struct oracle_verb oracle_verb_lockstep = {
    .name = "lockstep",
    .summary = "run the same steps on two backends and say how far they drift apart",
    .usage = "[a=ref64] [b=ref32] [steps=K] [again=1,2,4] [json=FILE] [any key of ediy train]",
    .about = "Each backend goes on from its own previous results. A line for each step: both losses, matched regions that\n"
             "are others, and the relative L2 difference of views, activations, their gradients, the gradient, the\n"
             "parameters and the target's. growth is that of the parameters' difference since the step before.\n"
             "Then each is run once more, with every number of threads of again=, and must give the same bits.\n"
             "What is right or wrong is for oracle check and oracle replay to say: drift alone is no fault.\n"
             "Exit status: 0 both repeat themselves, 2 usage or input, 4 one does not.",
    .example = "oracle lockstep steps=3 preset=sanity batch=4\n"
               "oracle lockstep a=ref32 b=ref32 again=1,2,3 preset=sanity batch=4",
    .keys = keys,
    .key_count = KEYS,
    .run = run,
};
