/* ediy info: what a file or folder is. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/plural.h"
#include "base/safetensors.h"
#include "image/image.h"
#include "program/verb.h"
#include "train/checkpoint.h"
#include "train/dataset.h"

enum { START = 16, MANIFEST_LIMIT = 1 << 30 }; /* bytes */

/* The first bytes of a file; *size of them, START unless it is shorter. */
static bool read_start(const char *path, unsigned char start[START], size_t *size, struct error *err) {
  int fd;
  if (!file_open(path, &fd, size, err)) return false;
  ssize_t got = read(fd, start, START);
  close(fd);
  *size = got > 0 ? (size_t)got : 0;
  return got >= 0 || fail(err, "%s: cannot be read: %s", path, strerror(errno));
}

/* By content, or in name only: the image reader says what is wrong with it. */
static bool is_image(const char *path, const unsigned char *start, size_t size) {
  static const unsigned char png[4] = {0x89, 'P', 'N', 'G'}, jpeg[3] = {0xff, 0xd8, 0xff};
  if (size >= sizeof png && (!memcmp(start, png, sizeof png) || !memcmp(start, jpeg, sizeof jpeg))) return true;
  return image_foreign(start, size) || dataset_is_image(path);
}

/* Eight bytes of length, then JSON; or what torch.save writes, of which the reader says so; or in name only. */
static bool is_safetensors(const char *path, const unsigned char *start, size_t size) {
  static const char ending[] = ".safetensors";
  const size_t length = strlen(path), end = strlen(ending);
  if (size > 8 && (start[8] == '{' || !memcmp(start, "PK\3\4", 4))) return true;
  return length > end && !strcmp(path + length - end, ending);
}

static void print_size(double bytes) {
  static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
  int u = 0;
  while (bytes >= 1000 && u < 4) bytes /= 1000, u++;
  printf("%.*f %s", u ? 1 : 0, bytes, units[u]);
}

/* The first n bytes of a text that is another's, in at least `width` columns: a control character, which could break the line or speak to
 * the terminal, is '?'. */
static void print_foreign(const char *text, size_t n, int width) {
  for (size_t i = 0; i < n; i++) putchar((unsigned char)text[i] < ' ' || text[i] == 127 ? '?' : text[i]);
  printf("%*s", n < (size_t)width ? width - (int)n : 0, "");
}

/* Metadata as text, longer ones (a configuration) as an indented block. */
static void print_metadata(const char *key, const char *value) {
  const bool block = strchr(value, '\n') != NULL;
  printf("  ");
  print_foreign(key, strlen(key), 0);
  printf(block ? ":\n" : ": ");
  do {
    const size_t n = strcspn(value, "\n");
    printf("%s", block ? "    " : "");
    print_foreign(value, n, 0);
    printf("\n");
    value += n + (value[n] == '\n');
  } while (*value);
}

static bool info_safetensors(const char *path, struct error *err) {
  struct safetensors f;
  if (!safetensors_open(&f, path, err)) return false;
  const char *kind = safetensors_metadata(&f, "format");
  if (checkpoint_is_one(&f) && !checkpoint_verify(&f, err)) {
    safetensors_close(&f);
    return false;
  }
  ptrdiff_t elements = 0;
  double bytes = 0;
  for (int i = 0; i < f.count; i++) {
    elements += tensor_count(&f.tensor[i]);
    bytes += (double)tensor_count(&f.tensor[i]) * (double)dtype_size(f.tensor[i].dtype);
  }
  printf("%s: safetensors, ", path);
  if (kind) print_foreign(kind, strlen(kind), 0), printf(", ");
  printf("%d tensor%s, %td element%s, ", f.count, plural(f.count), elements, plural(elements));
  print_size(bytes);
  printf("\n");
  for (int i = 0; i < f.metadata_count; i++) print_metadata(f.metadata[i].key, f.metadata[i].value);
  for (int i = 0; i < f.count; i++) {
    const struct tensor *t = &f.tensor[i];
    printf("  ");
    print_foreign(t->name, strlen(t->name), 52);
    printf(" %-4s ", dtype_name(t->dtype));
    for (int d = 0; d < t->ndim; d++) printf("%s%td", d ? " x " : "", t->shape[d]);
    printf("%s\n", t->ndim ? "" : "scalar");
  }
  safetensors_close(&f);
  return true;
}

static bool info_image(const char *path, struct error *err) {
  struct image image;
  if (!image_read(path, &image, err)) return false;
  printf("%s: image, %d x %d pixels\n", path, image.width, image.height);
  image_free(&image);
  return true;
}

static bool info_folder(const char *path, struct error *err) {
  struct dataset d;
  if (!dataset_open(&d, path, err)) return false;
  printf("%s: data set, %td image%s", path, d.count, plural(d.count));
  if (d.classes) printf(" of %d class%s", d.classes, d.classes == 1 ? "" : "es");
  printf("\n");
  struct error left_out = dataset_left_out(&d);
  if (left_out.text[0]) printf("%s\n", left_out.text);
  for (int c = 0; c < d.classes; c++) {
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < d.count; i++) n += d.label[i] == c;
    printf("  %4d  ", c);
    print_foreign(d.class_name[c], strlen(d.class_name[c]), 40);
    printf(" %td\n", n);
  }
  dataset_close(&d);
  return true;
}

static bool holds(const char *folder, const char *name) {
  char path[CHECKPOINT_PATH];
  struct stat s;
  return snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path && stat(path, &s) == 0;
}

/* The newest checkpoint of a run and its configuration. */
static bool info_run(const char *path, struct error *err) {
  struct checkpoint c;
  bool found;
  if (!checkpoint_latest(path, &c, &found, NULL, NULL, err)) return false;
  if (!found) return fail(err, "%s: a training run without a checkpoint; ediy show curves run=%s draws its log", path, path);
  printf("%s: training run, at step %" PRId64 " in %s\n", path, c.step, c.file.path);
  if (holds(path, "backbone.safetensors")) printf("  finished: %s/backbone.safetensors\n", path);
  print_metadata("config", c.config);
  checkpoint_close(&c);
  return true;
}

/* A dump (docs/golden-format.md) says that it is one in its manifest; null for anything else. The caller's to json_decref. */
static json_t *dump_manifest(const char *folder) {
  char path[CHECKPOINT_PATH], *text;
  size_t size;
  if (snprintf(path, sizeof path, "%s/manifest.json", folder) >= (int)sizeof path || !file_read(path, MANIFEST_LIMIT, &text, &size, NULL))
    return NULL;
  json_t *manifest = json_loadb(text, size, 0, NULL);
  const char *format = json_string_value(json_object_get(manifest, "format"));
  free(text);
  if (format && !strncmp(format, "ediy-dump-", 10)) return manifest;
  json_decref(manifest);
  return NULL;
}

/* The oracle is who reads it. */
static void info_dump(const char *path, const json_t *manifest) {
  const char *kind = json_string_value(json_object_get(manifest, "kind"));
  const size_t tensors = json_array_size(json_object_get(manifest, "tensors")), steps = json_array_size(json_object_get(manifest, "steps"));
  bool full = kind && !strcmp(kind, "full");
  printf("%s: %s dump of training steps, %zu step%s, %zu tensor%s; ", path, full ? "full" : "digest", steps, plural((int64_t)steps),
         tensors, plural((int64_t)tensors));
  if (full) printf("oracle replay %s judges it, ", path);
  printf("oracle check compares it with another\n");
}

static bool run_on_folder(const char *path, struct error *err) {
  if (holds(path, "config.txt") && holds(path, "log.jsonl")) return info_run(path, err);
  json_t *manifest = dump_manifest(path);
  if (!manifest) return info_folder(path, err);
  info_dump(path, manifest);
  json_decref(manifest);
  return true;
}

static bool run_on_file(const char *path, struct error *err) {
  unsigned char start[START] = {0};
  size_t size;
  if (!read_start(path, start, &size, err)) return false;
  if (is_image(path, start, size)) return info_image(path, err);
  if (is_safetensors(path, start, size)) return info_safetensors(path, err);
  if (size == 0) return fail(err, "%s: the file is empty", path);
  return fail(err, "%s: neither a safetensors file nor an image, which is what info reads; of a run, a dump or a data set give the folder",
              path);
}

static bool run(int count, char *const *arguments, struct error *err) {
  struct stat s;
  if (count != 1 || !arguments[0][0]) return fail(err, "info: takes one file or folder; usage: ediy info %s", verb_info.usage);
  const char *path = arguments[0];
  return stat(path, &s) == 0 && S_ISDIR(s.st_mode) ? run_on_folder(path, err) : run_on_file(path, err);
}

const struct verb verb_info = {
    .name = "info",
    .summary = "say what a checkpoint, weights file, image or data set holds",
    .usage = "FILE | FOLDER",
    .about = "For safetensors files: metadata (kind, step, configuration) and every tensor with type and shape.\n"
             "For images: their size. For folders: images a class, where a training run stands, or what `oracle dump` wrote.",
    .example = "ediy scenes out=scenes images=64 val=16\n"
               "ediy info scenes/train",
    .run = run,
};
