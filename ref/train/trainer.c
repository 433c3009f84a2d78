/* real is float here (the Makefile compiles this room once). */
#include "train/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/size.h"
#include "model/exchange.h"
#include "op/backend_ranks.h"
#include "train/run.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool writes(const struct run *r) { return r->ranks->rank == 0; }

static bool write_checkpoint(struct run *r, struct error *err) {
  char path[CHECKPOINT_PATH];
  checkpoint_path(r->config->out, r->step, path);
  if (!checkpoint_save(path, &r->m, r->step, r->config_text, r->fingerprint, err)) return false;
  checkpoint_prune(r->config->out, r->step, r->whole);
  r->whole = r->step;
  return true;
}

static bool save(struct run *r, struct error *err) {
  if (r->saved == r->step) return true;
  if (!run_agree(r, !writes(r) || write_checkpoint(r, err), err)) return false;
  r->saved = r->step;
  return true;
}

/* ---- one step ------------------------------------------------------------------------------------------------------------------------ */

/* Brings this rank's images of the next micro-batch into the backend's memory; true if every rank could. *waited: the seconds spent are
 * added. */
static bool load(struct run *r, double *waited, struct error *err) {
  struct error many = {.text = ""};
  bool ok = feed_next(&r->feed, r->loader, waited, err), few = run_share_bad(r, &many);
  return run_agree(r, ok, err) && (few || fail(err, "%s", many.text));
}

static void pass(void *context) {
  struct run *r = context;
  const float *const views[2] = {r->feed.view[0], r->feed.view[1]};
  model_accumulate(&r->m, views, 1 / (double)r->config->accumulate, NULL);
}

/* Takes the micro-batch at hand through the networks. A backend that can record operations does so at the second micro-batch, when all is
 * set up, and repeats the recording from then on. */
static void accumulate(struct run *r) {
  const struct pipeline *p = r->m.backend->pipeline;
  if (p && r->config->graph && r->passes == 1) {
    struct error why;
    if (!(r->recorded = p->record(pass, r, &why)))
      run_say(r, "cuda.graph: a step cannot be recorded (%s); its operations are enqueued one by one", why.text);
  }
  if (r->recorded)
    p->replay(r->recorded);
  else
    pass(r);
  r->passes++;
}

/* The losses of the step. Here, and only here, the backend is waited for. */
static bool end_step(struct run *r, struct loss_sums *sums, struct error *err) {
  const struct backend *b = r->m.backend;
  if (!b->pipeline) {
    *sums = model_sums(&r->m);
    return run_status(r, err);
  }
  b->pipeline->fetch(r->feed.sums, r->m.sums, sizeof *sums);
  if (!run_status(r, err)) return false;
  feed_settle(&r->feed);
  *sums = *r->feed.sums;
  return true;
}

/* The loss or a gradient was not finite: goes through the step's micro-batches once more, from the state before it, and says where that
 * began. */
static bool not_finite(struct run *r, struct error *err) {
  char where[256] = "a sum of gradients";
  double ignored = 0, share = 1 / (double)r->config->accumulate;
  struct error why;
  const float *const views[2] = {r->feed.view[0], r->feed.view[1]};
  watch_undo(&r->watch);
  bool found = false, ok = run_open_loader(r, &why);
  model_zero_gradient(&r->m);
  for (int64_t a = 0; ok && !found && a < r->config->accumulate; a++) {
    if (!(ok = load(r, &ignored, &why))) break;
    struct error here = {.text = ""};
    bool finite = !watch_locate(&r->watch, views, share, where, sizeof where) || fail(&here, "%s", where);
    found = !run_agree(r, finite, &here);
    if (found) snprintf(where, sizeof where, "%.255s", here.text);
  }
  if (!ok) snprintf(where, sizeof where, "a micro-batch that cannot be had again: %.200s", why.text);
  double loss = model_sums(&r->m).last.total;
  watch_undo(&r->watch);
  return fail(err, "step %" PRId64 ": %s is not finite (loss %g); first in %s; a smaller lr or a longer warmup may help", r->step + 1,
              isfinite(loss) ? "a gradient" : "the loss", loss, where);
}

/* Step number r->step (from 0). *step gets losses (means over the micro-batches) and schedule; *waited the seconds spent on data. When it
 * fails, the model is as it was before. A backend that works on its own is given the whole step, and waited for once. */
static bool take_step(struct run *r, struct record *step, double *waited, struct error *err) {
  struct loss_sums sums;
  *step =
      (struct record){.regions = r->m.config.regions, .lr = schedule_lr(&r->schedule, r->step), .tau = schedule_tau(&r->schedule, r->step)};
  *waited = 0;
  watch_remember(&r->watch);
  model_zero_gradient(&r->m);
  for (int64_t a = 0; a < r->config->accumulate; a++) {
    if (!load(r, waited, err)) {
      watch_undo(&r->watch);
      return false;
    }
    accumulate(r);
    feed_ahead(&r->feed, r->loader);
  }
  backend_ranks_mean(r->m.backend, r->m.online.net.state_size, r->m.gradient); /* where statistics lie it is zero */
  model_halt_unless_finite(&r->m);
  model_update(&r->m, step->lr, step->tau, NULL);
  if (!end_step(r, &sums, err)) return false;
  if (sums.halt) return not_finite(r, err);
  step->total = sums.sum.total, step->byol = sums.sum.byol, step->rdem = sums.sum.rdem, step->riem = sums.sum.riem;
  r->step++;
  step->step = r->step, step->epoch = r->step / r->steps_per_epoch;
  return true;
}

/* ---- records ------------------------------------------------------------------------------------------------------------------------- */

/* Sums since the last line of the log. */
struct tally {
  struct record sum;
  int64_t steps;
  double since; /* when it began */
};

static void count(struct tally *t, const struct record *step, double waited) {
  t->sum.total += step->total, t->sum.byol += step->byol, t->sum.rdem += step->rdem, t->sum.riem += step->riem;
  t->sum.loader_wait_s += waited;
  t->steps++;
}

/* The line of the log: means over the steps of the tally, the rest as in the last step. Begins a new tally. */
static struct record close_tally(struct tally *t, const struct record *last, int64_t batch) {
  struct record r = *last;
  double n = (double)t->steps, time = now();
  r.total = t->sum.total / n, r.byol = t->sum.byol / n, r.rdem = t->sum.rdem / n, r.riem = t->sum.riem / n;
  r.loader_wait_s = t->sum.loader_wait_s / n;
  r.images_per_s = n * (double)batch / (time - t->since);
  *t = (struct tally){.since = time};
  return r;
}

static void copy_diagnostics(struct record *to, const struct record *from) {
  to->std_global = from->std_global, to->std_local = from->std_local, to->region_cosine = from->region_cosine;
  to->entropy_rdem = from->entropy_rdem, to->entropy_riem = from->entropy_riem;
}

/* ---- the loop ------------------------------------------------------------------------------------------------------------------------ */

/* Whether any rank was asked to stop. */
static bool stop_asked(const struct run *r) { return ranks_any(r->ranks, r->callbacks->stop && *r->callbacks->stop); }

/* The backend has failed, and the state with it. Returns false. */
static bool backend_lost(const struct run *r, const struct error *why, struct error *err) {
  if (r->saved < 0) return fail(err, "%.900s (there is none in %.100s yet)", why->text, r->config->out);
  return fail(err, "%.900s (step %" PRId64 ")", why->text, r->saved);
}

/* A state could not be kept: says what the run can go on from. Returns false. */
static bool save_failed(const struct run *r, struct error *err) {
  struct error why = *err;
  if (r->saved < 0) return fail(err, "%.850s (there is no checkpoint in %.100s yet)", why.text, r->config->out);
  return fail(err, "%.900s (the last checkpoint is of step %" PRId64 ")", why.text, r->saved);
}

/* The run cannot go on: the state that it is in, "before" a step that failed or "after" one, is kept. Returns false. */
static bool give_up(struct run *r, const char *when, struct error *err) {
  struct error why = *err, second;
  char path[CHECKPOINT_PATH];
  if (!run_status(r, &second)) return backend_lost(r, &second, err);
  checkpoint_path(r->config->out, r->step, path);
  if (save(r, &second)) return fail(err, "%.700s; the state %s this step is in %s", why.text, when, path);
  fail(err, "%.400s; and the state %s this step could not be kept: %.400s", why.text, when, second.text);
  return save_failed(r, err);
}

/* Steps until end, or until the program asks to stop. */
static bool loop(struct run *r, int64_t end, struct record *last, struct error *err) {
  const struct config *c = r->config;
  int64_t every = run_checkpoint_every(r), first = r->step;
  double start = now(), pace = 0; /* pace: seconds a step, lately */
  struct tally tally = {.since = start};
  while (r->step < end && !stop_asked(r)) {
    struct record step;
    double waited, begun = now();
    if (!take_step(r, &step, &waited, err)) return give_up(r, "before", err);
    count(&tally, &step, waited);
    step.bad_files = r->bad;
    bool due = r->step % c->log_every == 0 || r->step == end;
    if (due || r->step == first + 1)
      watch_diagnose(&r->watch, &step);
    else
      copy_diagnostics(&step, last);
    if (due && !run_status(r, err)) return give_up(r, "after", err); /* the diagnostics were fetched */
    double seconds = now() - begun;
    pace = pace > 0 ? 0.9 * pace + 0.1 * seconds : seconds;
    step.images_per_s = (double)c->batch / pace;
    *last = step;
    if (due) {
      struct record line = close_tally(&tally, &step, c->batch);
      if (!run_agree(r, !writes(r) || log_write(&r->log, &line, err), err)) return give_up(r, "after", err);
    }
    if (r->callbacks->progress && writes(r)) {
      struct progress p = {.now = step,
                           .steps = r->schedule.steps,
                           .epochs = c->epochs,
                           .seconds = now() - start,
                           .seconds_left = pace * (double)(end - r->step)};
      r->callbacks->progress(r->callbacks->context, &p);
    }
    if (r->step % every == 0 && !save(r, err)) return save_failed(r, err);
  }
  return save(r, err) || save_failed(r, err);
}

/* Writes RUN/backbone.safetensors, the result of the run. If no step was taken, one that is there is it already. */
static bool export_backbone(struct run *r, bool trained, struct error *err) {
  const struct net *net = &r->m.online.net;
  size_t bytes = (size_t)net->state_size * sizeof(real);
  char path[CHECKPOINT_PATH], steps[32];
  snprintf(path, sizeof path, "%s/backbone.safetensors", r->config->out);
  if (!trained && access(path, F_OK) == 0) return true; /* done before */
  snprintf(steps, sizeof steps, "%" PRId64, r->step);
  real *host = malloc(bytes);
  if (!host) return fail(err, "%s: out of memory: %.2f GB for the weights", path, (double)bytes / 1e9);
  r->m.backend->download(host, r->m.online.state, bytes);
  const char *const metadata[] = {"format", "pt", "step", steps, "config", r->config_text, NULL};
  bool ok = r->m.backend->status(err) && exchange_export(net, host, EXCHANGE_TORCHVISION, metadata, path, err);
  free(host);
  return ok;
}

static bool train_all(struct run *r, struct train_result *result, struct error *err) {
  const struct config *c = r->config;
  if (!run_start(r, err)) return false;
  int64_t saved = r->saved;
  if (!loop(r, run_last_step(r), &result->last, err)) return false;
  result->finished = r->step == r->schedule.steps;
  result->step = r->step, result->steps = r->schedule.steps;
  checkpoint_path(c->out, r->step, result->checkpoint);
  return !result->finished || run_agree(r, !writes(r) || export_backbone(r, r->step != saved, err), err);
}

/* Threads of the arithmetic: as the key says, or OMP_NUM_THREADS; else this rank's share of the processors it may run on. */
static int threads_of(const struct config *c, const struct ranks *ranks) {
  if (c->threads > 0) return (int)c->threads;
  if (ranks->count == 1 || getenv("OMP_NUM_THREADS")) return omp_get_max_threads();
  return (int)size_max(1, omp_get_num_procs() / ranks->sharers);
}

bool train(const struct config *config, const struct train_callbacks *callbacks, struct train_result *result, struct error *err) {
  int threads = omp_get_max_threads();
  const struct ranks *ranks = callbacks->ranks ? callbacks->ranks : ranks_alone();
  omp_set_num_threads(threads_of(config, ranks));
  struct run *r = calloc(1, sizeof *r);
  *result = (struct train_result){0};
  if (r) *r = (struct run){.config = config, .callbacks = callbacks, .ranks = ranks};
  bool ok = ranks_agree(ranks, r || fail(err, "out of memory"), err) && train_all(r, result, err);
  if (r) run_close(r);
  free(r);
  omp_set_num_threads(threads);
  return ok;
}
