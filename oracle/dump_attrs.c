/* "attrs" of a manifest, the keys of `step` cases, to and from a configuration. */
#include <stdio.h>
#include <string.h>

#include "oracle/dump.h"

enum { SIZE_LIMIT = 1 << 14, BATCH_LIMIT = 1 << 20, MICRO_LIMIT = 1 << 16 }; /* far beyond any dump, far from overflow */

/* Words in the order of the enums of ref/. */
static const char *const blocks[] = {"basic", "bottleneck"}, *const stems[] = {"imagenet", "cifar"};
static const char *const stopgrads[] = {"none", "match"}, *const negatives[] = {"region", "instance"};
static const char *const samplers[] = {"teacher", "random"}, *const similarities[] = {"cosine", "dot"};
static const char *const teacher_norms[] = {"running", "batch"}, *const variants[] = {"byol", "openselfsup"};
static const char *const predictors[] = {"none", "mlp"};

/* ---- reading ------------------------------------------------------------------------------------------------------------------------ */

struct reader {
  const struct dump *d;
  struct error *err;
};

static const json_t *attribute(const struct reader *r, const char *key) {
  const json_t *value = json_object_get(json_object_get(r->d->manifest, "attrs"), key);
  if (!value) fail(r->err, "%s/" DUMP_MANIFEST ": attrs has no \"%s\"", r->d->path, key);
  return value;
}

static bool wrong(const struct reader *r, const char *key, const char *what) {
  return fail(r->err, "%s/" DUMP_MANIFEST ": attrs: \"%s\" is not %s", r->d->path, key, what);
}

static bool number(const struct reader *r, const char *key, double *value) {
  const json_t *v = attribute(r, key);
  if (!v) return false;
  if (!json_is_number(v)) return wrong(r, key, "a number");
  *value = json_number_value(v);
  return true;
}

static bool integer(const struct reader *r, const char *key, ptrdiff_t max, ptrdiff_t *value) {
  const json_t *v = attribute(r, key);
  if (!v) return false;
  if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > max)
    return fail(r->err, "%s/" DUMP_MANIFEST ": attrs: \"%s\" is not a whole number from 1 to %td", r->d->path, key, max);
  *value = (ptrdiff_t)json_integer_value(v);
  return true;
}

static bool flag(const struct reader *r, const char *key, bool *value) {
  const json_t *v = attribute(r, key);
  if (!v) return false;
  if (!json_is_boolean(v)) return wrong(r, key, "true or false");
  *value = json_is_true(v);
  return true;
}

static bool choice(const struct reader *r, const char *key, const char *const words[2], int *value) {
  const json_t *v = attribute(r, key);
  const char *text = json_string_value(v);
  if (!v) return false;
  for (int i = 0; text && i < 2; i++) {
    if (strcmp(text, words[i]) != 0) continue;
    *value = i;
    return true;
  }
  return fail(r->err, "%s/" DUMP_MANIFEST ": attrs: \"%s\" is not %s or %s", r->d->path, key, words[0], words[1]);
}

static bool read_architecture(const struct reader *r, struct architecture *a) {
  int block, stem, *b = a->blocks;
  char end;
  if (!choice(r, "block", blocks, &block) || !choice(r, "stem", stems, &stem) || !integer(r, "base_width", SIZE_LIMIT, &a->base_width) ||
      !number(r, "bn_eps", &a->bn_eps) || !number(r, "bn_momentum", &a->bn_momentum) || !integer(r, "hidden", SIZE_LIMIT, &a->hidden) ||
      !integer(r, "out", SIZE_LIMIT, &a->out))
    return false;
  const json_t *v = attribute(r, "blocks");
  if (!v) return false;
  const char *text = json_string_value(v);
  if (!text || sscanf(text, "%2d,%2d,%2d,%2d%c", &b[0], &b[1], &b[2], &b[3], &end) != 4 || b[0] < 1 || b[1] < 1 || b[2] < 1 || b[3] < 1)
    return wrong(r, "blocks", "four numbers as in \"3,4,6,3\"");
  a->block = (enum block)block, a->stem = (enum stem)stem;
  return true;
}

bool dump_model_config(const struct dump *d, struct model_config *c, int *micro_batches, struct error *err) {
  struct reader reader = {d, err};
  const struct reader *r = &reader;
  int stopgrad, negative, sampler, similarity, teacher_bn, variant, predictor;
  ptrdiff_t accumulation;
  *c = (struct model_config){0};
  if (!read_architecture(r, &c->arch) || !integer(r, "batch", BATCH_LIMIT, &c->batch) || !integer(r, "height", SIZE_LIMIT, &c->height) ||
      !integer(r, "width", SIZE_LIMIT, &c->width) || !integer(r, "accumulation", MICRO_LIMIT, &accumulation) ||
      !flag(r, "regions", &c->regions) || !flag(r, "teacher", &c->teacher) || !number(r, "lambda1", &c->lambda_rdem) ||
      !number(r, "lambda2", &c->lambda_riem) || !number(r, "lambda3", &c->lambda_byol) ||
      !choice(r, "rdem_stopgrad", stopgrads, &stopgrad) || !choice(r, "rdem_negative", negatives, &negative) ||
      !choice(r, "sampler", samplers, &sampler) || !choice(r, "similarity", similarities, &similarity) ||
      !choice(r, "teacher_bn", teacher_norms, &teacher_bn) || !choice(r, "lars_variant", variants, &variant) ||
      !choice(r, "region_predictor", predictors, &predictor) || !number(r, "trust", &c->lars.trust) ||
      !number(r, "momentum", &c->lars.momentum) || !number(r, "weight_decay", &c->lars.weight_decay))
    return false;
  c->stopgrad = stopgrad ? RDEM_STOPGRAD_MATCH : RDEM_STOPGRAD_NONE;
  c->negative = negative ? NEGATIVE_INSTANCE : NEGATIVE_REGION;
  c->sampler = sampler ? SAMPLER_RANDOM : SAMPLER_TEACHER;
  c->similarity = similarity ? SIMILARITY_DOT : SIMILARITY_COSINE;
  c->lars.variant = variant ? LARS_OPENSELFSUP : LARS_BYOL;
  c->teacher_batch = teacher_bn == 1, c->region_predictor = predictor == 1;
  *micro_batches = (int)accumulation;
  if (c->regions && c->sampler == SAMPLER_TEACHER && !c->teacher)
    return fail(err, "%s/" DUMP_MANIFEST ": attrs: regions are matched by a teacher, and \"teacher\" is false", d->path);
  return true;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------------------ */

json_t *dump_attributes(const struct model_config *c, int micro_batches) {
  const struct architecture *a = &c->arch;
  char stages[64];
  snprintf(stages, sizeof stages, "%d,%d,%d,%d", a->blocks[0], a->blocks[1], a->blocks[2], a->blocks[3]);
  json_t *o = json_pack("{s:s,s:s,s:I,s:s,s:f,s:f,s:I,s:I,s:I,s:I,s:I,s:i}", "block", blocks[a->block], "blocks", stages, "base_width",
                        (json_int_t)a->base_width, "stem", stems[a->stem], "bn_eps", a->bn_eps, "bn_momentum", a->bn_momentum, "batch",
                        (json_int_t)c->batch, "height", (json_int_t)c->height, "width", (json_int_t)c->width, "hidden",
                        (json_int_t)a->hidden, "out", (json_int_t)a->out, "accumulation", micro_batches);
  json_t *rest = json_pack("{s:b,s:b,s:s,s:f,s:f,s:f,s:s,s:s,s:s,s:s,s:s,s:s,s:f,s:f,s:f}", "regions", c->regions, "teacher", c->teacher,
                           "region_predictor", predictors[c->region_predictor], "lambda1", c->lambda_rdem, "lambda2", c->lambda_riem,
                           "lambda3", c->lambda_byol, "rdem_stopgrad", stopgrads[c->stopgrad == RDEM_STOPGRAD_MATCH], "rdem_negative",
                           negatives[c->negative == NEGATIVE_INSTANCE], "sampler", samplers[c->sampler == SAMPLER_RANDOM], "similarity",
                           similarities[c->similarity == SIMILARITY_DOT], "teacher_bn", teacher_norms[c->teacher_batch], "lars_variant",
                           variants[c->lars.variant == LARS_OPENSELFSUP], "trust", c->lars.trust, "momentum", c->lars.momentum,
                           "weight_decay", c->lars.weight_decay);
  if (o && rest) json_object_update(o, rest);
  json_decref(rest);
  return o;
}
