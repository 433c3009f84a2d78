#include "base/ranks.h"

#include <string.h>

#include "base/sha256.h"

/* ---- one process -------------------------------------------------------------------------------------------------------------------- */

static void alone_gather(void *all, size_t bytes) { (void)all, (void)bytes; }
static void alone_exchange(const void *from, void *to, size_t bytes) { memcpy(to, from, bytes); }
static void alone_abandon(const char *line) { (void)line; }
static void alone_broadcast(int from, void *data, size_t bytes) { (void)from, (void)data, (void)bytes; }

const struct ranks *ranks_alone(void) {
  static const struct ranks alone = {.count = 1,
                                     .locals = 1,
                                     .sharers = 1,
                                     .gather = alone_gather,
                                     .exchange = alone_exchange,
                                     .broadcast = alone_broadcast,
                                     .abandon = alone_abandon};
  return &alone;
}

/* ---- what a run asks ---------------------------------------------------------------------------------------------------------------- */

bool ranks_any(const struct ranks *r, bool here) {
  unsigned char all[RANKS_MAX];
  all[r->rank] = here;
  r->gather(all, 1);
  for (int k = 0; k < r->count; k++)
    if (all[k]) return true;
  return false;
}

bool ranks_agree(const struct ranks *r, bool ok, struct error *err) {
  unsigned char bad[RANKS_MAX];
  struct error line = {.text = ""};
  int first = r->count, all = 0;
  bad[r->rank] = !ok;
  r->gather(bad, 1);
  for (int k = r->count - 1; k >= 0; k--)
    if (bad[k]) first = k, all++;
  if (all == 0) return true;
  if (r->rank == first && err) line = *err;
  r->broadcast(first, &line, sizeof line);
  if (all == r->count) return fail(err, "%s", line.text);
  return fail(err, "rank %d of %d: %.980s", first, r->count, line.text);
}

bool ranks_same(const struct ranks *r, const char *what, const char *text, size_t bytes, struct error *err) {
  unsigned char hash[RANKS_MAX][32];
  struct sha256 s;
  int other = 0;
  sha256_begin(&s);
  sha256_add(&s, text, bytes);
  sha256_end(&s, hash[r->rank]);
  r->gather(hash, sizeof hash[0]);
  while (other < r->count && memcmp(hash[other], hash[0], sizeof hash[0]) == 0) other++;
  return other == r->count || fail(err, "rank %d of %d has other %s than rank 0", other, r->count, what);
}
