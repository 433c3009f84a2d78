#define _GNU_SOURCE /* nftw */
#include "program/folder.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"

int folder_entries(const char *path) {
  DIR *d = opendir(path);
  if (!d) return -1;
  int entries = 0;
  while (readdir(d)) entries++;
  closedir(d);
  return entries - 2; /* . and .. */
}

/* 1: an empty folder, 0: anything else that exists, -1: nothing there. */
static int look(const char *path) {
  int entries = folder_entries(path);
  return entries < 0 && errno == ENOENT ? -1 : entries == 0;
}

bool folder_free(const char *path) { return look(path) != 0; }

static bool name(struct folder *f, const char *path, struct error *err) {
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/') n--;
  if (n == 0 || n >= sizeof f->path) return fail(err, "the name of the folder to create is empty or too long");
  memcpy(f->path, path, n);
  f->path[n] = 0;
  snprintf(f->partial, sizeof f->partial, "%s.partial", f->path);
  return true;
}

bool folder_begin(struct folder *f, const char *path, struct error *err) {
  if (!name(f, path, err)) return false;
  if (look(f->path) == 0) return fail(err, "%s: exists and is not an empty folder; choose another out= or remove it", f->path);
  if (look(f->partial) >= 0) return fail(err, "%s: left by an interrupted run, or one is running; remove it to start again", f->partial);
  return folder_create(f->partial, err);
}

bool folder_commit(struct folder *f, struct error *err) {
  if (rename(f->partial, f->path) == 0) return true;
  fail(err, "%s: cannot be renamed to %s: %s", f->partial, f->path, strerror(errno));
  folder_abandon(f);
  return false;
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *at) {
  (void)s, (void)type, (void)at;
  return remove(path);
}

void folder_abandon(struct folder *f) { nftw(f->partial, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

bool folder_forget(const char *path, struct error *err) {
  struct folder f;
  if (!name(&f, path, err)) return false;
  folder_abandon(&f);
  return true;
}
