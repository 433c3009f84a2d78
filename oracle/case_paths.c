#include "oracle/case_paths.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"

static bool add(struct case_paths *p, const char *path, struct error *err) {
  if (p->count == p->capacity) {
    int capacity = p->capacity ? 2 * p->capacity : 64;
    char **grown = realloc(p->path, (size_t)capacity * sizeof *grown);
    if (!grown) return fail(err, "case: out of memory");
    p->path = grown;
    p->capacity = capacity;
  }
  p->path[p->count] = strdup(path);
  return p->path[p->count++] != NULL || fail(err, "case: out of memory");
}

static int path_order(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static bool is_case_name(const char *name) {
  static const char ending[] = ".safetensors";
  size_t n = strlen(name);
  return n > strlen(ending) && strcmp(name + n - strlen(ending), ending) == 0;
}

/* A file, or every *.safetensors below a folder; one that was named has to hold some. Links to folders are not followed. */
static bool collect(struct case_paths *p, const char *path, bool named, struct error *err) {
  struct stat s;
  if ((named ? stat(path, &s) : lstat(path, &s)) != 0) return fail(err, "%s: no such file or folder", path);
  if (!S_ISDIR(s.st_mode)) return !(named || is_case_name(path)) || add(p, path, err);
  DIR *d = opendir(path);
  if (!d) return fail(err, "%s: the folder cannot be read", path);
  bool ok = true;
  int before = p->count;
  for (struct dirent *e; ok && (e = readdir(d));) {
    char below[FILE_PATH_SIZE];
    if (e->d_name[0] == '.') continue;
    if (snprintf(below, sizeof below, "%s/%s", path, e->d_name) >= (int)sizeof below) {
      ok = fail(err, "%s: a path below it is too long", path);
    } else {
      ok = collect(p, below, false, err);
    }
  }
  closedir(d);
  return ok && (!named || p->count > before || fail(err, "%s: holds no case: there is no *.safetensors file below it", path));
}

bool case_paths_add(struct case_paths *p, const char *path, struct error *err) { return collect(p, path, true, err); }

void case_paths_sort(struct case_paths *p) { qsort(p->path, (size_t)p->count, sizeof *p->path, path_order); }

void case_paths_free(struct case_paths *p) {
  for (int i = 0; i < p->count; i++) free(p->path[i]);
  free(p->path);
}
