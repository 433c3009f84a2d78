#include "train/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void duration_format(double seconds, char *text, size_t size) {
  if (!(seconds >= 0) || seconds > 1e9) { /* not known, or of no use to anyone */
    snprintf(text, size, "?");
    return;
  }
  int64_t s = (int64_t)(seconds + 0.5);
  if (s < 60)
    snprintf(text, size, "%" PRId64 " s", s);
  else if (s < 3600)
    snprintf(text, size, "%" PRId64 " min %02" PRId64 " s", s / 60, s % 60);
  else if (s < 86400)
    snprintf(text, size, "%" PRId64 " h %02" PRId64 " min", s / 3600, s / 60 % 60);
  else
    snprintf(text, size, "%" PRId64 " d %02" PRId64 " h", s / 86400, s / 3600 % 24);
}

void progress_line(const struct progress *p, int columns, char *text, size_t size) {
  const struct record *r = &p->now;
  char part[8][64], left[32];
  int parts = 0;
  duration_format(p->seconds_left, left, sizeof left);
  snprintf(part[parts++], 64, "step %" PRId64 "/%" PRId64, r->step, p->steps);
  snprintf(part[parts++], 64, "loss %.4f", r->total);
  if (r->regions) snprintf(part[parts++], 64, "(rdem %.3f riem %.3f byol %.3f)", r->rdem, r->riem, r->byol);
  snprintf(part[parts++], 64, "%s left", left);
  snprintf(part[parts++], 64, "%.1f images/s", r->images_per_s);
  if (r->regions)
    snprintf(part[parts++], 64, "std %.3f/%.3f cos %.2f H %.2f/%.2f", r->std_global, r->std_local, r->region_cosine, r->entropy_rdem,
             r->entropy_riem);
  else
    snprintf(part[parts++], 64, "std %.3f", r->std_global);
  snprintf(part[parts++], 64, "epoch %" PRId64 "/%" PRId64, r->epoch, p->epochs);
  snprintf(part[parts++], 64, "lr %.3g", r->lr);

  /* Whole parts, as long as they fit. */
  size_t limit = columns > 0 && (size_t)columns < size ? (size_t)columns + 1 : size, used = 0;
  text[0] = 0;
  for (int i = 0; i < parts; i++) {
    size_t n = strlen(part[i]) + (i > 0 ? 2 : 0);
    if (used + n >= limit) break;
    used += (size_t)snprintf(text + used, size - used, "%s%s", i > 0 ? "  " : "", part[i]);
  }
}

bool progress_due(struct progress_pace *pace, const struct progress *p, bool terminal) {
  double every = terminal ? 0.1 : 5; /* seconds: faster than the eye helps nobody; a file wants few lines */
  bool due = !pace->any || p->now.step == p->steps || p->seconds - pace->printed >= every;
  if (due) *pace = (struct progress_pace){p->seconds, true};
  return due;
}
