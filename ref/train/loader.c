#include "train/loader.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/philox.h"
#include "train/loader_work.h"

uint64_t loader_epoch_batches(const struct dataset *d, ptrdiff_t batch, ptrdiff_t group) {
  return (uint64_t)(d->count / batch / group * group);
}

/* ---- order ------------------------------------------------------------------------------------------------------------------------- */

void loader_order(const struct dataset *d, uint64_t seed, uint32_t epoch, int32_t *order) {
  struct philox g = philox_stream(seed, PHILOX_SHUFFLE, 0, 0, epoch);
  philox_permutation(&g, d->count, order);
}

static void shuffle(struct loader *l, int32_t epoch) {
  loader_order(l->d, l->o.seed, (uint32_t)epoch, l->order);
  l->order_epoch = epoch;
}

static ptrdiff_t whole_batch(const struct loader_options *o) { return o->before + o->batch + o->after; }

/* Gives the next batch number to the slot that is free for it. Under the lock. */
static void open_slot(struct loader *l) {
  struct slot *s = &l->slot[l->opened % (uint64_t)l->slots];
  ptrdiff_t whole = whole_batch(&l->o);
  uint64_t batches = loader_epoch_batches(l->d, whole, l->o.group);
  s->number = l->opened++;
  s->epoch = (int32_t)(s->number / batches);
  s->claimed = s->done = 0;
  s->packed_bytes = 0;
  if (l->order_epoch != s->epoch) shuffle(l, s->epoch);
  const int32_t *first = l->order + s->number % batches * (uint64_t)whole + l->o.before;
  memcpy(s->wanted, first, (size_t)l->o.batch * sizeof *s->wanted);
}

/* ---- public ------------------------------------------------------------------------------------------------------------------------ */

static size_t view_bytes(const struct loader_options *o) {
  ptrdiff_t n = o->view[0].size;
  size_t one = arena_bytes(n, (size_t)n * 3 * sizeof(float)), all;
  return __builtin_mul_overflow(one, (size_t)o->batch, &all) ? SIZE_MAX : arena_bytes((ptrdiff_t)all, 1);
}

static int slots_of(const struct loader_options *o) { return o->ahead + (o->held > 1 ? o->held : 1); }

size_t loader_packed_bytes(const struct loader_options *o) { return 2 * view_bytes(o); }

size_t loader_bytes(const struct loader_options *o) {
  size_t slot = view_bytes(o), all;
  size_t indices = 3 * arena_bytes(o->batch, sizeof(int32_t)) + (o->windows ? arena_bytes(2 * o->batch, sizeof(struct batch_view)) : 0);
  bool overflow = slot > SIZE_MAX / 4;
  if (!overflow) overflow = __builtin_mul_overflow(2 * slot + indices, (size_t)slots_of(o), &all);
  return overflow ? SIZE_MAX : all;
}

static bool take_arena(struct loader *l, struct error *err) {
  size_t bytes = loader_bytes(&l->o);
  if (!l->o.reserve) return arena_create(&l->arena, bytes, err);
  if (!l->o.reserve(bytes, &l->memory, err)) return false;
  memset(l->memory, 0, bytes);
  l->arena = (struct arena){.base = l->memory, .size = bytes};
  return true;
}

static bool take_memory(struct loader *l, struct error *err) {
  size_t count = (size_t)l->d->count;
  l->slot = calloc((size_t)l->slots, sizeof *l->slot);
  l->thread = calloc((size_t)l->o.workers, sizeof *l->thread);
  l->order = calloc(count, sizeof *l->order);
  l->cached = calloc(count, sizeof *l->cached);
  l->is_bad = calloc(count, 1);
  if (!l->slot || !l->thread || !l->order || !l->cached || !l->is_bad)
    return fail(err, "%s: out of memory for the lists of its images", l->d->root);
  if (!take_arena(l, err)) return false;
  for (int i = 0; i < l->slots; i++) {
    struct slot *s = &l->slot[i];
    char *views = arena_take(&l->arena, 1, loader_packed_bytes(&l->o));
    if (l->o.windows) {
      s->packed = views;
      s->part = arena_take(&l->arena, 2 * l->o.batch, sizeof *s->part);
    } else
      for (int v = 0; v < 2; v++) s->view[v] = (float *)(void *)(views + (size_t)v * view_bytes(&l->o));
    s->wanted = arena_take(&l->arena, l->o.batch, sizeof(int32_t));
    s->sample = arena_take(&l->arena, l->o.batch, sizeof(int32_t));
    s->label = arena_take(&l->arena, l->o.batch, sizeof(int32_t));
  }
  return true;
}

bool loader_open(struct loader **loader, const struct dataset *d, const struct loader_options *o, uint64_t first,
                 void (*report)(void *context, ptrdiff_t image, const char *line), void *context, struct error *err) {
  assert(o->batch > 0 && o->group > 0 && o->workers > 0 && o->ahead > 0 && o->view[0].size > 0 && o->view[0].size == o->view[1].size);
  *loader = NULL;
  if (loader_epoch_batches(d, whole_batch(o), o->group) == 0)
    return fail(err, "%s: %td images do not fill one step of %td x %td; choose a smaller batch or more images", d->root, d->count, o->group,
                whole_batch(o));
  struct loader *l = malloc(sizeof *l);
  if (!l) return fail(err, "out of memory for the loader");
  *l = (struct loader){.d = d,
                       .o = *o,
                       .report = report,
                       .context = context,
                       .slots = slots_of(o),
                       .view_reals = (size_t)o->view[0].size * (size_t)o->view[0].size * 3,
                       .next = first,
                       .opened = first,
                       .claiming = first,
                       .order_epoch = -1};
  l->last_line = &l->first_line;
  pthread_mutex_init(&l->lock, NULL);
  pthread_cond_init(&l->work, NULL);
  pthread_cond_init(&l->ready, NULL);
  bool ok = take_memory(l, err);
  if (ok)
    for (int i = 0; i < o->ahead; i++) open_slot(l);
  if (!ok || !loader_start_workers(l, err)) {
    loader_close(l);
    return false;
  }
  *loader = l;
  return true;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Hands the waiting reports over, outside the lock. */
static void drain_reports(struct loader *l) {
  pthread_mutex_lock(&l->lock);
  struct line *line = l->first_line;
  l->first_line = NULL, l->last_line = &l->first_line;
  pthread_mutex_unlock(&l->lock);
  while (line) {
    struct line *following = line->next;
    if (l->report) l->report(l->context, line->image, line->text.text);
    free(line);
    line = following;
  }
}

bool loader_next(struct loader *l, struct batch *batch, double *waited, struct error *err) {
  double start = now();
  pthread_mutex_lock(&l->lock);
  /* The batch given o.held calls ago is now free: its slot takes the batch after all that are opened. After a failure nothing is. */
  if (!l->failed) open_slot(l);
  pthread_cond_broadcast(&l->work);
  struct slot *s = &l->slot[l->next % (uint64_t)l->slots];
  while (!l->failed && s->done < l->o.batch) pthread_cond_wait(&l->ready, &l->lock);
  bool ok = !l->failed;
  struct error why = l->error;
  if (ok) l->next++;
  pthread_mutex_unlock(&l->lock);
  if (waited) *waited = now() - start;
  drain_reports(l);
  if (!ok) return fail(err, "%s", why.text);
  *batch = (struct batch){.view = {s->view[0], s->view[1]},
                          .packed = s->packed,
                          .packed_bytes = s->packed_bytes,
                          .part = s->part,
                          .sample = s->sample,
                          .label = s->label,
                          .number = s->number,
                          .epoch = s->epoch};
  return true;
}

bool loader_ready(struct loader *l) {
  pthread_mutex_lock(&l->lock);
  const struct slot *s = &l->slot[l->next % (uint64_t)l->slots];
  bool ready = l->failed || s->done == l->o.batch;
  pthread_mutex_unlock(&l->lock);
  return ready;
}

void loader_pass_over(struct loader *l, ptrdiff_t i) {
  pthread_mutex_lock(&l->lock);
  l->bad += !l->is_bad[i];
  l->is_bad[i] = 1;
  pthread_mutex_unlock(&l->lock);
}

ptrdiff_t loader_bad(struct loader *l) {
  pthread_mutex_lock(&l->lock);
  ptrdiff_t bad = l->bad;
  pthread_mutex_unlock(&l->lock);
  return bad;
}

void loader_close(struct loader *l) {
  if (!l) return;
  pthread_mutex_lock(&l->lock);
  l->stop = true;
  pthread_cond_broadcast(&l->work);
  pthread_mutex_unlock(&l->lock);
  for (int i = 0; i < l->threads; i++) pthread_join(l->thread[i], NULL);
  drain_reports(l);
  if (l->cached)
    for (ptrdiff_t i = 0; i < l->d->count; i++)
      if (l->cached[i].rgb) image_free(&l->cached[i]);
  if (l->memory)
    l->o.release(l->memory);
  else
    arena_destroy(&l->arena);
  pthread_cond_destroy(&l->ready);
  pthread_cond_destroy(&l->work);
  pthread_mutex_destroy(&l->lock);
  free(l->slot);
  free(l->thread);
  free(l->order);
  free(l->cached);
  free(l->is_bad);
  free(l);
}
