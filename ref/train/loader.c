#include "train/loader.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/philox.h"
#include "image/image.h"
#include "image/window.h"

/* One batch in the making. Workers claim its images one by one; whoever finishes the last makes it ready. */
struct slot {
  float *view[2];
  char *packed; /* in the place of view[0] and view[1]: windows */
  size_t packed_bytes;
  struct batch_view *part; /* batch x 2 */
  int32_t *wanted;         /* batch: the image the shuffle asks for */
  int32_t *sample;         /* batch: the image that was read */
  int32_t *label;
  uint64_t number;
  int32_t epoch;
  ptrdiff_t claimed, done;
};

struct line { /* a report waiting for the trainer's thread */
  struct line *next;
  ptrdiff_t image;
  struct error text;
};

struct loader {
  const struct dataset *d;
  struct loader_options o;
  void (*report)(void *context, ptrdiff_t image, const char *line);
  void *context;

  struct slot *slot; /* slots: batch k lives in slot k % slots; `held` are the trainer's, the others are ahead */
  int slots;
  struct arena arena;
  void *memory; /* of the arena, where o.reserve gave it */
  size_t view_reals;

  pthread_t *thread;
  int threads;

  pthread_mutex_t lock; /* guards all that follows, and claimed and done of the slots */
  pthread_cond_t work, ready;
  bool stop, failed;
  uint64_t next, opened; /* batch the trainer gets next; first batch that no slot works on yet */
  uint64_t claiming;     /* first batch with unclaimed images */
  int32_t *order;        /* count: the shuffle of order_epoch */
  int64_t order_epoch;   /* -1: none yet */
  struct image *cached;  /* count; rgb is null where nothing is cached; what is there never changes */
  size_t cached_bytes;
  unsigned char *is_bad; /* count */
  ptrdiff_t bad;
  struct line *first_line, **last_line;
  struct error error;
};

uint64_t loader_epoch_batches(const struct dataset *d, ptrdiff_t batch, ptrdiff_t group) {
  return (uint64_t)(d->count / batch / group * group);
}

/* ---- order ------------------------------------------------------------------------------------------------------------------------- */

/* Fisher and Yates, from the end, by the stream of the epoch. */
void loader_order(const struct dataset *d, uint64_t seed, uint32_t epoch, int32_t *order) {
  struct philox g = philox_stream(seed, PHILOX_SHUFFLE, 0, 0, epoch);
  for (ptrdiff_t i = 0; i < d->count; i++) order[i] = (int32_t)i;
  for (ptrdiff_t i = d->count - 1; i > 0; i--) {
    uint32_t j = philox_below(&g, (uint32_t)i + 1);
    int32_t t = order[i];
    order[i] = order[j], order[j] = t;
  }
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

/* ---- images ------------------------------------------------------------------------------------------------------------------------ */

/* The first failure stops everything. Under the lock. */
static void stop_with(struct loader *l, const struct error *err) {
  if (!l->failed) l->error = *err;
  l->failed = true;
  pthread_cond_broadcast(&l->work);
  pthread_cond_broadcast(&l->ready);
}

/* Under the lock. */
static void mark_bad(struct loader *l, ptrdiff_t i, const struct error *why) {
  if (l->is_bad[i]) return;
  l->is_bad[i] = 1;
  l->bad++;
  struct line *line = malloc(sizeof *line);
  if (line) { /* without memory the file is counted and not reported */
    line->next = NULL, line->image = i, line->text = *why;
    *l->last_line = line, l->last_line = &line->next;
  }
  if (l->bad > l->o.max_bad) {
    struct error err;
    fail(&err, "%td images cannot be read, more than the %td that data.max_bad allows; the last: %.600s", l->bad, l->o.max_bad, why->text);
    stop_with(l, &err);
  }
}

enum found { FOUND, FOUND_BAD, FOUND_STOP };

/* Image i, from the cache or from its file; *owned tells whether the caller must free it. */
static enum found get_image(struct loader *l, ptrdiff_t i, struct image *image, bool *owned) {
  pthread_mutex_lock(&l->lock);
  bool stop = l->stop || l->failed, bad = l->is_bad[i];
  *image = l->cached[i];
  pthread_mutex_unlock(&l->lock);
  *owned = false;
  if (stop) return FOUND_STOP;
  if (bad) return FOUND_BAD;
  if (image->rgb) return FOUND;

  struct error err;
  bool ok = image_read(l->d->path[i], image, &err);
  size_t bytes = ok ? (size_t)image->height * (size_t)image->width * 3 : 0;
  pthread_mutex_lock(&l->lock);
  if (!ok)
    mark_bad(l, i, &err);
  else if (!l->cached[i].rgb && bytes <= l->o.cache_bytes - l->cached_bytes) {
    l->cached[i] = *image;
    l->cached_bytes += bytes;
  } else
    *owned = true; /* does not fit, or another worker, busy with another epoch, was faster */
  pthread_mutex_unlock(&l->lock);
  return ok ? FOUND : FOUND_BAD;
}

struct scratch { /* one worker's */
  float *data;
  ptrdiff_t size;
};

/* Grows to size reals; grows only, so that a steady state allocates nothing. */
static bool scratch_reserve(struct scratch *s, ptrdiff_t size) {
  if (size <= s->size) return true;
  free(s->data);
  s->data = malloc((size_t)size * sizeof *s->data);
  s->size = s->data ? size : 0;
  return s->data != NULL;
}

static void stop_unlocked(struct loader *l, const struct error *err) {
  pthread_mutex_lock(&l->lock);
  stop_with(l, err);
  pthread_mutex_unlock(&l->lock);
}

/* Room among the windows of the slot: as much as is left suffices, since a window has no more bytes than its view. */
static char *take_room(struct loader *l, struct slot *s, size_t bytes, struct batch_view *part) {
  pthread_mutex_lock(&l->lock);
  part->at = s->packed_bytes;
  s->packed_bytes += arena_bytes((ptrdiff_t)bytes, 1);
  pthread_mutex_unlock(&l->lock);
  return s->packed + part->at;
}

static void pack_window(struct loader *l, struct slot *s, struct batch_view *part, const struct view *view, const struct image *image) {
  part->finished = false;
  part->view = window_take(view, image->rgb, image->width, (uint8_t *)take_room(l, s, window_bytes(view), part));
}

static float *room_for_view(struct loader *l, struct slot *s, struct batch_view *part) {
  part->finished = true;
  return (float *)(void *)take_room(l, s, l->view_reals * sizeof(float), part);
}

/* Both views of image number k of the slot; nothing when the loader stops meanwhile. */
static void make_views(struct loader *l, struct slot *s, ptrdiff_t k, struct scratch *scratch) {
  struct error err;
  struct image image;
  bool owned = false;
  enum found found = FOUND_BAD;
  ptrdiff_t count = l->d->count, wanted = s->wanted[k], i = wanted;
  for (ptrdiff_t tried = 0; tried < count; tried++, i = i + 1 < count ? i + 1 : 0)
    if ((found = get_image(l, i, &image, &owned)) != FOUND_BAD) break;
  if (found == FOUND_STOP) return;
  if (found == FOUND_BAD) {
    fail(&err, "%s: none of its %td images can be read", l->d->root, count);
    stop_unlocked(l, &err);
    return;
  }
  s->sample[k] = (int32_t)i;
  s->label[k] = l->d->label[i];
  for (int v = 0; v < 2; v++) {
    const struct augmentation *a = &l->o.view[v];
    struct view view = augment_draw(a, image.height, image.width, l->o.seed, (uint32_t)s->epoch, (uint32_t)wanted, v);
    if (l->o.windows && window_is_small(&view)) {
      pack_window(l, s, &s->part[2 * k + v], &view, &image);
      continue;
    }
    float *y = l->o.windows ? room_for_view(l, s, &s->part[2 * k + v]) : s->view[v] + (size_t)k * l->view_reals;
    if (!scratch_reserve(scratch, augment_scratch_f32(image.height, image.width, a->size))) {
      fail(&err, "%s: out of memory augmenting this image of %d x %d pixels", l->d->path[i], image.width, image.height);
      stop_unlocked(l, &err);
      break;
    }
    augment_apply_f32(&view, image.rgb, image.height, image.width, y, scratch->data);
  }
  if (owned) image_free(&image);
}

/* ---- workers ----------------------------------------------------------------------------------------------------------------------- */

static void *work(void *argument) {
  struct loader *l = argument;
  struct scratch scratch = {0};
  pthread_mutex_lock(&l->lock);
  for (;;) {
    while (!l->stop && !l->failed && l->claiming == l->opened) pthread_cond_wait(&l->work, &l->lock);
    if (l->stop || l->failed) break;
    struct slot *s = &l->slot[l->claiming % (uint64_t)l->slots];
    ptrdiff_t k = s->claimed++;
    if (s->claimed == l->o.batch) l->claiming++;
    pthread_mutex_unlock(&l->lock);
    make_views(l, s, k, &scratch);
    pthread_mutex_lock(&l->lock);
    if (++s->done == l->o.batch) pthread_cond_signal(&l->ready);
  }
  pthread_mutex_unlock(&l->lock);
  free(scratch.data);
  return NULL;
}

static bool start_workers(struct loader *l, struct error *err) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* inherited by the workers */
  int status = 0;
  while (status == 0 && l->threads < l->o.workers) {
    status = pthread_create(&l->thread[l->threads], NULL, work, l);
    if (status == 0) l->threads++;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return status == 0 ||
         fail(err, "cannot start loader thread %d of %d: %s; ask for fewer workers", l->threads + 1, l->o.workers, strerror(status));
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
  if (!ok || !start_workers(l, err)) {
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
