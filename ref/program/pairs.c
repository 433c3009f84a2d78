#include "program/pairs.h"

#include <stdlib.h>

#include "op/match.h"

/* t_k = T(v_k): the teacher's last map of one view. */
static void teacher_forward(struct extractor *teacher, const struct config *config, const float *view, float *map) {
  const struct net_run pass = extractor_pass(teacher);
  const struct net *net = &teacher->net;
  teacher->backend->upload(teacher->input, view, (size_t)net->value[0].size * sizeof *view);
  net_forward(&pass, config_model(config).teacher_batch ? NET_BATCH : NET_EVAL, teacher->input);
  teacher->backend->download(map, net_value(&pass, net->map), (size_t)net->value[net->map].size * sizeof *map);
}

bool pairs_find(struct pairs *p, struct extractor *teacher, const struct config *config, const float *const view[2], struct error *err) {
  const struct value *map = &teacher->net.value[teacher->net.map];
  struct match g = {map->n, map->h * map->w, map->c, (enum similarity)config->similarity};
  size_t cells = (size_t)(g.b * g.n);
  double *scratch = malloc((size_t)match_scratch(&g) * sizeof *scratch);
  float *t[2] = {malloc((size_t)map->size * sizeof *t[0]), malloc((size_t)map->size * sizeof *t[1])};
  *p = (struct pairs){{malloc(cells * sizeof(int32_t)), malloc(cells * sizeof(int32_t))}, malloc(cells * sizeof(int32_t))};
  bool ok = scratch && t[0] && t[1] && p->diversity[0] && p->diversity[1] && p->invariance;
  for (int k = 0; ok && k < 2; k++) {
    teacher_forward(teacher, config, view[k], t[k]);
    match_diversity(&g, t[k], p->diversity[k], scratch);
  }
  if (ok) match_invariance(&g, t[0], t[1], p->invariance, scratch);
  free(scratch), free(t[0]), free(t[1]);
  if (!ok) pairs_free(p);
  return ok || fail(err, "no memory to match the regions of %td images", g.b);
}

void pairs_free(struct pairs *p) {
  free(p->diversity[0]), free(p->diversity[1]), free(p->invariance);
  *p = (struct pairs){0};
}
