/* From a configuration to a run that is ready for its next step. real is float here. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/plural.h"
#include "base/size.h"
#include "op/backend_ranks.h"
#include "train/backends.h"
#include "train/run.h"

void run_say(const struct run *r, const char *format, ...) {
  if (!r->callbacks->message || r->ranks->rank != 0) return;
  char line[1200];
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  r->callbacks->message(r->callbacks->context, line);
}

static void say_line(void *context, const char *line) { run_say(context, "%s", line); }

static ptrdiff_t images_of(const struct config *c, const struct ranks *ranks) { return config_micro_batch(c) / ranks->count; }

struct loader_options run_loader_options(const struct config *c, const struct backend *b, const struct ranks *ranks, size_t cache_bytes) {
  ptrdiff_t own = images_of(c, ranks);
  struct loader_options o = {.batch = own,
                             .before = ranks->rank * own,
                             .after = (ranks->count - 1 - ranks->rank) * own,
                             .group = c->accumulate,
                             .workers = (int)c->workers,
                             .ahead = (int)c->ahead,
                             .seed = (uint64_t)c->seed,
                             .max_bad = c->max_bad,
                             .view = {config_augmentation(c, 0), config_augmentation(c, 1)},
                             .cache_bytes = cache_bytes};
  feed_loader_options(c, b, &o);
  return o;
}

static bool open_data(struct run *r, struct error *err) {
  const struct config *c = r->config;
  if (!dataset_open(&r->data, c->data, err)) return false;
  dataset_fingerprint(&r->data, r->fingerprint);
  if (!(r->is_bad = calloc((size_t)r->data.count, 1))) return fail(err, "%s: out of memory for the lists of its images", r->data.root);
  r->steps_per_epoch = r->data.count / c->batch;
  if (r->steps_per_epoch == 0)
    return fail(err, "%s: %td image%s not fill one batch of %" PRId64 "; choose a smaller batch or more images", r->data.root,
                r->data.count, r->data.count == 1 ? " does" : "s do", c->batch);
  r->schedule = schedule_make(c->lr, c->batch, c->warmup, c->epochs, r->steps_per_epoch, c->tau0);
  char classes[32] = "";
  if (r->data.classes) snprintf(classes, sizeof classes, " in %d class%s", r->data.classes, r->data.classes == 1 ? "" : "es");
  run_say(r, "data: %td image%s%s, %" PRId64 " step%s an epoch, %" PRId64 " in all", r->data.count, plural(r->data.count), classes,
          r->steps_per_epoch, plural(r->steps_per_epoch), r->schedule.steps);
  if (c->warmup >= c->epochs)
    run_say(r,
            "warmup = %" PRId64 " leaves nothing of epochs = %" PRId64 ": the learning rate rises to the last step and never falls; "
            "a smaller warmup lets it",
            c->warmup, c->epochs);
  struct error left_out = dataset_left_out(&r->data);
  if (left_out.text[0]) run_say(r, "%s", left_out.text);
  return true;
}

/* ---- weights ------------------------------------------------------------------------------------------------------------------------- */

static bool load_teacher(struct run *r, struct error *err) {
  const struct net *net = &r->m.teacher.net;
  size_t bytes = (size_t)net->state_size * sizeof(real);
  real *host = calloc(1, bytes);
  if (!host) return fail(err, "out of memory: %.2f GB for the teacher", (double)bytes / 1e9);
  bool ok =
      config_has_teacher(r->config, err) && (weights_load(net, r->config->teacher, NULL, false, host, err) || fail_within(err, "teacher"));
  if (ok) r->m.backend->upload(r->m.teacher.state, host, bytes);
  free(host);
  return ok;
}

/* The checkpoint to go on from, by the key `resume`; *found false: begin at step 0. */
static bool find_checkpoint(struct run *r, struct checkpoint *from, bool *found, struct error *err) {
  const struct config *c = r->config;
  bool none = strcmp(c->resume, "no") == 0, latest = strcmp(c->resume, "auto") == 0;
  if (!checkpoint_latest(c->out, from, found, say_line, r, err)) return false;
  int64_t newest = r->whole = *found ? from->step : -1;
  if (latest) return true;
  /* What is newer than the point of departure would be taken for this run's. */
  if (*found) checkpoint_close(from);
  *found = false;
  if (none)
    return newest < 0 ||
           fail(err, "%s: holds checkpoints of an earlier run (step %" PRId64 "); go on from them with resume=auto, or choose another out",
                c->out, newest);
  struct stat s;
  if (stat(c->resume, &s) == 0 && S_ISDIR(s.st_mode))
    return fail(err, "resume = %s is a folder; name a file in it, or go on in it with out=%s", c->resume, c->resume);
  if (!checkpoint_open(from, c->resume, err)) return fail_within(err, "resume");
  *found = true;
  return newest <= from->step ||
         fail(err,
              "%s: holds a checkpoint of step %" PRId64 ", newer than %s (step %" PRId64 "); remove the newer ones, or choose another out",
              c->out, newest, c->resume, from->step);
}

/* Of a run that goes on without naming its teacher: what is written of it names the one that it had. */
static bool keep_teacher(struct run *r, const char *teacher, const char *path, struct error *err) {
  if (*r->config->teacher || !config_needs_teacher(r->config)) return true;
  struct config *c = malloc(sizeof *c);
  char *text = NULL;
  if (c) {
    *c = *r->config;
    memcpy(c->teacher, teacher, sizeof c->teacher);
    text = options_format(config_options, config_option_count, c);
  }
  free(c);
  if (!text) return fail(err, "out of memory for the configuration");
  free(r->config_text);
  r->config_text = text;
  run_say(r, "teacher: that of the run, %s, whose weights are in %s", teacher, path);
  return true;
}

static bool resume_from(struct run *r, const struct checkpoint *from, struct error *err) {
  const char *path = from->file.path;
  char teacher[OPTION_TEXT_SIZE];
  if (!config_same_run(r->config, from->config, path, teacher, err) || !keep_teacher(r, teacher, path, err)) return false;
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

/* The folder's lock, where there is a log to be locked, is taken before its checkpoints are looked at: whoever is at work there makes and
 * removes them. A run that is done has nothing to do with that. */
static bool set_weights(struct run *r, struct error *err) {
  struct checkpoint from;
  struct error taken;
  char log[CHECKPOINT_PATH];
  snprintf(log, sizeof log, "%s/log.jsonl", r->config->out);
  bool found = false, alone = log_hold(&r->log, log, &taken);
  if (!find_checkpoint(r, &from, &found, err)) {
    if (found) checkpoint_close(&from);
    return false;
  }
  if (found) {
    bool ok = (alone || from.step == r->schedule.steps || fail(err, "%s", taken.text)) && resume_from(r, &from, err);
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

/* ---- start and end ------------------------------------------------------------------------------------------------------------------- */

int64_t run_last_step(const struct run *r) {
  int64_t stop = r->config->stop;
  return stop > 0 && stop < r->schedule.steps ? stop : r->schedule.steps;
}

int64_t run_checkpoint_every(const struct run *r) {
  return r->config->checkpoint_every > 0 ? r->config->checkpoint_every : r->steps_per_epoch;
}

/* A full disk is found out now, not at the first checkpoint, an epoch of work later. A new one is written beside those that are kept; a run
 * that goes on is taken to have these already. Leftovers are in nobody's way: they go as soon as the folder is locked. */
static bool check_disk(const struct run *r, struct error *err) {
  const char *out = r->config->out;
  int64_t steps = run_last_step(r) - r->step, every = run_checkpoint_every(r);
  int64_t writes = steps > 0 ? 1 + (steps - 1) / every : 0, most = r->saved < 0 ? CHECKPOINTS_KEPT + 1 : 1;
  double count = (double)(writes < most ? writes : most), one = (double)checkpoint_bytes(&r->m);
  size_t space;
  if (!folder_space(out, &space)) return true;
  space += checkpoint_leftovers(out, false).bytes;
  if (count * one <= (double)space) return true;
  return fail(err, "%s: %.0f checkpoint%s of %.1f MB must fit there, and the disk has %.1f MB left; free space or choose another out", out,
              count, plural((int64_t)count), one / 1e6, (double)space / 1e6);
}

/* What holds the log has locked the folder. Where the file system has no locks, they go with the first checkpoint that is written
 * (checkpoint_prune). */
static void remove_leftovers(const struct run *r) {
  struct leftovers l = {0};
  if (r->log.locked) l = checkpoint_leftovers(r->config->out, true);
  if (l.count > 0)
    run_say(r, "%s: removed %d unfinished file%s of %.1f MB, left by a run that was killed: %s%s", r->config->out, l.count, plural(l.count),
            (double)l.bytes / 1e6, l.first, l.count > 1 ? ", ..." : "");
}

/* Whether a file of the run's folder may be written over: it is none, is empty, or begins as those of runs do. */
static bool is_of_a_run(const char *path, const char *begin, size_t length, struct error *err) {
  char start[32];
  ptrdiff_t n = file_start(path, start, length < sizeof start ? length : sizeof start);
  return n <= 0 /* whatever stands there else, who writes says what is wrong with it */ || memcmp(start, begin, (size_t)n) == 0 ||
         fail(err, "%s: is there and was not written by a run, and would be written over; choose another out, or move it", path);
}

/* A folder without a checkpoint of this run may be one of somebody's own files. */
static bool spares_others(const struct run *r, struct error *err) {
  char path[CHECKPOINT_PATH];
  snprintf(path, sizeof path, "%s/log.jsonl", r->config->out);
  if (!is_of_a_run(path, RECORD_BEGIN, sizeof RECORD_BEGIN - 1, err)) return false;
  snprintf(path, sizeof path, "%s/config.txt", r->config->out);
  return is_of_a_run(path, r->config_text, strcspn(r->config_text, "=") + 1, err);
}

/* Of rank 0, which alone writes: for a run that was done before nothing but to tidy up, where it may. */
static bool open_output(struct run *r, struct error *err) {
  const char *out = r->config->out;
  char path[CHECKPOINT_PATH];
  snprintf(path, sizeof path, "%s/log.jsonl", out);
  if (r->step == r->schedule.steps && r->saved == r->step) {
    remove_leftovers(r);
    return true;
  }
  if ((r->saved < 0 && !spares_others(r, err)) || !check_disk(r, err) || !folder_create(out, err)) return false;
  log_close(&r->log);
  if (!log_open(&r->log, path, r->step, err)) return false;
  remove_leftovers(r);
  snprintf(path, sizeof path, "%s/config.txt", out);
  return file_replace(path, r->config_text, strlen(r->config_text), err);
}

bool run_open_loader(struct run *r, struct error *err) {
  feed_drop(&r->feed);
  loader_close(r->loader);
  r->loader = NULL;
  struct loader_options l = run_loader_options(r->config, r->m.backend, r->ranks, r->cache_bytes);
  return run_agree(r, loader_open(&r->loader, &r->data, &l, (uint64_t)(r->step * r->config->accumulate), run_found_bad, r, err), err);
}

/* ---- what every rank does for itself ------------------------------------------------------------------------------------------------- */

/* Checkpoints keep the configuration as text: a path that is none is found out now, not when the first is written. */
static bool check_text(const struct config *c, struct error *err) {
  for (int i = 0; i < config_option_count; i++) {
    char value[OPTION_TEXT_SIZE];
    options_value(&config_options[i], c, value, sizeof value);
    if (!safetensors_is_text(value))
      return fail(err, "%s = '%s' is not UTF-8, in which checkpoints keep it; rename it, or give another path to it", config_options[i].key,
                  value);
  }
  return true;
}

static bool read_config(struct run *r, struct error *err) {
  const struct config *c = r->config;
  int64_t ranks = r->ranks->count;
  if (!config_check(c, err) || !check_text(c, err)) return false;
  if (c->batch % (c->accumulate * ranks) != 0)
    return fail(err,
                "batch = %" PRId64 " cannot be cut into %" PRId64 " equal parts, accumulate = %" PRId64 " micro-batches for %" PRId64
                " ranks; choose a multiple, or another number of ranks",
                c->batch, c->accumulate * ranks, c->accumulate, ranks);
  r->config_text = options_format(config_options, config_option_count, c);
  return r->config_text || fail(err, "out of memory for the configuration");
}

static bool reserve_exchange(struct run *r, struct error *err) {
  const struct model_config *c = &r->m.config;
  ptrdiff_t regions = c->regions && c->negative == NEGATIVE_INSTANCE ? c->batch * r->m.cells * c->arch.out : 0;
  r->exchanged_bytes = backend_ranks_bytes(r->m.backend, r->ranks, r->m.online.net.state_size, c->batch, regions);
  if (r->exchanged_bytes == 0) return true;
  if (!r->m.backend->reserve(r->exchanged_bytes, &r->exchanged, err)) return false;
  backend_ranks_buffer(r->exchanged);
  return true;
}

static bool open_model(struct run *r, const struct backend *b, const struct need *needed, struct error *err) {
  struct model_config m = config_model(r->config);
  m.batch = images_of(r->config, r->ranks);
  if (!model_create(&r->m, &m, b, err) || !reserve_exchange(r, err)) return false;
  ptrdiff_t weights = 0;
  for (int i = 0; i < r->m.online.net.parameters; i++) weights += r->m.online.net.parameter[i].size;
  run_say(r, "network: %.1f million weights, %td region%s of %td channels a view; %.2f GB of memory%s", (double)weights / 1e6, r->m.cells,
          plural(r->m.cells), r->m.channels, (double)(needed->host + needed->device) / 1e9, r->ranks->count > 1 ? " a rank" : "");
  if (r->m.cells == 1 && r->config->lambda1 > 0 && m.negative == NEGATIVE_REGION)
    run_say(r, "R-DEM trains nothing: a view's only region is paired with itself, and its cosine is 1; a larger size%s gives more regions",
            m.arch.stem == STEM_IMAGENET ? ", or stem=cifar," : "");
  if (r->config->teacher[0] && !config_needs_teacher(r->config))
    run_say(r, "teacher: not read, as %s",
            m.regions ? "sampler = random picks the regions" : "lambda1 = lambda2 = 0 leaves out the losses between regions");
  return true;
}

static bool take_buffers(struct run *r, struct error *err) {
  return feed_create(&r->feed, r->config, &r->m, r->ranks, err) && watch_create(&r->watch, &r->m, r->ranks, err);
}

bool run_start(struct run *r, struct error *err) {
  const struct config *c = r->config;
  struct need needed;
  size_t left;
  r->saved = r->whole = -1;
  if (!run_agree(r, read_config(r, err), err) || !ranks_same(r->ranks, "settings", r->config_text, strlen(r->config_text), err))
    return false;
  if (r->ranks->count > 1)
    run_say(r, "ranks: %d, each with %td of the %" PRId64 " images of a micro-batch", r->ranks->count, images_of(c, r->ranks),
            config_micro_batch(c));
  const struct backend_options how = {.backend = (enum backend_choice)c->backend,
                                      .precision = (enum backend_precision)c->precision,
                                      .conv = c->cuda_conv,
                                      .gemm = c->cuda_gemm,
                                      .local = r->ranks->local};
  const struct backend *b = backend_open(&how, err);
  if (!run_agree(r, b, err)) return false;
  const struct ranks *meeting = b->collectives ? b->collectives(r->ranks, err) : r->ranks;
  if (!meeting) return false;
  r->apart = meeting != r->ranks;
  b = backend_ranks(b, meeting);
  if (!run_agree(r, open_data(r, err), err) || !ranks_same(r->ranks, "images", r->fingerprint, sizeof r->fingerprint, err) ||
      !run_agree(r, run_check_memory(c, b, r->ranks, &needed, &left, err), err) || !run_agree(r, open_model(r, b, &needed, err), err))
    return false;
  bool first = r->ranks->rank == 0; /* knows and writes the files of the run */
  if (!run_agree(r, !first || set_weights(r, err), err) || !run_share_state(r, err) || !run_agree(r, take_buffers(r, err), err) ||
      !run_agree(r, !first || open_output(r, err), err))
    return false;
  /* The cache is a convenience: at most half of what is left, lest others be swapped out. */
  r->cache_bytes = (size_t)size_min((ptrdiff_t)(c->cache * 1000000), (ptrdiff_t)(left / 2));
  return run_open_loader(r, err);
}

void run_close(struct run *r) {
  feed_drop(&r->feed);
  loader_close(r->loader);
  r->loader = NULL;
  run_forget_found(r);
  free(r->is_bad);
  log_close(&r->log);
  watch_free(&r->watch);
  if (r->recorded) r->m.backend->pipeline->forget(r->recorded);
  feed_free(&r->feed);
  if (r->exchanged) r->m.backend->release(r->exchanged, r->exchanged_bytes);
  model_free(&r->m);
  dataset_close(&r->data);
  free(r->config_text);
}
