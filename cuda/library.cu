/* Finding and loading libraries, and the memory that they share. See library.h. */
#include "cuda/library.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cuda/runtime.h"

enum { PATH_BYTES = 4096, WHY_BYTES = 512 };

/* Where CUDA and pip put libraries when the loader is not told of them. "~" is the home folder; those that begin with a variable are left
 * out where it is not set. */
static const char *const PLACES[] = {
    "/usr/local/cuda/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "$VIRTUAL_ENV/lib/python3*/site-packages/nvidia/*/lib",
    "$CONDA_PREFIX/lib/python3*/site-packages/nvidia/*/lib",
    "/usr/local/lib/python3*/*-packages/nvidia/*/lib",
    "/usr/lib/python3/dist-packages/nvidia/*/lib",
    "/opt/*/lib/python3*/site-packages/nvidia/*/lib",
    "/opt/*/*/lib/python3*/site-packages/nvidia/*/lib",
    "/opt/*/.venv/lib/python3*/site-packages/nvidia/*/lib", /* a * is for no name that begins with a dot */
    "~/.local/lib/python3*/site-packages/nvidia/*/lib",
    "~/.pyenv/versions/*/lib/python3*/site-packages/nvidia/*/lib",
};

/* The pattern with its variable's value; false where that is not set. */
static bool expand(const char *place, char *pattern) {
  if (place[0] != '$') return snprintf(pattern, PATH_BYTES, "%s", place) < PATH_BYTES;
  char name[64];
  int length = 0;
  while (place[1 + length] != '/') length++;
  snprintf(name, sizeof name, "%.*s", length, place + 1);
  const char *value = getenv(name);
  return value && value[0] && snprintf(pattern, PATH_BYTES, "%s%s", value, place + 1 + length) < PATH_BYTES;
}

static void *open_in(const char *folder, const char *file) {
  char path[PATH_BYTES];
  if (snprintf(path, sizeof path, "%s/%s", folder, file) >= (int)sizeof path) return nullptr;
  return dlopen(path, RTLD_NOW | RTLD_GLOBAL);
}

static void *open_in_places(const char *file) {
  void *library = nullptr;
  for (size_t i = 0; !library && i < sizeof PLACES / sizeof PLACES[0]; i++) {
    char pattern[PATH_BYTES];
    glob_t found;
    if (!expand(PLACES[i], pattern) || glob(pattern, GLOB_TILDE, nullptr, &found) != 0) continue;
    for (size_t k = 0; !library && k < found.gl_pathc; k++) library = open_in(found.gl_pathv[k], file);
    globfree(&found);
  }
  return library;
}

void *library_open(const char *option, const char *file, const char *variable, struct error *err) {
  const char *named = getenv(variable);
  char why[WHY_BYTES];
  void *library;
  if (named && named[0]) {
    struct stat s;
    library = stat(named, &s) == 0 && S_ISDIR(s.st_mode) ? open_in(named, file) : dlopen(named, RTLD_NOW | RTLD_GLOBAL);
    if (library) return library;
    snprintf(why, sizeof why, "%s", dlerror());
    fail(err, "%s: %s=%s does not lead to %s: %s", option, variable, named, file, why);
    return nullptr;
  }
  library = dlopen(file, RTLD_NOW | RTLD_GLOBAL);
  if (!library) snprintf(why, sizeof why, "%s", dlerror()); /* of the loader's own places: what a reader can make something of */
  if (!library) library = open_in_places(file);
  if (!library)
    fail(err, "%s needs the library %s, which was not found (%s); install it, or name its folder: %s=...", option, file, why, variable);
  return library;
}

void *library_function(void *library, const char *file, const char *name, struct error *err) {
  void *function = dlsym(library, name);
  if (!function) fail(err, "cuda: %s has no function %s: it is older than this program needs", file, name);
  return function;
}

void *library_room(size_t bytes) {
  static struct {
    void *memory;
    size_t bytes;
  } room;
  if (bytes <= room.bytes) return room.memory;
  void *more = nullptr;
  if (!cuda_succeeded(cudaMalloc(&more, bytes), "reserving memory for libraries")) return nullptr;
  room.memory = more, room.bytes = bytes;
  return more;
}
