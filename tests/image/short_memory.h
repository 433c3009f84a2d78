/* Decoding with too little memory: that a good file is never called a broken one. */
#ifndef EDIY_TESTS_IMAGE_SHORT_MEMORY_H
#define EDIY_TESTS_IMAGE_SHORT_MEMORY_H

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image/image.h"
#include "support/cmocka.h"
#include "support/sanitized.h"

/* Before the file is made: from here on what is large comes from the system and goes back to it, so that nothing is left over for the
 * decoder. */
static inline void keep_no_memory(void) {
  if (SANITIZED) skip_because("a sanitizer's own memory knows no limit");
  if (getenv("EDIY_TEST_VALGRIND")) skip_because("valgrind's own memory has the same limit");
  (void)mallopt(M_MMAP_THRESHOLD, 1 << 17);
}

/* Bytes of address space that this process has. */
static inline rlim_t bytes_in_use(void) {
  unsigned long pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (!f || fscanf(f, "%lu", &pages) != 1) abort();
  fclose(f);
  return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* In a process of its own, which says in its status what went wrong: 0 nothing; 1 a file called broken for lack of memory; 2 memory was
 * never short after the pixels had theirs; 3 it was never enough; 4 there is no such limit (qemu keeps none). */
static inline int decode_with_ever_more(const uint8_t *data, size_t size, size_t pixels) {
  enum { STEP = 1 << 16, MOST = 1 << 26 };
  const rlim_t begun = bytes_in_use();
  bool behind = false;
  for (rlim_t more = 0; more < MOST; more += STEP) {
    const struct rlimit limit = {begun + more, RLIM_INFINITY};
    struct image image;
    struct error err;
    void *beyond = setrlimit(RLIMIT_AS, &limit) == 0 ? malloc(2 * MOST) : NULL;
    free(beyond);
    if (beyond) return 4;
    if (image_decode(data, size, "sample", &image, &err)) return behind ? 0 : 2;
    if (!err.is_shortage || !strstr(err.text, "memory")) return fprintf(stderr, "%s\n", err.text), 1;
    behind |= more > 3 * pixels;
  }
  return 3;
}

/* pixels: of the image; what the decoder itself asks for has to be large enough for memory of its own, some 128 KiB. */
static inline void a_good_file_is_never_broken(const uint8_t *data, size_t size, size_t pixels) {
  int status;
  pid_t child = fork();
  if (child == 0) _exit(decode_with_ever_more(data, size, pixels));
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status) == 4) skip_because("memory has no limit here");
  assert_int_equal(WEXITSTATUS(status), 0);
}

#endif
