/* A training run for outsiders. */
#include <stdlib.h>
#include <string.h>

#include "api/outside.h"
#include "base/numerals.h"
#include "train/trainer.h"

/* Between the trainer's callbacks and the caller's. */
struct watch {
  struct numerals numerals;
  const ediy_train_callbacks *callbacks;
  volatile sig_atomic_t stop;
};

static void pass_message(void *context, const char *line) {
  const struct watch *w = context;
  if (!w->callbacks->message) return;
  numerals_of_program(&w->numerals);
  w->callbacks->message(w->callbacks->context, line);
  numerals_own_again(&w->numerals);
}

static void pass_progress(void *context, const struct progress *p) {
  struct watch *w = context;
  if (!w->callbacks->progress) return;
  const struct record *now = &p->now;
  const ediy_progress outer = {.step = now->step,
                               .steps = p->steps,
                               .epoch = now->epoch,
                               .epochs = p->epochs,
                               .lr = now->lr,
                               .tau = now->tau,
                               .total = now->total,
                               .rdem = now->rdem,
                               .riem = now->riem,
                               .byol = now->byol,
                               .images_per_s = now->images_per_s,
                               .seconds = p->seconds,
                               .seconds_left = p->seconds_left};
  numerals_of_program(&w->numerals);
  if (!w->callbacks->progress(w->callbacks->context, &outer)) w->stop = 1;
  numerals_own_again(&w->numerals);
}

/* config_from_arguments takes what main gets, and does not write to it. */
static bool configure(struct config *config, int count, const char *const *options, struct error *err) {
  char **copy = malloc(((size_t)count + 1) * sizeof *copy);
  bool ok = copy || fail(err, "ediy_train: out of memory");
  for (int i = 0; ok && i < count; i++) {
    ok = options[i] || fail(err, "ediy_train: option %d is null", i);
    if (ok) memcpy(&copy[i], &options[i], sizeof copy[i]);
  }
  ok = ok && config_from_arguments(config, count, copy, err);
  free(copy);
  return ok;
}

EDIY_API bool ediy_train(int count, const char *const *options, const ediy_train_callbacks *callbacks, bool *finished, ediy_error *err) {
  static const ediy_train_callbacks none = {NULL, NULL, NULL};
  struct error inner = {.text = ""};
  struct train_result result = {.finished = false};
  struct watch watch = {.numerals = numerals_own(), .callbacks = callbacks ? callbacks : &none};
  const struct train_callbacks inner_callbacks = {pass_message, pass_progress, &watch, &watch.stop, NULL};
  struct config *config = malloc(sizeof *config);
  bool ok = config || fail(&inner, "ediy_train: out of memory");
  ok = ok && ((count >= 0 && (options || count == 0)) || fail(&inner, "ediy_train: %d options, or a null pointer to them", count));
  ok = ok && configure(config, count, options, &inner);
  ok = ok && train(config, &inner_callbacks, &result, &inner);
  if (finished) *finished = ok && result.finished;
  free(config);
  numerals_give_back(&watch.numerals);
  return outside(ok, &inner, err);
}
