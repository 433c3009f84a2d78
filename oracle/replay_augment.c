/* Replay of the augmentation: both views of one image from its bytes and from what was drawn (docs/golden-format.md), as the case `augment`
 * with the transform `pipeline`. It has no gauge: a view is held to the relative rule of compare.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "oracle/memory_case.h"
#include "oracle/replay_rows.h"
#include "oracle/values.h"

/* The places of the draws. */
enum {
  DRAW_TOP,
  DRAW_LEFT,
  DRAW_HEIGHT,
  DRAW_WIDTH,
  DRAW_SIZE,
  DRAW_ANTIALIAS,
  DRAW_FLIP,
  DRAW_JITTER,
  DRAW_ORDER,
  DRAW_BRIGHTNESS = DRAW_ORDER + 4,
  DRAW_CONTRAST,
  DRAW_SATURATION,
  DRAW_HUE,
  DRAW_GREY,
  DRAW_SIGMA,
  DRAW_TAPS,
  DRAW_SOLARISED,
  DRAWS
};

/* A number that stands for a whole one; far outside where it does not, so that the case is refused. */
static ptrdiff_t whole(double x) { return x >= 0 && x < 1e6 && x == floor(x) ? (ptrdiff_t)x : -1; }

static void describe(struct memory_case *c, const double *draw) {
  static const char *const jitters[] = {"none", "byol", "torchvision"}, *const steps[] = {"brightness", "contrast", "saturation", "hue"};
  static const struct {
    const char *key;
    int at;
  } sizes[] = {{"top", DRAW_TOP},     {"left", DRAW_LEFT}, {"height", DRAW_HEIGHT},
               {"width", DRAW_WIDTH}, {"size", DRAW_SIZE}, {"taps", DRAW_TAPS}},
    flags[] = {{"antialias", DRAW_ANTIALIAS}, {"flip", DRAW_FLIP}, {"grey", DRAW_GREY}, {"solarised", DRAW_SOLARISED}},
    numbers[] = {{"brightness", DRAW_BRIGHTNESS},
                 {"contrast", DRAW_CONTRAST},
                 {"saturation", DRAW_SATURATION},
                 {"hue", DRAW_HUE},
                 {"sigma", DRAW_SIGMA}};
  char order[64] = "";
  size_t used = 0;
  ptrdiff_t jitter = whole(draw[DRAW_JITTER]);
  memory_case_text(c, "transform", "pipeline");
  memory_case_text(c, "jitter", jitter >= 0 && jitter < 3 ? jitters[jitter] : "?");
  for (int i = 0; i < 4; i++) {
    ptrdiff_t step = whole(draw[DRAW_ORDER + i]);
    used += (size_t)snprintf(order + used, sizeof order - used, "%s%s", i ? "," : "", step >= 0 && step < 4 ? steps[step] : "?");
  }
  memory_case_text(c, "order", order);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) memory_case_integer(c, sizes[i].key, whole(draw[sizes[i].at]));
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) memory_case_flag(c, flags[i].key, draw[flags[i].at] != 0);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) memory_case_number(c, numbers[i].key, draw[numbers[i].at]);
}

/* Views are made in float by whoever trains in double, too: a float is held to no more than float. */
static const struct precision_class *class_of_view(const struct replay *r, const struct dump_entry *e) {
  const struct precision_class *p = replay_class(r, e);
  return e->data.dtype == DTYPE_F32 && p->out.bits > 24 ? &precision_classes[PRECISION_FP32] : p;
}

/* One view: image `at->index` of the tensor of views. */
static bool judge_view(struct replay *r, const struct unit *at, int v, const struct tensor *source, const struct dump_entry *draws,
                       struct error *err) {
  const struct model_config *o = &r->u->config;
  const ptrdiff_t shape[] = {o->height, o->width, 3}, batch[] = {o->batch, o->height, o->width, 3};
  struct replay_row row = replay_row_of(at, "augment");
  struct judged_file file;
  struct memory_case c;
  struct unit view = *at;
  unit_name name, of;
  double draw[DRAWS];
  bool ok = true;
  view.view = v;
  units_value(r->u, &view, 0, of);
  snprintf(name, sizeof name, "%d.%d/augment/-/%d/%d/view", at->step, at->micro, v, at->index);
  const struct dump_entry *e = dump_find(r->u->d, "%s", of);
  if (!replay_wants(r, name)) return true;
  if (replay_has_form(e, 4, batch, false, &row.judged)) {
    tensor_load(&draws->data, draw);
    if (draw[DRAW_SIZE] != (double)o->height || draw[DRAW_SIZE] != (double)o->width) /* before a view of any size is computed */
      return fail(err, "%s: drawn for %g x %g pixels; the views of this batch have %td x %td", name, draw[DRAW_SIZE], draw[DRAW_SIZE],
                  o->height, o->width);
    memory_case_begin(&c, "augment", name);
    describe(&c, draw);
    memory_case_give(&c, "in.image", source);
    memory_case_expect(&c, "out.image", DTYPE_F32, 3, shape);
    size_t image = (size_t)(o->height * o->width * 3) * dtype_size(e->data.dtype);
    struct tensor t = tensor_make(e->data.dtype, (char *)e->data.data + (size_t)at->index * image, 3, shape, "out.image");
    ok = memory_case_end(&c, err) && candidate_judge_tensors(&c.file, &t, 1, class_of_view(r, e), e->chain, true, &file, err);
    if (ok) {
      row.judged = file.tensor[0];
      judged_free(&file);
    }
    memory_case_free(&c);
  }
  if (ok) replay_show(r, &row, name);
  return ok;
}

/* Something that was given, and has this form; else a row says what it has. */
static const struct dump_entry *given(struct replay *r, const struct unit *at, const char *name, enum dtype dtype, int ndim,
                                      ptrdiff_t last) {
  const struct dump_entry *e = dump_find(r->u->d, "%s", name);
  struct replay_row row = replay_row_of(at, "augment");
  struct finding *f = &row.judged.finding;
  replay_know(r, e);
  row.given = true;
  if (e) row.judged.judgement = JUDGED_MISMATCH;
  f->rule = !e ? "missing: other images of this batch have it" : dtype == DTYPE_U8 ? "not U8 of H x W x 3" : "not 20 numbers of F64";
  f->pass = e && e->data.dtype == dtype && e->data.ndim == ndim && e->data.shape[ndim - 1] == last;
  if (f->pass) row.judged.judgement = JUDGED_PASS, f->rule = "given", f->error = 0;
  replay_show(r, &row, name);
  return f->pass ? e : NULL;
}

bool replay_augment(struct replay *r, const struct unit *at, struct error *err) {
  unit_name name;
  snprintf(name, sizeof name, "%d.%d/augment/-/0/%d/source", at->step, at->micro, at->index);
  const struct dump_entry *source = given(r, at, name, DTYPE_U8, 3, 3);
  bool ok = true;
  for (int v = 1; ok && v <= 2; v++) {
    snprintf(name, sizeof name, "%d.%d/augment/-/%d/%d/draw", at->step, at->micro, v, at->index);
    const struct dump_entry *draws = given(r, at, name, DTYPE_F64, 1, DRAWS);
    if (source && draws) ok = judge_view(r, at, v, &source->data, draws, err);
  }
  return ok;
}
