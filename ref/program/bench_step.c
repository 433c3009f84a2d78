/* ediy bench: training steps on views of noise, whole ones and by the profile. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "model/step.h"
#include "program/bench.h"

/* Elements of one view. */
static ptrdiff_t view_size(const struct bench *o) { return (ptrdiff_t)(o->batch * o->size * o->size * 3); }

struct workload {
  const struct bench *o;
  struct model m;
  void *view[2];
  int passes;
  struct recording *recorded; /* a pass, of a backend that can repeat it */
};

static void begin_step(struct workload *w) { model_zero_gradient(&w->m); }

static void accumulate(struct workload *w, const struct trace *trace) {
  const float *const views[2] = {w->view[0], w->view[1]};
  model_accumulate(&w->m, views, 1, trace);
}

static void enqueue(void *context) { accumulate(context, NULL); }

/* As the trainer has it: recorded at the second time, and from then on repeated. */
static void pass(struct workload *w) {
  const struct pipeline *p = w->m.backend->pipeline;
  struct error ignored;
  if (p && w->o->graph && w->passes == 1) w->recorded = p->record(enqueue, w, &ignored);
  if (w->recorded)
    p->replay(w->recorded);
  else
    enqueue(w);
  w->passes++;
}

static void update(struct workload *w) {
  model_halt_unless_finite(&w->m);
  model_update(&w->m, 0.2, 0.996, NULL);
}

/* What the step says of itself, waited for. */
static bool end_step(struct workload *w, struct error *err) {
  struct loss_sums sums = model_sums(&w->m);
  if (!w->m.backend->status(err)) return false;
  return (!sums.halt && isfinite(sums.sum.total)) || fail(err, "bench: the loss or a gradient is not finite");
}

/* One step; its seconds, of which the last wait is part. */
static bool time_step(struct workload *w, double *seconds, struct error *err) {
  double start = omp_get_wtime();
  begin_step(w);
  pass(w);
  update(w);
  bool ok = end_step(w, err);
  *seconds = omp_get_wtime() - start;
  return ok;
}

/* The same by the profile. */
static bool profile_step(struct workload *w, const struct profile_peaks *peaks, struct profile *p, double *seconds, struct error *err) {
  double start = omp_get_wtime();
  profile_begin_step(peaks);
  begin_step(w);
  profile_end_stage(STAGE_OTHER);
  accumulate(w, &profile_trace);
  profile_end_stage(STAGE_LOSSES); /* their sum is what was left */
  update(w);
  *p = profile_end_step();
  bool ok = end_step(w, err);
  *seconds = omp_get_wtime() - start;
  return ok;
}

/* The median of each number: sums are arrays of doubles, calls are the same in every step. */
static void take_medians(const struct profile *steps, int count, struct profile *p) {
  double value[BENCH_STEPS];
  *p = steps[0];
  for (int i = 0; i < PARTS + STAGES; i++) {
    struct profile_sum *to = i < PARTS ? &p->part[i] : &p->stage[i - PARTS];
    for (int k = 0; k < count; k++) value[k] = (i < PARTS ? &steps[k].part[i] : &steps[k].stage[i - PARTS])->seconds;
    to->seconds = bench_median(value, count);
  }
}

/* On the host's clock these are the whole steps, too; on a GPU's, those are timed apart. */
static bool profile_steps(struct workload *w, struct figures *f, struct error *err) {
  const struct bench *o = w->o;
  const struct backend *b = w->m.backend;
  struct profile *steps = calloc((size_t)o->steps, sizeof *steps), ignored;
  double seconds;
  bool ok = steps || fail(err, "bench: out of memory");
  w->m.backend = profile_backend(b);
  for (int64_t i = 0; ok && i < o->warmup; i++) ok = profile_step(w, &f->peaks, &ignored, &seconds, err);
  for (int64_t i = 0; ok && i < o->steps; i++) ok = profile_step(w, &f->peaks, &steps[i], b->mark ? &seconds : &f->step[i], err);
  if (ok) take_medians(steps, (int)o->steps, &f->profile);
  w->m.backend = b;
  free(steps);
  return ok;
}

static bool prepare(struct workload *w, const struct backend *b, double *planning, struct error *err) {
  const struct bench *o = w->o;
  struct model_config c = {.batch = o->batch,
                           .height = o->size,
                           .width = o->size,
                           .regions = o->regions,
                           .teacher = o->regions,
                           .lambda_rdem = 1,
                           .lambda_riem = 1,
                           .lambda_byol = 1,
                           .lars = {.trust = 1e-3, .momentum = 0.9, .weight_decay = 1.5e-6}};
  if (!architecture_named(bench_backbone(o), &c.arch)) return fail(err, "bench: no backbone of that name");
  c.arch.hidden = (ptrdiff_t)o->hidden, c.arch.out = (ptrdiff_t)o->out;
  if (!bench_noise(b, view_size(o), false, 1, &w->view[0], err) || !bench_noise(b, view_size(o), false, 2, &w->view[1], err)) return false;
  double start = omp_get_wtime();
  bool ok = model_create(&w->m, &c, b, err);
  *planning = omp_get_wtime() - start;
  return ok && model_initialise(&w->m, (uint64_t)o->seed, err);
}

static void finish(struct workload *w, const struct backend *b) {
  if (w->recorded) b->pipeline->forget(w->recorded);
  model_free(&w->m);
  for (int v = 0; v < 2; v++)
    if (w->view[v]) b->release(w->view[v], (size_t)view_size(w->o) * sizeof(real));
}

bool bench_steps(const struct bench *o, struct figures *f, struct error *err) {
  const struct backend_options options = bench_backend(o);
  const struct backend *b = backend_open(&options, err);
  struct workload w = {.o = o};
  if (!b) return false;
  if (b->mark && !bench_peaks(o, b, &f->peaks, err)) return false;
  size_t before = b->available();
  bool ok = prepare(&w, b, &f->planning, err);
  double seconds;
  for (int64_t i = 0; ok && b->mark && i < o->warmup; i++) ok = time_step(&w, &seconds, err);
  for (int64_t i = 0; ok && b->mark && i < o->steps; i++) ok = time_step(&w, &f->step[i], err);
  size_t after = b->available();
  struct error ignored; /* a second time, now that the GPU has been at work: the better one counts, and where there is no room, the first */
  if (ok && b->mark && !bench_peaks(o, b, &f->peaks, &ignored)) ok = b->status(err);
  f->graph = w.recorded;
  ok = ok && profile_steps(&w, f, err);
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  f->memory = b->mark ? (double)before - (double)after : 1024.0 * (double)usage.ru_maxrss;
  finish(&w, b);
  if (ok) f->images = (double)o->batch / bench_median(f->step, (int)o->steps);
  return ok;
}
