#include "model/init.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

void init_parameter(const struct parameter *p, int i, uint64_t seed, uint32_t network, real *host) {
  if (p->role != ROLE_WEIGHT) {
    bool one = ends_with(p->name, ".weight") || ends_with(p->name, ".running_var");
    for (ptrdiff_t j = 0; j < p->size; j++) host[j] = one;
    return;
  }
  double sigma = 1 / sqrt((double)(p->size / p->shape[0]));
  struct philox g = philox_stream(seed, PHILOX_INIT, network, (uint32_t)i, 0);
  for (ptrdiff_t j = 0; j < p->size; j++) {
    double x;
    do x = philox_normal(&g);
    while (fabs(x) > 2);
    host[j] = (real)(float)(sigma * x);
  }
}

bool init_state(const struct backend *backend, const struct net *net, uint64_t seed, uint32_t network, real *state, struct error *err) {
  real *host = calloc((size_t)net->state_size, sizeof(real));
  if (!host) return fail(err, "out of memory: %.2f GB for fresh weights", (double)net->state_size * sizeof(real) / 1e9);
#pragma omp parallel for schedule(dynamic)
  for (int i = 0; i < net->parameters; i++) init_parameter(&net->parameter[i], i, seed, network, host + net->parameter[i].offset);
  backend->upload(state, host, (size_t)net->state_size * sizeof(real));
  free(host);
  return true;
}
