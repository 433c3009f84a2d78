/* ediy demo: everything once, in a few minutes. Each step is a command that is shown before it is run.
 *
 * DIR/demo.txt says that the folder is a demo's, and with which keys it was begun: an interrupted demo goes on in it by the same command.
 * Scenes are there whole or not at all, training goes on from its checkpoints, and what takes seconds is done again. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "program/bars.h"
#include "program/folder.h"
#include "program/verb.h"
#include "program/verb_eval.h"

struct demo {
  char out[OPTION_TEXT_SIZE];
  int64_t epochs, images;
};

static const struct option keys[] = {
    {"out", OPTION_TEXT, offsetof(struct demo, out), "", 0, 0, NULL, "folder to create, or to go on in"},
    {"epochs", OPTION_INT, offsetof(struct demo, epochs), "16", 1, 1e6, NULL, "of each of the two trainings"},
    {"images", OPTION_INT, offsetof(struct demo, images), "1000", 64, 1e6, NULL, "training images to draw"},
};

enum { KEYS = sizeof keys / sizeof keys[0], SETTINGS = 1 /* the first of them that says what is done, not where */, SETTINGS_SIZE = 256 };

/* ---- the folder --------------------------------------------------------------------------------------------------------------------- */

/* Says what demo.txt does, on one line. */
static bool fail_other(const struct demo *d, const char *begun, struct error *err) {
  char line[2 * SETTINGS_SIZE] = "";
  for (size_t used = 0; *begun;) {
    const size_t length = strcspn(begun, "\n");
    used += (size_t)snprintf(line + used, sizeof line - used, "%s%.*s", used ? ", " : "", (int)length, begun);
    begun += length + (begun[length] == '\n');
  }
  return fail(err, "%s: holds a demo with other keys (%s); give these, or choose another out=", d->out, line);
}

/* The file is open and locked. One that is still to be written, alone in its folder, is written: a demo was killed before it had. */
static bool agree(const struct demo *d, int file, struct error *err) {
  char begun[SETTINGS_SIZE] = "", *settings = options_format(keys + SETTINGS, KEYS - SETTINGS, d);
  bool good = settings || fail(err, "demo: no memory");
  good = good && (read(file, begun, sizeof begun - 1) >= 0 || fail(err, "%s/demo.txt: cannot be read: %s", d->out, strerror(errno)));
  if (good && strcmp(begun, settings) != 0) {
    ssize_t length = (ssize_t)strlen(settings);
    if (strncmp(begun, settings, strlen(begun)) != 0 || folder_entries(d->out) != 1) {
      good = fail_other(d, begun, err);
    } else {
      good = pwrite(file, settings, (size_t)length, 0) == length ||
             fail(err, "%s/demo.txt: cannot be written: %s; free space there or choose another folder by out=", d->out, strerror(errno));
    }
  }
  free(settings);
  return good;
}

/* A new folder, or that of a demo with these keys at which nobody is at work. *lock: to be closed at the end. */
static bool enter(const struct demo *d, int *lock, struct error *err) {
  char path[OPTION_TEXT_SIZE + 32];
  const bool is_new = folder_free(d->out);
  if (is_new && !folder_create(d->out, err)) return false;
  snprintf(path, sizeof path, "%s/demo.txt", d->out);
  *lock = open(path, is_new ? O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC : O_RDWR | O_CLOEXEC, 0666);
  if (*lock < 0 && is_new) return fail(err, "%s: cannot be created: %s", path, strerror(errno));
  if (*lock < 0) return fail(err, "%s: exists and is not an empty folder; choose another out= or remove it", d->out);
  bool good = flock(*lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK || fail(err, "%s: another demo is at work in it", d->out);
  if (good && agree(d, *lock, err)) return true;
  close(*lock);
  return false;
}

/* ---- commands ----------------------------------------------------------------------------------------------------------------------- */

enum { MOST_WORDS = 24 };

struct command {
  const struct verb *verb;
  int count;
  char *word[MOST_WORDS]; /* owned; null where memory was short */
};

static void add(struct command *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct command *c, const char *format, ...) {
  char text[OPTION_TEXT_SIZE + 256];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  if (c->count < MOST_WORDS) c->word[c->count++] = strdup(text);
}

/* As a shell takes it for one word. */
static void show_word(const char *word) {
  if (!strpbrk(word, " \t'\"`$!&|;<>()*?[]{}#~\\")) {
    printf(" %s", word);
    return;
  }
  printf(" '");
  for (; *word; word++) fputs(*word == '\'' ? "'\\''" : (const char[]){*word, 0}, stdout);
  printf("'");
}

/* As one would type it. */
static bool show(const struct command *c, struct error *err) {
  printf("\n$ %s %s", verb_program, c->verb->name);
  for (int i = 0; i < c->count; i++) {
    if (!c->word[i]) return fail(err, "demo: no memory");
    show_word(c->word[i]);
  }
  printf("\n");
  fflush(stdout);
  return true;
}

static void command_free(struct command *c) {
  for (int i = 0; i < c->count; i++) free(c->word[i]);
  c->count = 0;
}

static bool run_command(struct command *c, struct error *err) {
  bool good = show(c, err) && c->verb->run(c->count, c->word, err);
  fflush(stdout);
  command_free(c);
  return good;
}

/* ---- the steps ---------------------------------------------------------------------------------------------------------------------- */

static bool scenes(const struct demo *d, struct error *err) {
  char path[OPTION_TEXT_SIZE + 32];
  struct command c = {.verb = &verb_scenes};
  snprintf(path, sizeof path, "%s/scenes", d->out);
  add(&c, "out=%s", path);
  add(&c, "images=%lld", (long long)d->images);
  add(&c, "val=%lld", (long long)(d->images / 2)); /* 500: intervals of 4 % either way */
  if (folder_free(path)) return folder_forget(path, err) && run_command(&c, err);
  bool good = show(&c, err);
  if (good) printf("%s: drawn before\n", path);
  command_free(&c);
  return good;
}

static bool train(const struct demo *d, const char *run, const char *teacher, struct error *err) {
  struct command c = {.verb = &verb_train};
  add(&c, "preset=demo");
  add(&c, "epochs=%lld", (long long)d->epochs);
  add(&c, "data=%s/scenes/train", d->out);
  add(&c, "out=%s/%s", d->out, run);
  if (teacher) {
    add(&c, "teacher=%s/%s/backbone.safetensors", d->out, teacher);
  } else {
    add(&c, "lambda1=0");
    add(&c, "lambda2=0");
  }
  return run_command(&c, err);
}

enum { CANDIDATES = 3 };
static const char *const candidate[CANDIDATES] = {"random", "teacher", "ediy"};
static const char *const candidate_name[CANDIDATES] = {"random weights", "BYOL (the teacher)", "E-DIY"};

static void add_evaluation(struct command *c, const struct demo *d, int i) {
  if (i == 0) {
    add(c, "weights=random");
    add(c, "backbone=small");
    add(c, "stem=imagenet");
    add(c, "size=96");
  } else {
    add(c, "weights=%s/%s/backbone.safetensors", d->out, candidate[i]);
  }
  add(c, "train=%s/scenes/train", d->out);
  add(c, "test=%s/scenes/val", d->out);
}

static bool evaluate(const struct demo *d, int i, struct share *knn, struct share *linear, struct error *err) {
  struct command c = {.verb = &verb_knn};
  add_evaluation(&c, d, i);
  bool good = show(&c, err) && eval_knn(c.count, c.word, knn, err);
  command_free(&c);
  if (!good) return false;
  c.verb = &verb_linear;
  add_evaluation(&c, d, i);
  add(&c, "views=4");
  add(&c, "classifier.batch=64");
  add(&c, "classifier.scale=yes");
  good = show(&c, err) && eval_linear(c.count, c.word, linear, err);
  command_free(&c);
  return good;
}

static bool draw(const struct demo *d, struct error *err) {
  struct command c = {.verb = &verb_views};
  add(&c, "run=%s/ediy", d->out);
  add(&c, "out=%s/views.png", d->out);
  if (!run_command(&c, err)) return false;
  c.verb = &verb_matches;
  add(&c, "run=%s/ediy", d->out);
  add(&c, "out=%s/matches.png", d->out);
  if (!run_command(&c, err)) return false;
  c.verb = &verb_saliency;
  add(&c, "run=%s/ediy", d->out);
  add(&c, "data=%s/scenes/val", d->out);
  add(&c, "out=%s/saliency.png", d->out);
  if (!run_command(&c, err)) return false;
  c.verb = &verb_curves;
  add(&c, "run=%s/ediy", d->out);
  add(&c, "out=%s/curves.png", d->out);
  return run_command(&c, err);
}

static void print_share(struct share s) { printf("   %5.1f %%  (%.1f to %.1f)", 100 * s.value, 100 * s.low, 100 * s.high); }

static bool report(const struct demo *d, const struct share *knn, const struct share *linear, double minutes, struct error *err) {
  char path[OPTION_TEXT_SIZE + 32], title[160];
  struct bar_group groups[CANDIDATES];
  printf("\nAccuracy on %td validation images, with 95 %% intervals:\n\n  %-20s   %-24s   %s\n", knn[0].count, "", "20 nearest neighbours",
         "linear classifier");
  for (int i = 0; i < CANDIDATES; i++) {
    printf("  %-20s", candidate_name[i]);
    print_share(knn[i]);
    print_share(linear[i]);
    printf("\n");
    groups[i] = (struct bar_group){candidate_name[i], {knn[i], linear[i]}};
  }
  snprintf(path, sizeof path, "%s/results.png", d->out);
  snprintf(title, sizeof title, "Frozen features on %td validation scenes", knn[0].count);
  if (!bars_write(path, title, "accuracy, with 95 % intervals", (const char *const[]){"20 nearest neighbours", "linear classifier"}, groups,
                  CANDIDATES, err))
    return false;
  printf("\nLook at\n  %s/results.png   the table as a picture\n  %s/views.png     images and their augmented views\n"
         "  %s/matches.png   the regions the teacher pairs\n  %s/saliency.png  the regions that features are made of\n  %s/curves.png    "
         "losses and diagnostics\n"
         "  %s/ediy          the run: configuration, log, checkpoints, backbone.safetensors\n",
         d->out, d->out, d->out, d->out, d->out, d->out);
  printf("\nThat took %.1f minutes. With your own images (JPEG and PNG files in a folder PHOTOS):\n"
         "  %s train preset=demo lambda1=0 lambda2=0 data=PHOTOS out=teacher\n"
         "  %s train preset=demo teacher=teacher/backbone.safetensors data=PHOTOS out=run\n",
         minutes, verb_program, verb_program);
  return true;
}

static bool do_everything(const struct demo *d, struct error *err) {
  struct share knn[CANDIDATES], linear[CANDIDATES];
  time_t start = time(NULL);
  if (!scenes(d, err) || !train(d, "teacher", NULL, err) || !train(d, "ediy", "teacher", err)) return false;
  for (int i = 0; i < CANDIDATES; i++)
    if (!evaluate(d, i, &knn[i], &linear[i], err)) return false;
  return draw(d, err) && report(d, knn, linear, difftime(time(NULL), start) / 60, err);
}

static bool run(int count, char *const *arguments, struct error *err) {
  struct demo d;
  int lock;
  if (!verb_options(&verb_demo, count, arguments, &d, err) || !verb_require(&verb_demo, "out", d.out, err)) return false;
  if (!enter(&d, &lock, err)) return false;
  bool good = do_everything(&d, err);
  close(lock);
  return good;
}

const struct verb verb_demo = {
    .name = "demo",
    .summary = "everything once in a few minutes: begin here",
    .usage = "out=DIR [key=value...]",
    .about = "Draws a data set, trains a teacher by BYOL and then E-DIY with it, compares both with random weights,\n"
             "and draws pictures. Every command is shown before it is run. Interrupted, by Ctrl-C say, the same\n"
             "command goes on where it was.",
    .example = "ediy demo out=demo images=64 epochs=1",
    .keys = keys,
    .key_count = KEYS,
    .run = run,
};
