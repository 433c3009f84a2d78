/* ediy show matches draws the pairs that a training step has. */
#include <stdlib.h>
#include <string.h>

#include "model/init.h"
#include "model/step.h"
#include "program/pairs.h"
#include "support/cmocka.h"
#include "support/support.h"

enum { BATCH = 6, SIDE = 64 };

static struct config configure(const char *similarity, const char *bn) {
  static struct config c;
  struct error err;
  char words[2][64], *argv[16] = {(char[]){"data=d"},         (char[]){"out=o"},        (char[]){"teacher=t"},
                                  (char[]){"batch=12"},       (char[]){"accumulate=2"}, (char[]){"backbone=small"},
                                  (char[]){"stem=cifar"},     (char[]){"size=64"},      (char[]){"projector.hidden=8"},
                                  (char[]){"projector.out=4"}};
  snprintf(argv[10] = words[0], sizeof words[0], "match.similarity=%s", similarity);
  snprintf(argv[11] = words[1], sizeof words[1], "teacher.bn=%s", bn);
  if (!config_from_arguments(&c, 12, argv, &err)) fail_msg("%s", err.text);
  return c;
}

/* Running statistics that are not those of a batch, and under which some channels of every map stay above 0. */
static void disturb_statistics(const struct net *net, float *state) {
  for (int i = 0; i < net->parameters; i++) {
    const struct parameter *p = &net->parameter[i];
    for (ptrdiff_t k = 0; p->role == ROLE_STATISTIC && k < p->size; k++) state[p->offset + k] = 0.1f * (float)(1 + k * 5 % 7);
  }
}

/* The indices of a micro-batch of views, by a step of training and by what the picture is drawn of. */
static void find_both(const struct config *c, struct pairs *stepped, struct pairs *drawn) {
  const struct backend_f32 *b = backend_reference_f32();
  const struct model_config shape = config_model(c);
  struct model_f32 m;
  struct extractor teacher;
  struct error err;
  float *view[2];
  if (!model_create_f32(&m, &shape, b, &err) || !model_initialise_f32(&m, 3, &err) ||
      !extractor_create(&teacher, b, &shape.arch, BATCH, SIDE, SIDE, &err))
    fail_msg("%s", err.text);
  disturb_statistics(&m.teacher.net, m.teacher.state);
  model_copy_state_f32(b, &m.teacher.net, m.teacher.state, &teacher.net, teacher.state);
  for (int k = 0; k < 2; k++) test_fill_normal(view[k] = test_reals(BATCH * SIDE * SIDE * 3), BATCH * SIDE * SIDE * 3, 5 + (uint32_t)k);

  const float *const views[2] = {view[0], view[1]};
  size_t bytes = (size_t)(BATCH * m.cells) * sizeof(int32_t);
  model_zero_gradient_f32(&m);
  model_accumulate_f32(&m, views, 1, NULL);
  *stepped = (struct pairs){{malloc(bytes), malloc(bytes)}, malloc(bytes)};
  memcpy(stepped->diversity[0], m.diversity[0], bytes), memcpy(stepped->diversity[1], m.diversity[1], bytes);
  memcpy(stepped->invariance, m.invariance[0], bytes);
  if (!pairs_find(drawn, &teacher, c, views, &err)) fail_msg("%s", err.text);
  model_free_f32(&m), extractor_free(&teacher), free(view[0]), free(view[1]);
}

static bool same_pairs(const struct pairs *a, const struct pairs *b, size_t count) {
  size_t bytes = count * sizeof(int32_t);
  return memcmp(a->diversity[0], b->diversity[0], bytes) == 0 && memcmp(a->diversity[1], b->diversity[1], bytes) == 0 &&
         memcmp(a->invariance, b->invariance, bytes) == 0;
}

/* With either similarity and either statistics of the teacher, which all give other pairs. */
static void drawn_pairs_are_those_of_a_step(void **state) {
  (void)state;
  static const char *const keys[][2] = {{"cosine", "running"}, {"cosine", "batch"}, {"dot", "running"}, {"dot", "batch"}};
  enum { WAYS = sizeof keys / sizeof keys[0], CELLS = SIDE / 8 * SIDE / 8 };
  struct pairs stepped[WAYS], drawn[WAYS];
  for (int i = 0; i < WAYS; i++) {
    const struct config c = configure(keys[i][0], keys[i][1]);
    find_both(&c, &stepped[i], &drawn[i]);
    if (!same_pairs(&stepped[i], &drawn[i], BATCH * CELLS)) fail_msg("%s, %s: the picture shows other pairs", keys[i][0], keys[i][1]);
    for (int k = 0; k < i; k++)
      if (same_pairs(&stepped[i], &stepped[k], BATCH * CELLS))
        fail_msg("%s, %s and %s, %s have the same pairs", keys[i][0], keys[i][1], keys[k][0], keys[k][1]);
  }
  for (int i = 0; i < WAYS; i++) pairs_free(&stepped[i]), pairs_free(&drawn[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(drawn_pairs_are_those_of_a_step)};
  return cmocka_run_group_tests_name("pairs", tests, NULL, NULL);
}
