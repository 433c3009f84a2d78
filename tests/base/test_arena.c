/* The arena: pieces are aligned, zeroed and apart; sizes that overflow are answered before anything is allocated. */
#include "base/arena.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/cmocka.h"
#include "support/sanitized.h"

static void sizes_are_rounded_up_and_overflow_is_said(void **state) {
  (void)state;
  assert_int_equal(arena_bytes(0, 8), 0);
  assert_int_equal(arena_bytes(1, 1), ARENA_ALIGN);
  assert_int_equal(arena_bytes(16, 4), 64);
  assert_int_equal(arena_bytes(17, 4), 128);
  assert_true(arena_bytes(-1, 4) == SIZE_MAX);
  assert_true(arena_bytes(PTRDIFF_MAX, 8) == SIZE_MAX);
  assert_true(arena_bytes(PTRDIFF_MAX, 2) == SIZE_MAX); /* 2^64 - 2 fits, but not rounded up */
}

static void pieces_are_aligned_zeroed_and_apart(void **state) {
  (void)state;
  enum { PIECES = 50 };
  struct error err;
  struct arena arena;
  size_t total = 0;
  for (int i = 0; i < PIECES; i++) total += arena_bytes(i * 37, sizeof(float));
  if (!arena_create(&arena, total, &err)) fail_msg("%s", err.text);
  float *piece[PIECES];
  for (int i = 0; i < PIECES; i++) {
    piece[i] = arena_take(&arena, i * 37, sizeof(float));
    assert_int_equal((uintptr_t)piece[i] % ARENA_ALIGN, 0);
    for (int j = 0; j < i * 37; j++) {
      assert_true(piece[i][j] == 0);
      piece[i][j] = (float)i;
    }
  }
  for (int i = 0; i < PIECES; i++)
    for (int j = 0; j < i * 37; j++) assert_true(piece[i][j] == (float)i);
  assert_int_equal(arena.used, total);
  arena_destroy(&arena);
  assert_null(arena.base);
  arena_destroy(&arena); /* twice is allowed */
}

static void what_is_reserved_is_what_was_said(void **state) {
  (void)state;
  static const size_t sizes[] = {0, 1, (2 << 20) - 1, 2 << 20, (2 << 20) + 1};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    struct error err;
    struct arena arena;
    if (!arena_create(&arena, sizes[i], &err)) fail_msg("%s", err.text);
    assert_int_equal(arena.size, arena_size(sizes[i]));
    assert_true(arena.size >= sizes[i] && arena.size % (2 << 20) == 0 && arena.size - sizes[i] <= 2 << 20);
    arena_destroy(&arena);
  }
}

static void too_much_is_refused_with_a_line(void **state) {
  (void)state;
  struct error err;
  struct arena arena;
  assert_false(arena_create(&arena, SIZE_MAX, &err));
  assert_non_null(strstr(err.text, "out of memory"));
  assert_non_null(strstr(err.text, "smaller batch"));
  assert_false(arena_create(&arena, (size_t)1 << 62, &err)); /* fits in a size_t, in no address space */
  assert_non_null(strstr(err.text, "GB asked for"));
  arena_destroy(&arena);
}

/* In a child, whose limit is its own: how much is left of it, less what the program has, is what is said and what there is. */
static void a_limit_of_the_address_space_is_named(void **state) {
  (void)state;
  enum { GB = 1000000000 };
  if (SANITIZED) skip_because("a sanitizer takes address space of its own");
  pid_t child = fork();
  if (child == 0) {
    unsigned long pages = 0; /* that the program has: many with many threads */
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lu", &pages) != 1) _exit(2);
    fclose(f);
    const rlim_t most = pages * (rlim_t)sysconf(_SC_PAGESIZE) + 2 * (rlim_t)GB;
    struct rlimit limit = {most, most};
    struct error err = {.text = ""};
    struct arena arena;
    size_t before, after;
    bool ok = setrlimit(RLIMIT_AS, &limit) == 0 && memory_limited() && (before = memory_available()) > GB && before <= 2 * (size_t)GB &&
              arena_create(&arena, GB / 2, &err) && (after = memory_available()) + arena.size <= before &&
              before - after - arena.size < GB / 10 && !arena_create(&arena, 4 * (size_t)GB, &err) &&
              strstr(err.text, "GB are left of what ulimit -v allows; raise it, or choose a smaller batch, size or network");
    if (!ok) print_error("%s\n", err.text);
    _exit(!ok);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
}

/* The kernel's own estimate (which moves: within a factor of two), unless a control group has less. */
static void available_memory_is_what_the_kernel_says(void **state) {
  (void)state;
  unsigned long long available = 0;
  char line[256];
  FILE *f = fopen("/proc/meminfo", "r"), *group = fopen("/sys/fs/cgroup/memory.max", "r");
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "MemAvailable: %llu kB", &available) == 1) break;
  const bool limited = group && fgets(line, sizeof line, group) && strncmp(line, "max", 3) != 0;
  if (f) fclose(f);
  if (group) fclose(group);
  if (available == 0) skip_because("the system does not say how much memory there is");
  const double bytes = (double)memory_available(), said = 1024 * (double)available;
  assert_true(bytes > 0 && bytes < 2 * said && (limited || bytes > said / 2));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sizes_are_rounded_up_and_overflow_is_said), cmocka_unit_test(pieces_are_aligned_zeroed_and_apart),
      cmocka_unit_test(what_is_reserved_is_what_was_said),         cmocka_unit_test(too_much_is_refused_with_a_line),
      cmocka_unit_test(a_limit_of_the_address_space_is_named),     cmocka_unit_test(available_memory_is_what_the_kernel_says)};
  return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
