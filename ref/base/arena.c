#define _GNU_SOURCE /* madvise */
#include "base/arena.h"

#include <assert.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

size_t arena_bytes(ptrdiff_t n, size_t element) {
  size_t bytes;
  if (n < 0 || __builtin_mul_overflow((size_t)n, element, &bytes) || bytes > SIZE_MAX - ARENA_ALIGN) return SIZE_MAX;
  return (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
}

size_t arena_size(size_t bytes) { return (bytes + HUGE_PAGE) / HUGE_PAGE * HUGE_PAGE; }

bool arena_create(struct arena *arena, size_t size, struct error *err) {
  *arena = (struct arena){0};
  if (size > SIZE_MAX - 2 * HUGE_PAGE)
    return fail(err, "out of memory: the sizes asked for do not fit in an address space; choose a smaller batch");
  size = arena_size(size);
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    return fail(err, "out of memory: %.2f GB asked for, %.2f GB available; choose a smaller batch", (double)size / 1e9,
                (double)memory_available() / 1e9);
  madvise(p, size, MADV_HUGEPAGE); /* advice: where it is refused, small pages do */
  *arena = (struct arena){.base = p, .size = size};
  return true;
}

void arena_destroy(struct arena *arena) {
  if (arena->base) munmap(arena->base, arena->size);
  *arena = (struct arena){0};
}

void *arena_take(struct arena *arena, ptrdiff_t n, size_t element) {
  size_t bytes = arena_bytes(n, element);
  assert(bytes <= arena->size - arena->used && "the arena was sized too small");
  void *p = arena->base + arena->used;
  arena->used += bytes;
  return p;
}

static size_t number_in_file(const char *path, const char *format) {
  FILE *f = fopen(path, "r");
  if (!f) return 0;
  char line[256];
  uint64_t value, found = 0;
  while (!found && fgets(line, sizeof line, f))
    if (sscanf(line, format, &value) == 1) found = value;
  fclose(f);
  return (size_t)found;
}

size_t memory_available(void) {
  size_t machine = number_in_file("/proc/meminfo", "MemAvailable: %" SCNu64) * 1024;
  size_t limit = number_in_file("/sys/fs/cgroup/memory.max", "%" SCNu64);
  size_t used = number_in_file("/sys/fs/cgroup/memory.current", "%" SCNu64);
  if (limit > 0 && limit > used && (machine == 0 || limit - used < machine)) return limit - used;
  return machine;
}
