/* What the ranks of a run tell each other besides what the backend does. real is float here. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/plural.h"
#include "base/size.h"
#include "train/run.h"

bool run_agree(const struct run *r, bool ok, struct error *err) { return ranks_agree(r->ranks, ok, err); }

bool run_status(const struct run *r, struct error *err) {
  bool ok = r->m.backend->status(err);
  if (!ok && r->apart) r->ranks->abandon(err->text);
  return run_agree(r, ok, err);
}

/* ---- the state ----------------------------------------------------------------------------------------------------------------------- */

enum { PIECE = 1 << 24 }; /* reals that go through host memory at once */

static void share_block(struct run *r, real *block, ptrdiff_t size, real *host) {
  const struct backend *b = r->m.backend;
  for (ptrdiff_t at = 0; at < size; at += PIECE) {
    size_t bytes = (size_t)size_min(PIECE, size - at) * sizeof *host;
    if (r->ranks->rank == 0) b->download(host, block + at, bytes);
    r->ranks->broadcast(0, host, bytes);
    if (r->ranks->rank != 0) b->upload(block + at, host, bytes);
  }
}

bool run_share_state(struct run *r, struct error *err) {
  struct model *m = &r->m;
  ptrdiff_t most = size_max(m->online.net.state_size, m->target.net.state_size);
  if (m->config.teacher) most = size_max(most, m->teacher.net.state_size);
  if (r->ranks->count == 1) return true;
  real *host = malloc((size_t)size_min(PIECE, most) * sizeof *host);
  bool ok = run_agree(r, host || fail(err, "out of memory for the weights of rank 0"), err);
  if (ok) {
    r->ranks->broadcast(0, &r->step, sizeof r->step);
    r->ranks->broadcast(0, &r->saved, sizeof r->saved);
    share_block(r, m->online.state, m->online.net.state_size, host);
    share_block(r, m->momentum, m->online.net.state_size, host);
    share_block(r, m->target.state, m->target.net.state_size, host);
    if (m->config.teacher) share_block(r, m->teacher.state, m->teacher.net.state_size, host);
    ok = run_status(r, err);
  }
  free(host);
  return ok;
}

/* ---- bad files ----------------------------------------------------------------------------------------------------------------------- */

struct found {
  struct found *next;
  int64_t image;
  char line[sizeof(struct error)];
};

/* Kept until run_share_bad. Without memory the file is passed over, and neither counted nor reported. */
void run_found_bad(void *context, ptrdiff_t image, const char *line) {
  struct run *r = context;
  struct found *f = calloc(1, sizeof *f);
  if (!f) return;
  f->image = image;
  snprintf(f->line, sizeof f->line, "%s", line);
  struct found **last = &r->found;
  while (*last) last = &(*last)->next;
  *last = f;
}

/* Known to all from here on. */
static void know(struct run *r, const struct found *f) {
  if (r->is_bad[f->image]) return;
  r->is_bad[f->image] = 1;
  r->bad++;
  if (r->loader) loader_pass_over(r->loader, f->image);
  run_say(r, "%s", f->line);
}

void run_forget_found(struct run *r) {
  for (struct found *f = r->found, *next; f; f = next) {
    know(r, f);
    next = f->next;
    free(f);
  }
  r->found = NULL;
}

bool run_share_bad(struct run *r, struct error *err) {
  const struct ranks *k = r->ranks;
  if (!ranks_any(k, r->found != NULL)) return true;
  for (int from = 0; from < k->count; from++)
    for (const struct found *f = k->rank == from ? r->found : NULL;; f = f ? f->next : NULL) {
      struct found one = {.image = -1}; /* the end of a list */
      if (f) one = *f;
      k->broadcast(from, &one, sizeof one);
      if (one.image < 0) break;
      know(r, &one);
    }
  run_forget_found(r);
  return r->bad <= r->config->max_bad || fail(err, "%" PRId64 " image%s cannot be read, more than the %" PRId64 " that data.max_bad allows",
                                              r->bad, plural(r->bad), r->config->max_bad);
}
