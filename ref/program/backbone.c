#include "program/backbone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/init.h"
#include "program/run_folder.h"

/* The streams that "random" draws from are those of a run with seed 1: the weights that training starts from. */
enum { RANDOM_SEED = 1, ONLINE_NETWORK = 0 };

static const char *const stem_names[] = {"imagenet", "cifar"};

static bool is_random(const struct backbone_choice *choice) { return !strcmp(choice->weights, "random"); }

bool backbone_resolve(const struct backbone_choice *choice, struct backbone *b, struct error *err) {
  struct config *config = malloc(sizeof *config);
  bool found = false;
  if (!config) return fail(err, "%s: no memory to look at it", choice->weights);
  options_default(config_options, config_option_count, config);
  bool good = is_random(choice) || weights_config(choice->weights, config, &found, err);
  if (good && !found && !choice->backbone)
    good = fail(err, "%s: says nothing about its architecture; give backbone= (and stem=, size=)", choice->weights);
  if (good) {
    if (choice->backbone) config->backbone = choice->backbone - 1;
    if (choice->stem) config->stem = choice->stem - 1;
    if (choice->size) config->size = choice->size;
    good = config_architecture(config, &b->arch) || fail(err, "%s: its backbone is unknown to this program", choice->weights);
    b->size = (int)config->size;
    snprintf(b->name, sizeof b->name, "%s", backbone_names[config->backbone]);
    snprintf(b->stem_name, sizeof b->stem_name, "%s", stem_names[config->stem]);
  }
  free(config);
  return good;
}

static bool load(const struct backbone_choice *choice, struct backbone *b, struct extractor *e, struct error *err) {
  b->prefix[0] = 0;
  if (is_random(choice)) return init_state(e->backend, &e->net, RANDOM_SEED, ONLINE_NETWORK, e->state, err);
  return extractor_load(e, choice->weights, choice->prefix_allowed ? b->prefix : NULL, err);
}

bool backbone_open(const struct backbone_choice *choice, int height, int width, struct backbone *b, struct extractor *e,
                   struct error *err) {
  if (!backbone_resolve(choice, b, err)) return false;
  if (!height) height = width = b->size;
  const struct backend *backend = backend_open(&(struct backend_options){.backend = (enum backend_choice)choice->backend}, err);
  if (!backend || !extractor_create(e, backend, &b->arch, choice->batch, height, width, err)) return false;
  if (load(choice, b, e, err)) return true;
  extractor_free(e);
  return false;
}
