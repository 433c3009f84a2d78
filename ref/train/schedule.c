#include "train/schedule.h"

#include <assert.h>
#include <math.h>

static const double pi = 3.14159265358979323846;

struct schedule schedule_make(double base_lr, int64_t batch, int64_t warmup_epochs, int64_t epochs, int64_t steps_per_epoch, double tau0) {
  assert(batch > 0 && warmup_epochs >= 0 && epochs > 0 && steps_per_epoch > 0);
  int64_t warmup = warmup_epochs < epochs ? warmup_epochs : epochs;
  return (struct schedule){
      .steps = epochs * steps_per_epoch, .warmup = warmup * steps_per_epoch, .peak = base_lr * (double)batch / 256, .tau0 = tau0};
}

double schedule_lr(const struct schedule *s, int64_t k) {
  assert(k >= 0 && k <= s->steps);
  if (k < s->warmup) return s->peak * (double)k / (double)s->warmup;
  if (k == s->steps) return 0; /* also where warm-up fills the run and K - W is 0 */
  return s->peak * (1 + cos(pi * (double)(k - s->warmup) / (double)(s->steps - s->warmup))) / 2;
}

double schedule_tau(const struct schedule *s, int64_t k) {
  assert(k >= 0 && k <= s->steps);
  return 1 - (1 - s->tau0) * (1 + cos(pi * (double)k / (double)s->steps)) / 2;
}
