#include "program/verb.h"

#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/safetensors.h"
#include "train/dataset.h"

const char *verb_program = "ediy";

/* Refuses to write over a file that another key names: weights that are read would be lost. */
static bool writes_over_nothing_read(const struct verb *v, const void *config, struct error *err) {
  for (int i = 0; i < v->key_count; i++) {
    const struct option *to = &v->keys[i];
    if (to->type != OPTION_TEXT || (strcmp(to->key, "out") != 0 && strcmp(to->key, "json") != 0)) continue;
    for (int j = 0; j < v->key_count; j++) {
      const struct option *from = &v->keys[j];
      if (i == j || from->type != OPTION_TEXT) continue;
      const char *written = (const char *)config + to->offset, *read = (const char *)config + from->offset;
      if (file_same(written, read))
        return fail(err, "%s: %s=%s is the file that %s= names, and would be written over; choose another name", v->name, to->key, written,
                    from->key);
    }
  }
  return true;
}

/* A name that is left out is the default's; one given as nothing, a shell's empty variable say, is a mistake. */
static bool names_are_given(const struct verb *v, const void *config, struct error *err) {
  for (int i = 0; i < v->key_count; i++) {
    const struct option *o = &v->keys[i];
    if (o->type == OPTION_TEXT && o->initial[0] && !((const char *)config + o->offset)[0])
      return fail(err, "%s: %s= is empty; leave it out for %s=%s, or say which", v->name, o->key, o->key, o->initial);
  }
  return true;
}

bool verb_options(const struct verb *v, int count, char *const *arguments, void *config, struct error *err) {
  options_default(v->keys, v->key_count, config);
  for (int i = 0; i < count; i++) {
    if (!strchr(arguments[i], '='))
      return fail(err, "%s: '%s' is not of the form key=value; usage: ediy %s %s", v->name, arguments[i], v->name, v->usage);
    if (!options_argument(v->keys, v->key_count, config, arguments[i], err)) return fail_within(err, "%s", v->name);
  }
  return names_are_given(v, config, err) && writes_over_nothing_read(v, config, err);
}

bool verb_require(const struct verb *v, const char *key, const char *value, struct error *err) {
  return value[0] || fail(err, "%s: %s= is missing; usage: ediy %s %s", v->name, key, v->name, v->usage);
}

bool verb_spares(const struct verb *v, const char *out, const char *read, struct error *err) {
  bool among = dataset_is_image(out) && file_inside(out, read);
  if (file_same(out, read) || (among && access(out, F_OK) == 0))
    return fail(err, "%s: out=%s is read here (%s), and would be written over; choose another name", v->name, out, read);
  return !among || fail(err, "%s: out=%s would be one of the images of %s from then on; choose another place", v->name, out, read);
}

/* Whether it is a whole safetensors file with both keys in its metadata, by which the kinds that are written are told apart. */
static bool has_metadata(const char *path, const char *const key[2]) {
  struct safetensors f;
  if (!safetensors_open(&f, path, NULL)) return false;
  bool both = safetensors_metadata(&f, key[0]) && safetensors_metadata(&f, key[1]);
  safetensors_close(&f);
  return both;
}

bool verb_replaces(const struct verb *v, const char *out, enum verb_file kind, struct error *err) {
  static const unsigned char png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  static const char *const exchanged[] = {"source", "config"} /* of a run: no source */, *const embedded[] = {"class_names", "fingerprint"};
  static const char *const key[] = {"out", "out", "out", "json"};
  static const char *const name[] = {"PNG file", "file of export's or import's", "file of features", "file of figures"};
  unsigned char start[8];
  ptrdiff_t n = file_start(out, start, sizeof start);
  bool like = kind == VERB_PNG        ? n == 8 && !memcmp(start, png, sizeof png)
              : kind == VERB_BACKBONE ? n > 0 && has_metadata(out, exchanged)
              : kind == VERB_FEATURES ? n > 0 && has_metadata(out, embedded)
                                      : n >= 2 && !memcmp(start, "{\n", 2); /* indented: a run's log is not */
  return like || n <= 0 ||
         fail(err, "%s: %s=%s is there and is no %s, and would be written over; choose another name", v->name, key[kind], out, name[kind]);
}

void verb_say_left_out(const struct dataset *d) {
  struct error line = dataset_left_out(d);
  if (line.text[0]) fprintf(stderr, "%s\n", line.text);
}

static void print_range(const struct option *o, FILE *out) {
  switch (o->type) {
  case OPTION_BOOL: fputs("yes | no", out); break;
  case OPTION_INT: fprintf(out, "%.0f to %.0f", o->min, o->max); break;
  case OPTION_REAL: fprintf(out, "%g to %g", o->min, o->max); break;
  case OPTION_CHOICE: fputs(o->choices, out); break;
  case OPTION_TEXT: fputs("text", out); break;
  }
}

void verb_print_keys(const struct option *keys, int count, FILE *out) {
  for (int i = 0; i < count; i++) {
    const struct option *o = &keys[i];
    fprintf(out, "  %-18s %s (", o->key, o->help);
    print_range(o, out);
    if (o->initial[0]) fprintf(out, ", default %s", o->initial);
    fprintf(out, ")\n");
  }
}

void verb_help(const struct verb *v, FILE *out) {
  fprintf(out, "ediy %s: %s\n\nusage: ediy %s %s\n\n%s\n", v->name, v->summary, v->name, v->usage, v->about);
  if (v->key_count || v->help) fprintf(out, "\nkeys:\n");
  verb_print_keys(v->keys, v->key_count, out);
  if (v->help) v->help(out);
  fprintf(out, "\nexample:\n");
  for (const char *line = v->example; *line;) {
    int length = (int)strcspn(line, "\n");
    fprintf(out, "  %.*s\n", length, line);
    line += length + (line[length] == '\n');
  }
}
