#include "train/dataset.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/plural.h"
#include "base/sha256.h"

/* Deeper nesting than any data set has; reached through a link into a parent. */
enum { MAX_DEPTH = 16 };

/* Whether a name ends in one of these, null behind the last, and has something in front of it. */
static bool ends_in(const char *name, const char *const *ending) {
  size_t n = strlen(name);
  for (; *ending; ending++) {
    size_t e = strlen(*ending);
    if (n > e && strcasecmp(name + n - e, *ending) == 0) return true;
  }
  return false;
}

bool dataset_is_image(const char *name) {
  static const char *const ending[] = {".jpg", ".jpeg", ".png", NULL};
  return ends_in(name, ending);
}

/* What somebody may take for a part of the data set; the first two are JPEG files under names that few have. */
static bool is_left_out(const char *name) {
  static const char *const ending[] = {".jfif", ".jpe", ".jp2", ".jxl", ".gif", ".webp", ".bmp",  ".tif",  ".tiff", ".ppm",
                                       ".pgm",  ".pbm", ".pnm", ".tga", ".dng", ".avif", ".heic", ".heif", NULL};
  return ends_in(name, ending);
}

static char *join(const char *folder, const char *name) {
  size_t a = strlen(folder), b = strlen(name);
  char *path = malloc(a + b + 2);
  if (!path) return NULL;
  memcpy(path, folder, a);
  path[a] = '/';
  memcpy(path + a + 1, name, b + 1);
  return path;
}

static bool out_of_memory(const struct dataset *d, struct error *err) { return fail(err, "%s: out of memory listing the images", d->root); }

/* Takes ownership of path, also on failure. *capacity entries are there. */
static bool add(struct dataset *d, ptrdiff_t *capacity, char *path, struct error *err) {
  if (!path) return out_of_memory(d, err);
  if (d->count == *capacity) {
    ptrdiff_t more = *capacity ? 2 * *capacity : 1024;
    char **grown = more <= INT_MAX ? realloc(d->path, (size_t)more * sizeof *grown) : NULL;
    if (!grown) {
      free(path);
      return out_of_memory(d, err);
    }
    d->path = grown, *capacity = more;
  }
  d->path[d->count++] = path;
  return true;
}

/* Takes ownership of path. */
static void leave_out(struct dataset *d, char *path) {
  char *later = path;
  if (d->left_out++ == 0 || strcmp(path, d->first_out) < 0) later = d->first_out, d->first_out = path;
  free(later);
}

/* Adds every image of folder (relative depth `depth`) and of the folders below. */
static bool list(struct dataset *d, ptrdiff_t *capacity, const char *folder, int depth, struct error *err) {
  if (depth > MAX_DEPTH) return fail(err, "%s: folders nested more than %d deep; does a link lead back to a parent?", folder, MAX_DEPTH);
  DIR *dir = opendir(folder);
  if (!dir) return fail(err, "%s: cannot list this folder: %s", folder, strerror(errno));
  bool ok = true;
  struct dirent *entry;
  while (ok && (errno = 0, entry = readdir(dir))) {
    if (entry->d_name[0] == '.') continue;
    char *path = join(folder, entry->d_name);
    struct stat s;
    if (!path)
      ok = out_of_memory(d, err);
    else if (stat(path, &s) != 0) /* a broken link: of no interest unless it claims to be an image */
      ok = !dataset_is_image(entry->d_name) || fail(err, "%s: %s; remove it or mend the link", path, strerror(errno));
    else if (S_ISDIR(s.st_mode))
      ok = list(d, capacity, path, depth + 1, err);
    else if (S_ISREG(s.st_mode) && dataset_is_image(entry->d_name)) {
      ok = add(d, capacity, path, err);
      path = NULL;
    } else if (S_ISREG(s.st_mode) && is_left_out(entry->d_name)) {
      leave_out(d, path);
      path = NULL;
    }
    free(path);
  }
  if (ok && errno != 0) ok = fail(err, "%s: cannot list this folder: %s", folder, strerror(errno));
  closedir(dir);
  return ok;
}

static int by_path(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static const char *below_root(const struct dataset *d, const char *path) { return path + strlen(d->root) + 1; }

const char *dataset_name(const struct dataset *d, ptrdiff_t i) { return below_root(d, d->path[i]); }

struct error dataset_left_out(const struct dataset *d) {
  struct error line = {.text = ""};
  if (d->left_out > 0)
    fail(&line, "%s: %td image%s left out, the first %s; only *.jpg, *.jpeg and *.png are read", d->root, d->left_out,
         d->left_out == 1 ? " is" : "s are", below_root(d, d->first_out));
  return line;
}

/* Length of the class folder's name in a relative path; 0 for an image at the top. */
static size_t class_length(const char *name) {
  const char *slash = strchr(name, '/');
  return slash ? (size_t)(slash - name) : 0;
}

/* Labels from the sorted paths. The images of one class need not be neighbours in byte order ("a-b/x" stands between "a!/x" and "a/x"), so
 * names are gathered, sorted and looked up. */
static bool label_all(struct dataset *d, struct error *err) {
  d->label = malloc((size_t)d->count * sizeof *d->label);
  if (!d->label) return out_of_memory(d, err);
  ptrdiff_t top = 0;
  for (ptrdiff_t i = 0; i < d->count; i++) top += class_length(dataset_name(d, i)) == 0;
  if (top == d->count) {
    for (ptrdiff_t i = 0; i < d->count; i++) d->label[i] = -1;
    return true;
  }
  if (top > 0) {
    ptrdiff_t first_top = 0, first_below = 0;
    while (class_length(dataset_name(d, first_top)) > 0) first_top++;
    while (class_length(dataset_name(d, first_below)) == 0) first_below++;
    return fail(err, "%s: %td image%s at the top (%s) and %td in sub-folders (%s); expected class sub-folders only, or a flat folder",
                d->root, top, plural(top), dataset_name(d, first_top), d->count - top, dataset_name(d, first_below));
  }
  ptrdiff_t runs = 0, capacity = 0;
  for (ptrdiff_t i = 0; i < d->count; i++) {
    const char *name = dataset_name(d, i), *before = i > 0 ? dataset_name(d, i - 1) : "";
    size_t n = class_length(name);
    if (i > 0 && class_length(before) == n && memcmp(name, before, n) == 0) continue;
    if (runs == capacity) {
      capacity = capacity ? 2 * capacity : 64;
      char **grown = realloc(d->class_name, (size_t)capacity * sizeof *grown);
      if (!grown) return out_of_memory(d, err);
      d->class_name = grown;
    }
    if (!(d->class_name[runs] = strndup(name, n))) return out_of_memory(d, err);
    d->classes = (int)++runs;
  }
  qsort(d->class_name, (size_t)runs, sizeof *d->class_name, by_path);
  d->classes = 0;
  for (ptrdiff_t i = 0; i < runs; i++) {
    if (d->classes > 0 && strcmp(d->class_name[i], d->class_name[d->classes - 1]) == 0)
      free(d->class_name[i]);
    else
      d->class_name[d->classes++] = d->class_name[i];
  }
  for (ptrdiff_t i = 0; i < d->count; i++) {
    const char *name = dataset_name(d, i);
    size_t n = class_length(name);
    int low = 0, high = d->classes - 1;
    while (low < high) {
      int middle = (low + high) / 2; /* of the names that begin with these n bytes, the name itself sorts first */
      if (strncmp(d->class_name[middle], name, n) < 0)
        low = middle + 1;
      else
        high = middle;
    }
    d->label[i] = low;
  }
  return true;
}

bool dataset_open(struct dataset *d, const char *root, struct error *err) {
  *d = (struct dataset){.root = strdup(root)};
  if (!d->root) return fail(err, "%s: out of memory listing the images", root);
  size_t n = strlen(d->root);
  while (n > 1 && d->root[n - 1] == '/') d->root[--n] = 0;
  struct stat s;
  ptrdiff_t capacity = 0;
  bool ok;
  if (stat(d->root, &s) != 0)
    ok = fail(err, "%s: %s; expected a folder of images, or of one sub-folder of images a class", d->root, strerror(errno));
  else if (!S_ISDIR(s.st_mode))
    ok = fail(err, "%s: a file; expected a folder of images, or of one sub-folder of images a class", d->root);
  else
    ok = list(d, &capacity, d->root, 0, err);
  if (ok && d->count == 0 && d->left_out > 0)
    ok = fail(err, "%s: no image that is read here, but %td of another kind, the first %s; convert to *.jpg, *.jpeg or *.png", d->root,
              d->left_out, below_root(d, d->first_out));
  if (ok && d->count == 0)
    ok = fail(err, "%s: no image found; expected *.jpg, *.jpeg or *.png in this folder, or in one sub-folder a class", d->root);
  if (ok) {
    qsort(d->path, (size_t)d->count, sizeof *d->path, by_path); /* all begin with root: the order is that of the relative paths */
    ok = label_all(d, err);
  }
  if (!ok) dataset_close(d);
  return ok;
}

void dataset_close(struct dataset *d) {
  for (ptrdiff_t i = 0; i < d->count; i++) free(d->path[i]);
  for (int i = 0; i < d->classes; i++) free(d->class_name[i]);
  free(d->path);
  free(d->label);
  free(d->class_name);
  free(d->first_out);
  free(d->root);
  *d = (struct dataset){0};
}

void dataset_fingerprint(const struct dataset *d, char text[65]) {
  struct sha256 s;
  unsigned char digest[32];
  sha256_begin(&s);
  for (ptrdiff_t i = 0; i < d->count; i++)
    sha256_add(&s, dataset_name(d, i), strlen(dataset_name(d, i)) + 1); /* with the zero: no run-on */
  sha256_end(&s, digest);
  sha256_hex(digest, text);
}
