#include "train/feed.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/size.h"

/* Micro-batches of the loader that may still be copied from: as many as there are lanes. */
enum { HELD = PIPELINE_LANES };

/* ---- memory -------------------------------------------------------------------------------------------------------------------------- */

static size_t view_bytes(const struct config *c, const struct ranks *ranks) {
  ptrdiff_t n;
  return size_product(config_micro_batch(c) / ranks->count, c->size, c->size, 3, &n) ? arena_bytes(n, sizeof(float)) : SIZE_MAX / 16;
}

static bool is_drawn(const struct model_config *m) {
  return m->regions && (m->sampler == SAMPLER_RANDOM || m->negative == NEGATIVE_INSTANCE);
}

/* Numbers that a micro-batch of all ranks draws: two for every region of both views and one an image. A map has at most a cell for 8 x 8
 * pixels. */
static ptrdiff_t draw_count(const struct config *c) {
  struct model_config m = config_model(c);
  ptrdiff_t side = (c->size + 7) / 8, cells, count;
  if (!is_drawn(&m)) return 0;
  return size_product(side, side, 4, 1, &cells) && size_product(cells + 1, m.batch, 1, 1, &count) ? count : PTRDIFF_MAX / 256;
}

static bool has_windows(const struct config *c, const struct backend *b) { return b->pipeline && c->augment_on != CONFIG_AUGMENT_CPU; }

static size_t draw_bytes(const struct config *c) { return arena_bytes(draw_count(c), sizeof(int32_t)); }

/* Both views of a micro-batch, or its windows: each begins anew in the loader's memory. */
static size_t images_bytes(const struct config *c, const struct ranks *ranks) {
  size_t one = arena_bytes(c->size * c->size * 3, sizeof(float)), all;
  return __builtin_mul_overflow(one, (size_t)(2 * config_micro_batch(c) / ranks->count), &all) || all > SIZE_MAX / 16 ? SIZE_MAX / 16 : all;
}

static size_t lane_bytes(const struct config *c, const struct ranks *ranks) { return images_bytes(c, ranks) + draw_bytes(c); }

static size_t scratch_bytes(const struct config *c, const struct backend *b, const struct ranks *ranks) {
  if (!has_windows(c, b)) return 0;
  return arena_bytes((ptrdiff_t)b->pipeline->views_scratch(2 * config_micro_batch(c) / ranks->count, (int)c->size), 1);
}

size_t feed_bytes(const struct config *c, const struct backend *b, const struct ranks *ranks) {
  return 2 * view_bytes(c, ranks) + (b->pipeline ? PIPELINE_LANES * lane_bytes(c, ranks) : 0) + scratch_bytes(c, b, ranks);
}

size_t feed_pinned_bytes(const struct config *c, const struct backend *b) {
  return b->pipeline ? PIPELINE_LANES * draw_bytes(c) + sizeof(struct loss_sums) : 0;
}

void feed_loader_options(const struct config *c, const struct backend *b, struct loader_options *o) {
  if (!b->pipeline) return;
  o->windows = has_windows(c, b);
  o->held = HELD;
  o->reserve = b->pipeline->pin, o->release = b->pipeline->unpin;
}

static bool take_pinned(struct feed *f, const struct config *c, struct error *err) {
  f->pipeline = f->m->backend->pipeline;
  if (!f->pipeline->pin(feed_pinned_bytes(c, f->m->backend), &f->pinned, err)) return false;
  f->sums = f->pinned;
  if (f->draw_count > 0) f->draw = (int32_t *)(f->sums + 1);
  char *lanes = (char *)f->memory + 2 * view_bytes(c, f->ranks);
  for (int l = 0; l < PIPELINE_LANES; l++) f->lane[l] = lanes + (size_t)l * lane_bytes(c, f->ranks);
  f->drawn_at = images_bytes(c, f->ranks);
  if (!has_windows(c, f->m->backend)) return true;
  f->scratch = lanes + PIPELINE_LANES * lane_bytes(c, f->ranks);
  f->item = calloc(2 * (size_t)f->m->config.batch, sizeof *f->item);
  return f->item || fail(err, "out of memory for the list of a micro-batch's views");
}

bool feed_create(struct feed *f, const struct config *c, struct model *m, const struct ranks *ranks, struct error *err) {
  const struct backend *b = m->backend;
  *f = (struct feed){.m = m, .ranks = ranks, .seed = (uint64_t)c->seed, .one = c->size * c->size * 3, .draw_count = draw_count(c)};
  f->bytes = feed_bytes(c, b, ranks);
  if (!b->reserve(f->bytes, &f->memory, err)) return false;
  for (int v = 0; v < 2; v++) f->view[v] = (float *)(void *)((char *)f->memory + (size_t)v * view_bytes(c, ranks));
  if (b->pipeline) return take_pinned(f, c, err);
  if (f->draw_count == 0) return true;
  f->draw = calloc((size_t)f->draw_count, sizeof *f->draw);
  return f->draw || fail(err, "out of memory for the drawn regions");
}

void feed_free(struct feed *f) {
  if (f->memory) f->m->backend->release(f->memory, f->bytes);
  if (f->pinned)
    f->pipeline->unpin(f->pinned);
  else
    free(f->draw);
  free(f->item);
  *f = (struct feed){0};
}

/* ---- what is drawn ------------------------------------------------------------------------------------------------------------------- */

/* What this rank's images have in such an array, wherever it is. */
static struct step_draws parts_of(const struct feed *f, const int32_t *p) {
  ptrdiff_t own = f->m->config.batch, first = f->ranks->rank * own, n = f->ranks->count * own * f->m->cells;
  const int32_t *at = p + first * f->m->cells;
  return (struct step_draws){{at, at + n}, {at + 2 * n, at + 3 * n}, p + 4 * n + first};
}

/* For the images of all ranks: a stream belongs to an image's place among them. */
static void draw(const struct feed *f, uint64_t number, int32_t *p) {
  ptrdiff_t images = f->ranks->count * f->m->config.batch, n = images * f->m->cells;
  step_draw(images, f->m->cells, f->seed, (uint32_t)number, (int32_t *[2]){p, p + n}, (int32_t *[2]){p + 2 * n, p + 3 * n}, p + 4 * n);
}

/* ---- the way ------------------------------------------------------------------------------------------------------------------------- */

static size_t bytes_of_view(const struct feed *f) { return (size_t)(f->m->config.batch * f->one) * sizeof(float); }

/* The loader's micro-batch before the last is its again once this asks for the next, so it must have been copied; within a long step the
 * host may have to wait for that. */
static bool send_next(struct feed *f, struct loader *loader, double *waited, struct error *err) {
  int lane = (int)(f->sent % PIPELINE_LANES);
  struct batch b;
  double seconds;
  if (f->sent >= f->settled + HELD) f->pipeline->sent(lane);
  if (!loader_next(loader, &b, &seconds, err)) return false;
  *waited += seconds;
  f->part[lane] = b.part;
  if (b.part)
    f->pipeline->send(lane, f->lane[lane], b.packed, b.packed_bytes);
  else
    for (int v = 0; v < 2; v++) f->pipeline->send(lane, f->lane[lane] + (size_t)v * bytes_of_view(f), b.view[v], bytes_of_view(f));
  if (f->draw) {
    int32_t *p = f->draw + lane * f->draw_count;
    draw(f, b.number, p);
    f->pipeline->send(lane, f->lane[lane] + f->drawn_at, p, (size_t)f->draw_count * sizeof *p);
  }
  f->sent++;
  return true;
}

/* The windows in this lane become views; what is a view already is copied. */
static void compute_views(struct feed *f, int lane) {
  ptrdiff_t count = 0;
  for (ptrdiff_t i = 0; i < 2 * f->m->config.batch; i++) {
    const struct batch_view *p = &f->part[lane][i];
    float *y = f->view[i % 2] + i / 2 * f->one;
    const char *from = f->lane[lane] + p->at;
    if (p->finished)
      f->m->backend->copy(y, from, (size_t)f->one * sizeof *y);
    else
      f->item[count++] = (struct augment_item){p->view, (const uint8_t *)from, p->view.height, p->view.width, y};
  }
  f->pipeline->views(count, f->item, f->scratch);
}

static void take(struct feed *f) {
  int lane = (int)(f->taken++ % PIPELINE_LANES);
  f->pipeline->arrive(lane);
  if (f->part[lane])
    compute_views(f, lane);
  else
    for (int v = 0; v < 2; v++) f->m->backend->copy(f->view[v], f->lane[lane] + (size_t)v * bytes_of_view(f), bytes_of_view(f));
  if (f->draw) {
    struct step_draws d = parts_of(f, (int32_t *)(void *)(f->lane[lane] + f->drawn_at));
    model_set_draws(f->m, &d, true);
  }
  f->pipeline->leave(lane);
}

/* Without a pipeline. */
static bool copy_next(struct feed *f, struct loader *loader, double *waited, struct error *err) {
  struct batch b;
  double seconds;
  if (!loader_next(loader, &b, &seconds, err)) return false;
  *waited += seconds;
  for (int v = 0; v < 2; v++) f->m->backend->upload(f->view[v], b.view[v], bytes_of_view(f));
  if (f->draw) {
    struct step_draws d = parts_of(f, f->draw);
    draw(f, b.number, f->draw);
    model_set_draws(f->m, &d, false);
  }
  return true;
}

bool feed_next(struct feed *f, struct loader *loader, double *waited, struct error *err) {
  if (!f->pipeline) return copy_next(f, loader, waited, err);
  if (f->failed) {
    *err = f->error;
    return false;
  }
  if (f->sent == f->taken && !send_next(f, loader, waited, err)) return false;
  take(f);
  return true;
}

void feed_ahead(struct feed *f, struct loader *loader) {
  double none = 0;
  if (f->pipeline && !f->failed && f->sent == f->taken && loader_ready(loader)) f->failed = !send_next(f, loader, &none, &f->error);
}

void feed_settle(struct feed *f) { f->settled = f->taken; }

void feed_drop(struct feed *f) {
  if (!f->pipeline) return;
  for (uint64_t k = f->settled; k < f->sent; k++) f->pipeline->sent((int)(k % PIPELINE_LANES));
  f->taken = f->settled = f->sent;
  f->failed = false;
}
