#define _GNU_SOURCE /* madvise */
#include "base/arena.h"

#include <assert.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { HUGE_PAGE = 2 << 20 };

size_t arena_bytes(ptrdiff_t n, size_t element) {
  size_t bytes;
  if (n < 0 || __builtin_mul_overflow((size_t)n, element, &bytes) || bytes > SIZE_MAX - ARENA_ALIGN) return SIZE_MAX;
  return (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
}

size_t arena_size(size_t bytes) { return (bytes + HUGE_PAGE) / HUGE_PAGE * HUGE_PAGE; }

/* Returns false. */
static bool refused(size_t size, struct error *err) {
  double gb = (double)size / 1e9, left = (double)memory_available() / 1e9;
  static const char less[] = "choose a smaller batch, size or network";
  return memory_limited()
             ? fail(err, "out of memory: %.2f GB asked for, %.2f GB are left of what ulimit -v allows; raise it, or %s", gb, left, less)
             : fail(err, "out of memory: %.2f GB asked for, %.2f GB available; %s", gb, left, less);
}

bool arena_create(struct arena *arena, size_t size, struct error *err) {
  *arena = (struct arena){0};
  if (size > SIZE_MAX - 2 * HUGE_PAGE)
    return fail(err, "out of memory: the sizes asked for do not fit in an address space; choose a smaller batch");
  size = arena_size(size);
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return refused(size, err);
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

static size_t physical(void) {
  size_t machine = number_in_file("/proc/meminfo", "MemAvailable: %" SCNu64) * 1024;
  size_t limit = number_in_file("/sys/fs/cgroup/memory.max", "%" SCNu64);
  size_t used = number_in_file("/sys/fs/cgroup/memory.current", "%" SCNu64);
  if (limit > 0 && limit > used && (machine == 0 || limit - used < machine)) return limit - used;
  return machine;
}

/* Of the address space that ulimit -v allows (RLIMIT_AS): what is not taken; SIZE_MAX if there is no such limit. */
static size_t address_space_left(void) {
  struct rlimit most;
  if (getrlimit(RLIMIT_AS, &most) != 0 || most.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
  size_t taken = number_in_file("/proc/self/statm", "%" SCNu64) * (size_t)sysconf(_SC_PAGESIZE);
  return most.rlim_cur > taken ? (size_t)most.rlim_cur - taken : 1; /* not 0, which is unknown */
}

bool memory_limited(void) {
  size_t there = physical(), left = address_space_left();
  return left != SIZE_MAX && (there == 0 || left < there);
}

size_t memory_available(void) { return memory_limited() ? address_space_left() : physical(); }
