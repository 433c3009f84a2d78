/* ediy show curves: losses and diagnostics of a run, from its log, and of another one over them. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/plural.h"
#include "program/chart.h"
#include "program/verb.h"

struct curves {
  char run[OPTION_TEXT_SIZE], beside[OPTION_TEXT_SIZE], out[OPTION_TEXT_SIZE];
};

static const struct option keys[] = {
    {"run", OPTION_TEXT, offsetof(struct curves, run), "", 0, 0, NULL, "folder of a training run"},
    {"beside", OPTION_TEXT, offsetof(struct curves, beside), "", 0, 0, NULL, "folder of another run, drawn over the first in dashes"},
    {"out", OPTION_TEXT, offsetof(struct curves, out), "curves.png", 0, 0, NULL, "picture to write, PNG"},
};

/* The charts, each of up to two fields of a record (train/log.h); what a run has not logged is left out. */
static const struct {
  const char *title, *unit, *field[2], *name[2];
  double low, high; /* see struct chart */
} panels[] = {
    {"Loss", "Eq. 3", {"loss"}, {""}, 1, 0},
    {"BYOL loss", "Eq. 2, 0 to 8", {"byol"}, {""}, 0, 0},
    {"Region losses", "Eq. 5, 7", {"rdem", "riem"}, {"R-DEM", "R-IEM"}, 1, 0},
    {"Spread of features", "", {"std_global", "std_local"}, {"global", "regions"}, 0, 0},
    {"Cosine of an image's regions", "1 is collapse", {"region_cosine"}, {""}, 0, 1},
    {"Match entropy", "nats", {"entropy_rdem", "entropy_riem"}, {"R-DEM", "R-IEM"}, 0, 0},
    {"Learning rate", "", {"lr"}, {""}, 0, 0},
    {"Decay of the target, tau", "", {"tau"}, {""}, 1, 0},
    {"Speed", "images/s", {"images_per_s"}, {""}, 0, 0},
};
enum { PANELS = sizeof panels / sizeof panels[0], FIELDS = 2 * PANELS };

/* Columns of the log: FIELDS of them and the step, count values each. */
struct table {
  double *step, *field[FIELDS];
  int count, capacity;
};

static double number_of(const json_t *record, const char *field) {
  const json_t *value = field ? json_object_get(record, field) : NULL;
  return json_is_number(value) ? json_number_value(value) : NAN; /* null stands for a number that was not finite */
}

static bool grow(double **column, int capacity) {
  double *grown = realloc(*column, (size_t)capacity * sizeof **column);
  if (grown) *column = grown;
  return grown != NULL;
}

static bool table_append(struct table *t, const json_t *record) {
  if (t->count == t->capacity) {
    int capacity = 2 * t->capacity + 64;
    bool good = grow(&t->step, capacity);
    for (int i = 0; good && i < FIELDS; i++) good = grow(&t->field[i], capacity);
    if (!good) return false;
    t->capacity = capacity;
  }
  t->step[t->count] = number_of(record, "step");
  for (int i = 0; i < FIELDS; i++) t->field[i][t->count] = number_of(record, panels[i / 2].field[i % 2]);
  t->count++;
  return true;
}

static void table_free(struct table *t) {
  free(t->step);
  for (int i = 0; i < FIELDS; i++) free(t->field[i]);
}

/* A torn last line, of a run that is writing just now, is passed over. */
static bool read_log(const char *path, struct table *t, struct error *err) {
  char *text;
  size_t size;
  if (!file_read(path, (size_t)1 << 30, &text, &size, err)) return false;
  bool good = true;
  int number = 1;
  for (char *line = text, *end; good && (end = strchr(line, '\n')); line = end + 1, number++) {
    json_error_t where;
    json_t *record = json_loadb(line, (size_t)(end - line), 0, &where);
    if (!json_is_object(record) || !json_is_number(json_object_get(record, "step")))
      good = fail(err, "%s: line %d is no record of a training run%s%s", path, number, record ? "" : ": ", record ? "" : where.text);
    else if (!table_append(t, record))
      good = fail(err, "%s: no memory for its %d lines", path, number);
    json_decref(record);
  }
  free(text);
  return good && (t->count > 0 || fail(err, "%s: holds no record yet; let the run make its first step", path));
}

static bool has_values(const double *column, int count) {
  for (int i = 0; i < count; i++)
    if (isfinite(column[i])) return true;
  return false;
}

/* beside: of no records where there is no other run. */
static int make_charts(const struct table *t, const struct table *beside, struct chart charts[PANELS]) {
  int count = 0;
  for (int p = 0; p < PANELS; p++) {
    struct chart c = {.title = panels[p].title, .unit = panels[p].unit, .low = panels[p].low, .high = panels[p].high};
    for (int k = 0; k < 4; k++) { /* the run's fields first: they get the colours */
      const struct table *from = k < 2 ? t : beside;
      const double *column = from->field[2 * p + k % 2];
      if (has_values(column, from->count))
        c.series[c.series_count++] = (struct series){panels[p].name[k % 2], from->step, column, from->count, .beside = k >= 2};
    }
    if (c.series_count) charts[count++] = c;
  }
  return count;
}

static bool read_run(const struct curves *c, const char *folder, struct table *t, struct error *err) {
  char path[OPTION_TEXT_SIZE + 16];
  snprintf(path, sizeof path, "%s/log.jsonl", folder);
  if (access(path, F_OK) != 0 && errno == ENOENT)
    return fail(err, "%s: no log.jsonl in it; give the folder of a training run (out= of ediy train)", folder);
  return verb_spares(&verb_curves, c->out, path, err) && read_log(path, t, err);
}

/* As close_tally has it (train/trainer.c). */
static const char caption[] = "Losses and speed are means over the steps since the last record, all else is of its last step. Spread: the "
                              "standard deviation of normalised features, 1/sqrt(d) at best, 0 in collapse.";

static bool draw(const struct curves *c, const struct table *t, const struct table *beside, struct error *err) {
  struct chart charts[PANELS];
  char title[256];
  int used = snprintf(title, sizeof title, "%.80s: %.0f steps", c->run, t->step[t->count - 1]);
  if (beside->count)
    snprintf(title + used, sizeof title - (size_t)used, "; in dashes %.80s: %.0f steps", c->beside, beside->step[beside->count - 1]);
  return chart_write(c->out, title, caption, "step", charts, make_charts(t, beside, charts), err);
}

static bool run(int count, char *const *arguments, struct error *err) {
  struct curves c;
  struct table table = {0}, beside = {0};
  if (!verb_options(&verb_curves, count, arguments, &c, err) || !verb_require(&verb_curves, "run", c.run, err)) return false;
  bool good = read_run(&c, c.run, &table, err) && (!c.beside[0] || read_run(&c, c.beside, &beside, err)) &&
              verb_replaces(&verb_curves, c.out, VERB_PNG, err) && draw(&c, &table, &beside, err);
  if (good) printf("%s: %d record%s of %s/log.jsonl\n", c.out, table.count, plural(table.count), c.run);
  if (good && beside.count) printf("%s: %d record%s of %s/log.jsonl, in dashes\n", c.out, beside.count, plural(beside.count), c.beside);
  table_free(&table);
  table_free(&beside);
  return good;
}

const struct verb verb_curves = {
    .name = "show curves",
    .summary = "draw the losses and diagnostics of a run",
    .usage = "run=RUN [beside=RUN] [out=FILE.png]",
    .about = "Draws what RUN/log.jsonl holds, also while the run goes on. Charts of what was not logged are left out.\n"
             "With beside=, the curves of another run lie over them in dashes: two seeds, two backends.",
    .example = "ediy scenes out=scenes images=64 val=16\n"
               "ediy train preset=demo lambda1=0 lambda2=0 data=scenes/train out=teacher epochs=2 warmup=0 batch=16\n"
               "ediy show curves run=teacher out=curves.png",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .run = run,
};
