#include "program/encoder.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "model/init.h"
#include "train/checkpoint.h"

enum { NETWORK = 0 }; /* the number of the online network among Philox's streams: "random" is what training starts from */

static bool load(struct encoder *e, const char *weights, uint64_t seed, float *state, struct error *err) {
  if (!strcmp(weights, "random")) return init_state(e->backend, &e->net, seed, NETWORK, state, err);
  float *host = calloc((size_t)e->net.state_size, sizeof *host);
  bool good = host ? weights_load(&e->net, weights, false, host, err) : fail(err, "%s: no memory to load it", weights);
  if (good) e->backend->upload(state, host, (size_t)e->net.state_size * sizeof *host);
  free(host);
  return good;
}

bool encoder_open(struct encoder *e, const struct architecture *arch, const char *weights, ptrdiff_t batch, ptrdiff_t size, uint64_t seed,
                  struct error *err) {
  *e = (struct encoder){.backend = backend_reference()};
  struct architecture backbone = *arch;
  backbone.projector = backbone.predictor = backbone.local_projector = backbone.local_predictor = false;
  if (!net_build(&e->net, &backbone, batch, size, size, err)) return false;
  bool good = plan_make(&e->plan, &e->net, e->backend, 0, NULL, false, false, err);
  if (good) {
    size_t state = arena_bytes(e->net.state_size, sizeof(float)), workspace = arena_bytes((ptrdiff_t)e->plan.workspace, 1);
    e->bytes = state + workspace + arena_bytes((ptrdiff_t)e->plan.scratch, 1);
    good = e->backend->reserve(e->bytes, &e->memory, err);
    if (good) {
      char *block = e->memory;
      e->run = (struct net_run){.net = &e->net,
                                .plan = &e->plan,
                                .backend = e->backend,
                                .state = (float *)(void *)block,
                                .workspace = block + state,
                                .scratch = block + state + workspace,
                                .network = "encoder"};
      good = load(e, weights, seed, e->run.state, err);
    }
  }
  if (!good) encoder_close(e);
  return good;
}

void encoder_close(struct encoder *e) {
  if (e->memory) e->backend->release(e->memory, e->bytes);
  plan_free(&e->plan);
  net_free(&e->net);
  *e = (struct encoder){0};
}

const float *encoder_map(struct encoder *e, const float *views) {
  net_forward(&e->run, NET_EVAL, views);
  return net_value(&e->run, e->net.map);
}
