/* From a configuration to a run that is ready for its next step. real is float here. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/size.h"
#include "train/backends.h"
#include "train/run.h"

void run_say(const struct run *r, const char *format, ...) {
  if (!r->callbacks->message) return;
  char line[1200];
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  r->callbacks->message(r->callbacks->context, line);
}

static void say_line(void *context, const char *line) { run_say(context, "%s", line); }

struct loader_options run_loader_options(const struct config *c, const struct backend *b, size_t cache_bytes) {
  struct loader_options o = {.batch = config_micro_batch(c),
                             .group = c->accumulate,
                             .workers = (int)c->workers,
                             .ahead = (int)c->ahead,
                             .seed = (uint64_t)c->seed,
                             .max_bad = c->max_bad,
                             .view = {config_augmentation(c, 0), config_augmentation(c, 1)},
                             .cache_bytes = cache_bytes};
  feed_loader_options(b, &o);
  return o;
}

static bool open_data(struct run *r, struct error *err) {
  const struct config *c = r->config;
  if (!dataset_open(&r->data, c->data, err)) return false;
  dataset_fingerprint(&r->data, r->fingerprint);
  r->steps_per_epoch = r->data.count / c->batch;
  if (r->steps_per_epoch == 0)
    return fail(err, "%s: %td images do not fill one batch of %" PRId64 "; choose a smaller batch or more images", r->data.root,
                r->data.count, c->batch);
  r->schedule = schedule_make(c->lr, c->batch, c->warmup, c->epochs, r->steps_per_epoch, c->tau0);
  run_say(r, "data: %td images in %d classes, %" PRId64 " steps an epoch, %" PRId64 " in all", r->data.count, r->data.classes,
          r->steps_per_epoch, r->schedule.steps);
  return true;
}

/* ---- weights -------------------------------------------------------------------------------------------------------------------------- */

static bool load_teacher(struct run *r, struct error *err) {
  const struct net *net = &r->m.teacher.net;
  size_t bytes = (size_t)net->state_size * sizeof(real);
  real *host = calloc(1, bytes);
  if (!host) return fail(err, "out of memory: %.2f GB for the teacher", (double)bytes / 1e9);
  bool ok = weights_load(net, r->config->teacher, false, host, err) || fail_within(err, "teacher");
  if (ok) r->m.backend->upload(r->m.teacher.state, host, bytes);
  free(host);
  return ok;
}

/* The checkpoint to go on from, by the key `resume`; *found false: begin at step 0. */
static bool find_checkpoint(struct run *r, struct checkpoint *from, bool *found, struct error *err) {
  const struct config *c = r->config;
  bool none = strcmp(c->resume, "no") == 0, latest = strcmp(c->resume, "auto") == 0;
  if (!checkpoint_latest(c->out, from, found, say_line, r, err)) return false;
  if (latest) return true;
  /* What is newer than the point of departure would be taken for this run's. */
  int64_t newest = *found ? from->step : -1;
  if (*found) checkpoint_close(from);
  *found = false;
  if (none)
    return newest < 0 ||
           fail(err, "%s: holds checkpoints of an earlier run (step %" PRId64 "); go on from them with resume=auto, or choose another out",
                c->out, newest);
  if (!checkpoint_open(from, c->resume, err)) return fail_within(err, "resume");
  *found = true;
  return newest <= from->step ||
         fail(err,
              "%s: holds a checkpoint of step %" PRId64 ", newer than %s (step %" PRId64 "); remove the newer ones, or choose another out",
              c->out, newest, c->resume, from->step);
}

static bool resume_from(struct run *r, const struct checkpoint *from, struct error *err) {
  const char *path = from->file.path;
  if (!config_same_run(r->config, from->config, path, err)) return false;
  if (strcmp(from->data, r->fingerprint) != 0)
    return fail(
        err, "%s: was trained on another set of images than %s (files were added, removed or renamed); give the same data, or another out",
        path, r->data.root);
  if (from->step > r->schedule.steps)
    return fail(err, "%s: is of step %" PRId64 ", beyond the end of this run at step %" PRId64, path, from->step, r->schedule.steps);
  if (!checkpoint_load(from, &r->m, err)) return false;
  r->step = from->step;
  run_say(r, "resumed from %s at step %" PRId64 " of %" PRId64, path, r->step, r->schedule.steps);
  return true;
}

static bool set_weights(struct run *r, struct error *err) {
  struct checkpoint from;
  bool found = false;
  if (!find_checkpoint(r, &from, &found, err)) {
    if (found) checkpoint_close(&from);
    return false;
  }
  if (found) {
    bool ok = resume_from(r, &from, err);
    char own[CHECKPOINT_PATH];
    checkpoint_path(r->config->out, from.step, own);
    r->saved = strcmp(own, from.file.path) == 0 ? from.step : -1;
    checkpoint_close(&from);
    return ok;
  }
  /* From step 0 the log is begun anew and the result replaced: not those of a run whose checkpoints were removed to save space. */
  char result[CHECKPOINT_PATH];
  snprintf(result, sizeof result, "%s/backbone.safetensors", r->config->out);
  if (access(result, F_OK) == 0)
    return fail(err, "%s: the result of an earlier run without its checkpoints; choose another out, or remove it to begin anew", result);
  return model_initialise(&r->m, (uint64_t)r->config->seed, err) && (!r->m.config.teacher || load_teacher(r, err));
}

/* ---- start and end -------------------------------------------------------------------------------------------------------------------- */

static bool open_output(struct run *r, struct error *err) {
  const char *out = r->config->out;
  char path[CHECKPOINT_PATH];
  if (!folder_create(out, err)) return false;
  snprintf(path, sizeof path, "%s/log.jsonl", out);
  if (!log_open(&r->log, path, r->step, err)) return false;
  snprintf(path, sizeof path, "%s/config.txt", out);
  return file_replace(path, r->config_text, strlen(r->config_text), err);
}

bool run_open_loader(struct run *r, struct error *err) {
  feed_drop(&r->feed);
  loader_close(r->loader);
  r->loader = NULL;
  struct loader_options l = run_loader_options(r->config, r->m.backend, r->cache_bytes);
  return loader_open(&r->loader, &r->data, &l, (uint64_t)(r->step * r->config->accumulate), say_line, r, err);
}

bool run_start(struct run *r, struct error *err) {
  const struct config *c = r->config;
  struct need needed;
  size_t left;
  r->saved = -1;
  if (!config_check(c, err)) return false;
  if (!(r->config_text = options_format(config_options, config_option_count, c))) return fail(err, "out of memory for the configuration");
  const struct backend *b =
      backend_open(&(struct backend_options){.backend = (enum backend_choice)c->backend, .conv = c->cuda_conv, .gemm = c->cuda_gemm}, err);
  if (!b || !open_data(r, err) || !run_check_memory(c, b, &needed, &left, err)) return false;
  struct model_config m = config_model(c);
  if (!model_create(&r->m, &m, b, err)) return false;
  ptrdiff_t weights = 0;
  for (int i = 0; i < r->m.online.net.parameters; i++) weights += r->m.online.net.parameter[i].size;
  run_say(r, "network: %.1f million weights, %td regions of %td channels a view; %.2f GB of memory", (double)weights / 1e6, r->m.cells,
          net_channels(&m.arch), (double)(needed.host + needed.device) / 1e9);
  if (!set_weights(r, err) || !feed_create(&r->feed, c, &r->m, err) || !watch_create(&r->watch, &r->m, err) || !open_output(r, err))
    return false;
  /* The cache is a convenience: at most half of what is left, lest others be swapped out. */
  r->cache_bytes = (size_t)size_min((ptrdiff_t)(c->cache * 1000000), (ptrdiff_t)(left / 2));
  return run_open_loader(r, err);
}

void run_close(struct run *r) {
  feed_drop(&r->feed);
  loader_close(r->loader);
  log_close(&r->log);
  watch_free(&r->watch);
  if (r->recorded) r->m.backend->pipeline->forget(r->recorded);
  feed_free(&r->feed);
  model_free(&r->m);
  dataset_close(&r->data);
  free(r->config_text);
}
