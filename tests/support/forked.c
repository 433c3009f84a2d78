#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "support/forked.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/cmocka.h"
#include "support/sanitized.h"

enum {
  BOX = 1 << 20,                     /* bytes a rank that go through shared memory at once */
  PATIENCE = SANITIZED ? 1200 : 120, /* seconds after which a rank is ended, lest one that waits for others wait for ever */
  MOST = 8,                          /* ranks */
  HISTORY = 1 << 16                  /* bytes of an exchange that a later, stale one gives again */
};

struct shared {
  pthread_barrier_t barrier;
  char box[MOST][MOST][BOX]; /* [from][to]; gather and broadcast use [from][0]. Touched pages only take memory */
};

static struct shared *shared;
static struct ranks self;
static enum forked_fault fault;

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
static void wait_for_all(void) { pthread_barrier_wait(&shared->barrier); }

static void gather(void *all, size_t bytes) {
  for (size_t at = 0; at < bytes; at += BOX) {
    size_t n = smaller(BOX, bytes - at);
    if (fault != FORKED_UNWAITED) memcpy(shared->box[self.rank][0], (char *)all + (size_t)self.rank * bytes + at, n);
    if (fault == FORKED_MISSING && self.rank == self.count - 1) memset(shared->box[self.rank][0], 0, n);
    wait_for_all();
    for (int k = 0; k < self.count; k++)
      if (k != self.rank) memcpy((char *)all + (size_t)k * bytes + at, shared->box[k][0], n);
    wait_for_all();
    if (fault == FORKED_UNWAITED) memcpy(shared->box[self.rank][0], (char *)all + (size_t)self.rank * bytes + at, n);
  }
}

static void exchange(const void *from, void *to, size_t bytes) {
  static char before[MOST][HISTORY];
  for (size_t at = 0; at < bytes; at += BOX) {
    size_t n = smaller(BOX, bytes - at);
    for (int k = 0; k < self.count; k++) memcpy(shared->box[self.rank][k], (const char *)from + (size_t)k * bytes + at, n);
    if (fault == FORKED_MISSING && self.rank == self.count - 1)
      for (int k = 0; k < self.count; k++) memset(shared->box[self.rank][k], 0, n);
    wait_for_all();
    for (int k = 0; k < self.count; k++) memcpy((char *)to + (size_t)k * bytes + at, shared->box[k][self.rank], n);
    wait_for_all();
  }
  for (int k = 0; fault == FORKED_STALE && k < self.count; k++) {
    char now[HISTORY];
    size_t n = smaller(HISTORY, bytes);
    memcpy(now, (char *)to + (size_t)k * bytes, n);
    memcpy((char *)to + (size_t)k * bytes, before[k], n);
    memcpy(before[k], now, n);
  }
}

static void broadcast(int from, void *data, size_t bytes) {
  for (size_t at = 0; at < bytes; at += BOX) {
    size_t n = smaller(BOX, bytes - at);
    if (self.rank == from) memcpy(shared->box[from][0], (char *)data + at, n);
    wait_for_all();
    if (self.rank != from) memcpy((char *)data + at, shared->box[from][0], n);
    wait_for_all();
  }
}

static void abandon(const char *line) {
  print_error("rank %d of %d: %s\n", self.rank, self.count, line);
  _exit(2);
}

void *forked_shared(size_t bytes) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  assert_true(p != MAP_FAILED);
  return p;
}

void forked_spoil(enum forked_fault next) { fault = next; }

void forked_run(int count, void (*work)(const struct ranks *r, void *context), void *context) {
  pid_t child[MOST];
  pthread_barrierattr_t between;
  assert_true(count >= 1 && count <= MOST);
  shared = forked_shared(sizeof *shared);
  pthread_barrierattr_init(&between);
  pthread_barrierattr_setpshared(&between, PTHREAD_PROCESS_SHARED);
  pthread_barrier_init(&shared->barrier, &between, (unsigned)count);
  fflush(NULL);
  for (int k = 0; k < count; k++) {
    child[k] = fork();
    assert_true(child[k] >= 0);
    if (child[k] > 0) continue;
    alarm(PATIENCE);
    self = (struct ranks){.count = count,
                          .rank = k,
                          .locals = count,
                          .local = k,
                          .sharers = count,
                          .gather = gather,
                          .exchange = exchange,
                          .broadcast = broadcast,
                          .abandon = abandon};
    work(&self, context);
    fflush(NULL);
    _exit(0);
  }
  int bad = 0, status;
  for (int k = 0; k < count; k++) {
    waitpid(child[k], &status, 0);
    if (status == 0) continue;
    print_error("rank %d of %d ended with status %#x\n", k, count, (unsigned)status);
    bad++;
  }
  munmap(shared, sizeof *shared);
  if (bad) fail();
}
