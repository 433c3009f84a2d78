#include "train/loader_work.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/plural.h"
#include "image/window.h"

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
    fail(&err, "%td image%s cannot be read, more than the %td that data.max_bad allows; the last: %.600s", l->bad, plural(l->bad),
         l->o.max_bad, why->text);
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
  if (!ok && err.is_shortage)
    stop_with(l, &err); /* another image in its place would be another training */
  else if (!ok)
    mark_bad(l, i, &err);
  else if (!l->cached[i].rgb && bytes <= l->o.cache_bytes - l->cached_bytes) {
    l->cached[i] = *image;
    l->cached_bytes += bytes;
  } else
    *owned = true; /* does not fit, or another worker, busy with another epoch, was faster */
  pthread_mutex_unlock(&l->lock);
  return ok ? FOUND : err.is_shortage ? FOUND_STOP : FOUND_BAD;
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

bool loader_start_workers(struct loader *l, struct error *err) {
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
