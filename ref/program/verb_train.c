/* ediy train: the trainer with a person watching. */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/plural.h"
#include "program/terminal.h"
#include "program/verb.h"
#include "train/config.h"
#include "train/launch.h"
#include "train/trainer.h"

static volatile sig_atomic_t stop_signal; /* its number; 0: none has come */

/* The first signal asks for a clean end; the handler is then gone, and a second one ends the program at once. */
static void want_stop(int number) { stop_signal = number; }

/* Ctrl-C; kill; a terminal or connection that is gone; whoever read our output is; and what mpirun and Slurm hand on without ending the
 * processes. */
static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGUSR1};
enum { SIGNALS = sizeof caught / sizeof caught[0] };

/* A signal that whoever started us has chosen to ignore (a job in the background of a script) stays ignored. */
static void catch_signal(int number, struct sigaction *before) {
  /* a closed pipe is told again with every line, and must not end the program before its checkpoint */
  struct sigaction action = {.sa_handler = want_stop, .sa_flags = number == SIGPIPE ? SA_RESTART : (int)(SA_RESTART | SA_RESETHAND)};
  sigemptyset(&action.sa_mask);
  sigaction(number, NULL, before);
  if (before->sa_handler != SIG_IGN) sigaction(number, &action, NULL);
}

struct watch {
  bool terminal, line_open; /* standard error is one; a live line stands on it unfinished */
  struct progress_pace pace;
};

static void show_message(void *context, const char *line) {
  struct watch *w = context;
  fprintf(stderr, "%s%s\n", w->line_open ? "\n" : "", line);
  w->line_open = false;
}

static void show_progress(void *context, const struct progress *p) {
  struct watch *w = context;
  char line[512];
  if (!progress_due(&w->pace, p, w->terminal)) return;
  progress_line(p, w->terminal ? terminal_columns() : 0, line, sizeof line);
  if (w->terminal) {
    fprintf(stderr, "\r%s\033[K", line); /* back to the first column, and blank what the last line left */
    w->line_open = true;
  } else {
    fprintf(stderr, "%s\n", line);
  }
}

static void say_result(const struct config *config, const struct train_result *result) {
  if (result->finished && result->last.step == 0)
    printf("%s: done before, %" PRId64 " step%s; backbone in %s/backbone.safetensors\n", config->out, result->step, plural(result->step),
           config->out);
  else if (result->finished)
    printf("%s: %" PRId64 " step%s, loss %.4f; backbone in %s/backbone.safetensors\n", config->out, result->step, plural(result->step),
           result->last.total, config->out);
  else if (config->stop > 0 && result->step >= config->stop)
    printf("%s: stopped after step %" PRId64 " of %" PRId64 ", as stop = %" PRId64
           " says; the same command with a larger stop, or none, goes on from there\n",
           config->out, result->step, result->steps, config->stop);
  else
    printf("%s: stopped after step %" PRId64 " of %" PRId64 "; the same command with resume=auto goes on from there\n", config->out,
           result->step, result->steps);
}

static bool read_arguments(struct config *config, int count, char *const *arguments, struct error *err) {
  if (!config) return fail(err, "train: no memory");
  for (int i = 0; i < count; i++)
    if (!strchr(arguments[i], '='))
      return fail(err, "train: '%s' is not of the form key=value; usage: ediy train %s", arguments[i], verb_train.usage);
  return config_from_arguments(config, count, arguments, err) || fail_within(err, "train");
}

static bool train_watched(const struct config *config, const struct ranks *ranks, struct train_result *result, struct error *err) {
  struct watch watch = {.terminal = isatty(STDERR_FILENO)};
  struct train_callbacks callbacks = {show_message, show_progress, &watch, &stop_signal, ranks};
  struct sigaction before[SIGNALS];
  for (int i = 0; i < SIGNALS; i++) catch_signal(caught[i], &before[i]);
  bool good = train(config, &callbacks, result, err);
  for (int i = 0; i < SIGNALS; i++) sigaction(caught[i], &before[i], NULL);
  if (watch.line_open) fputc('\n', stderr);
  return good;
}

/* A line that another of the processes says, so that it is said once. Returns false. */
static bool keep_silent(struct error *err) {
  *err->text = 0;
  return false;
}

static bool run(int count, char *const *arguments, struct error *err) {
  const struct ranks *ranks = launch_open(err);
  if (!ranks) return launch_number() == 0 ? false : keep_silent(err);
  struct config *config = malloc(sizeof *config);
  struct train_result result;
  bool good = ranks_agree(ranks, read_arguments(config, count, arguments, err), err) && train_watched(config, ranks, &result, err);
  if (good && ranks->rank == 0) say_result(config, &result);
  free(config);
  if (good && stop_signal && ranks->count == 1) { /* whoever waits for us, a shell's loop say, learns that a signal ended the run */
    fflush(stdout);
    raise(stop_signal);
  }
  return good || ranks->rank == 0 ? good : keep_silent(err);
}

static void print_help(FILE *out) {
  verb_print_keys(config_options, config_option_count, out);
  fprintf(out, "\npresets:\n");
  for (int i = 0; i < preset_count; i++) fprintf(out, "  %-18s %s\n", presets[i].name, presets[i].about);
}

const struct verb verb_train = {
    .name = "train",
    .summary = "train BYOL (a teacher) or E-DIY on a folder of images",
    .usage = "data=DIR out=RUN [preset=NAME] [key=value...]",
    .about = "Trains on every JPEG and PNG in DIR, or below its folders (not both); labels are not looked at. RUN gets\n"
             "config.txt, log.jsonl, checkpoints, and at the end backbone.safetensors, which torchvision's ResNet\n"
             "takes as it is. Ctrl-C ends after the step at hand with a checkpoint; resume=auto goes on from it.\n"
             "Results do not depend on the number of threads. Built by make MPI=1, several processes under mpirun or srun\n"
             "train one model together: batch is that of all, threads and workers are of each (docs/ranks.md).",
    .example = "ediy scenes out=scenes images=64 val=16\n"
               "ediy train preset=demo lambda1=0 lambda2=0 data=scenes/train out=teacher epochs=1 warmup=0 batch=16\n"
               "ediy train preset=demo data=scenes/train teacher=teacher/backbone.safetensors out=run epochs=1 warmup=0 batch=16",
    .help = print_help,
    .run = run,
};
