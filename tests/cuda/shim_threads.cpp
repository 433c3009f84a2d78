/* The shim's threads: fibres, barriers, shuffles, launches. See shim.h. */
#include "cuda/shim.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

extern "C" {
#include "base/philox.h"
#include "cuda/shim_control.h"
}
#include "cuda/shim_memory.h"

#if defined __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

struct dim3 threadIdx, blockIdx, blockDim, gridDim;

enum { MOST_THREADS = 1024, WARP = 32, STACK = 256 << 10, ORDERS = 32 };

/* A fibre that waits does so at a barrier (with the place of it) or where lanes of its warp meet (with what for, and which). */
enum fibre_state { READY, AT_BARRIER, AT_MEETING, ASSERTED, DONE };

struct fibre {
  enum fibre_state state;
  bool begun; /* it has a context to go on from */
  jmp_buf where;
  ucontext_t context;
  char *stack;
  struct dim3 index;
  const char *file;
  int line;
  unsigned mask;
  const char *what;
  alignas(double) unsigned char given[2][SHIM_GIFT]; /* to a meeting; two, so that a lane may reach the next one before others have read */
  int meetings;
};

static struct fibre fibre[MOST_THREADS];
static int threads, current;
static int meetings_of[MOST_THREADS / WARP]; /* that a warp has had */
static jmp_buf scheduler;
static void (*thread_body)(const void *);
static const void *thread_context;
static struct philox shuffle_stream = philox_stream(1, PHILOX_TEST, 0, 0, 0);

extern "C" void shim_seed(uint64_t seed) { shuffle_stream = philox_stream(seed, PHILOX_TEST, 0, 0, 0); }

/* ---- switching ------------------------------------------------------------------------------------------------------------------------
 *
 * ucontext gives a fibre its stack; after that _setjmp and _longjmp switch, which unlike swapcontext make no system call. AddressSanitizer
 * is told of every change of stack. */
#if defined __SANITIZE_ADDRESS__
static const void *main_stack;
static size_t main_stack_size;
static void *fake_stack[MOST_THREADS + 1];
static void leave(int slot, const void *stack, size_t size) { __sanitizer_start_switch_fiber(&fake_stack[slot], stack, size); }
static void arrive(int slot) {
  __sanitizer_finish_switch_fiber(fake_stack[slot], slot < MOST_THREADS ? &main_stack : NULL,
                                  slot < MOST_THREADS ? &main_stack_size : NULL);
}
static void leave_to_fibre(int t) { leave(MOST_THREADS, fibre[t].stack, STACK); }
static void leave_to_scheduler(int t) { leave(t, main_stack, main_stack_size); }
static void arrive_new(void) { __sanitizer_finish_switch_fiber(NULL, &main_stack, &main_stack_size); }
static void clear_stack(char *stack) { __asan_unpoison_memory_region(stack, STACK); }
#else
static void arrive(int) {}
static void leave_to_fibre(int) {}
static void leave_to_scheduler(int) {}
static void arrive_new(void) {}
static void clear_stack(char *) {}
#endif

/* From a fibre to the scheduler, until it is resumed. */
static void wait_as(enum fibre_state state) {
  int t = current;
  fibre[t].state = state;
  leave_to_scheduler(t);
  if (!_setjmp(fibre[t].where)) _longjmp(scheduler, 1);
  arrive(t);
}

/* A fibre runs one thread of a block after another. */
static void fibre_main(void) {
  arrive_new();
  for (;;) {
    thread_body(thread_context);
    shim_copies_end(current), shim_products_end(current);
    wait_as(DONE);
  }
}

static void resume(int t) {
  struct fibre *f = &fibre[t];
  current = t;
  threadIdx = f->index;
  if (!f->stack && !(f->stack = static_cast<char *>(malloc(STACK)))) abort();
  leave_to_fibre(t);
  if (_setjmp(scheduler)) {
    arrive(MOST_THREADS);
    return;
  }
  if (f->begun) _longjmp(f->where, 1);
  f->begun = true;
  clear_stack(f->stack);
  getcontext(&f->context);
  f->context.uc_stack.ss_sp = f->stack;
  f->context.uc_stack.ss_size = STACK;
  makecontext(&f->context, fibre_main, 0);
  setcontext(&f->context);
}

/* ---- what threads do together -------------------------------------------------------------------------------------------------------- */

void shim_barrier(const char *file, int line) {
  fibre[current].file = file, fibre[current].line = line;
  wait_as(AT_BARRIER);
}

void shim_assertion(const char *condition, const char *file, int line) {
  shim_fail_launch(cudaErrorAssert, "%s:%d: block: [%u,%u,%u], thread: [%u,%u,%u] Assertion `%s` failed.", file, line, blockIdx.x,
                   blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z, condition);
  for (;;) wait_as(ASSERTED); /* the block ends, and nobody resumes this fibre in the middle of a kernel */
}

int shim_lane(void) { return current % WARP; }
int shim_thread(void) { return current; }

int shim_meet(const char *what, unsigned mask, const void *gift, size_t bytes) {
  struct fibre *f = &fibre[current];
  memcpy(f->given[f->meetings++ % 2], gift, bytes);
  f->mask = mask, f->what = what;
  wait_as(AT_MEETING);
  return meetings_of[current / WARP];
}

const void *shim_gift(int lane) {
  const struct fibre *f = &fibre[current];
  int from = current / WARP * WARP + lane;
  return f->mask >> lane & 1 && from < threads ? fibre[from].given[(f->meetings - 1) % 2] : nullptr;
}

double shim_shuffle(unsigned mask, double value, int from) {
  shim_meet("a shuffle", mask, &value, sizeof value);
  const void *gift = shim_gift(from);
  return gift ? *static_cast<const double *>(gift) : nan("");
}

/* ---- a block ------------------------------------------------------------------------------------------------------------------------- */

static short order_of[ORDERS][MOST_THREADS], lanes_of[ORDERS][WARP];
static int order_threads; /* the size of block that the first are for */

static void shuffle(short *order, int size) {
  for (int i = 0; i < size; i++) {
    int j = (int)philox_below(&shuffle_stream, (uint32_t)i + 1);
    order[i] = order[j], order[j] = (short)i;
  }
}

/* A number of shuffled orders of the threads, and of the lanes of a warp, drawn once for a size of block; every round takes one of them. */
static void draw_orders(void) {
  for (int o = 0; order_threads != threads && o < ORDERS; o++) shuffle(order_of[o], threads), shuffle(lanes_of[o], WARP);
  order_threads = threads;
}
static const short *some_order(void) { return order_of[philox_below(&shuffle_stream, ORDERS)]; }
static const short *some_lanes(void) { return lanes_of[philox_below(&shuffle_stream, ORDERS)]; }

/* Lets go on the lanes of a warp that have met, once all of the mask have. A mask that can no longer come together, because a lane has
 * ended or waits at a barrier or for something else, is reported, and false. */
static bool release_meeting(const char *kernel, int warp) {
  unsigned waiting = 0, lost = 0;
  int lanes = threads - warp < WARP ? threads - warp : WARP;
  const char *what = nullptr;
  for (int lane = 0; lane < lanes; lane++) {
    enum fibre_state at = fibre[warp + lane].state;
    if (at == AT_MEETING && !what) what = fibre[warp + lane].what;
    if (at == AT_MEETING && fibre[warp + lane].what == what) waiting |= 1u << lane;
    if (at == AT_BARRIER || at == DONE || (at == AT_MEETING && fibre[warp + lane].what != what)) lost |= 1u << lane;
  }
  for (int lane = 0; lane < lanes; lane++) {
    unsigned mask = fibre[warp + lane].mask;
    if (!(waiting >> lane & 1)) continue;
    if ((mask & lost) != 0 || !(mask >> lane & 1)) {
      shim_note("kernel %s: %s with mask %08x is reached by lanes %08x only of warp %d in block (%u, %u, %u)", kernel, what, mask, waiting,
                warp / WARP, blockIdx.x, blockIdx.y, blockIdx.z);
      return false;
    }
  }
  for (int lane = 0; lane < lanes; lane++)
    if (waiting >> lane & 1) fibre[warp + lane].state = READY;
  if (waiting) meetings_of[warp / WARP]++;
  return true;
}

/* Nobody can go on alone: opens a barrier that all threads have reached. False when it is not so. */
static bool release_block(const char *kernel) {
  int at = 0, first = -1;
  for (int t = 0; t < threads; t++) {
    if (fibre[t].state != AT_BARRIER) continue;
    at++;
    if (first < 0) first = t;
    if (fibre[t].line != fibre[first].line || fibre[t].file != fibre[first].file) {
      shim_note("kernel %s: threads of a block wait at different barriers, %s:%d and %d", kernel, fibre[first].file, fibre[first].line,
                fibre[t].line);
      return false;
    }
  }
  if (at < threads) {
    shim_note("kernel %s: the barrier at %s:%d is reached by %d of %d threads of block (%u, %u, %u)", kernel, fibre[first].file,
              fibre[first].line, at, threads, blockIdx.x, blockIdx.y, blockIdx.z);
    return false;
  }
  for (int t = 0; t < threads; t++) fibre[t].state = READY;
  return true;
}

/* Runs a warp on its own, its threads in shuffled order, to the next barrier or to the end; or, in one round of four, to the next meeting
 * only. Warps so drift apart as far as barriers let them. */
static bool run_warp(const char *kernel, int warp) {
  for (bool moved = true; moved;) {
    const short *lanes = some_lanes();
    moved = false;
    for (int i = 0; i < WARP; i++) {
      int t = warp + lanes[i];
      if (t >= threads || fibre[t].state != READY) continue;
      resume(t);
      if (fibre[t].state == ASSERTED) return false;
      moved = true;
    }
    if (!release_meeting(kernel, warp)) return false;
    if (philox_below(&shuffle_stream, 4) == 0) break;
  }
  return true;
}

static bool run_block(const char *kernel) {
  shim_poison_shared();
  shim_forget_copies(), shim_forget_products();
  draw_orders();
  for (int t = 0; t < threads; t++) {
    fibre[t].state = READY;
    fibre[t].meetings = 0;
    fibre[t].index = dim3((unsigned)t % blockDim.x, (unsigned)t / blockDim.x % blockDim.y, (unsigned)t / blockDim.x / blockDim.y);
  }
  for (;;) {
    bool done = true, sound = true;
    const short *order = some_order(); /* a warp comes where its first thread stands */
    for (int i = 0; i < threads && sound; i++)
      if (order[i] % WARP == 0) sound = run_warp(kernel, order[i]);
    for (int t = 0; t < threads; t++) done &= fibre[t].state == DONE;
    if (done) return true;
    bool waits = true;
    for (int t = 0; t < threads; t++) waits &= fibre[t].state == AT_BARRIER || fibre[t].state == DONE;
    if (!sound || (waits && !release_block(kernel))) {
      for (int t = 0; t < threads; t++) fibre[t].begun = false; /* they stand in the middle of a kernel: start anew */
      return false;
    }
  }
}

/* ---- a launch ------------------------------------------------------------------------------------------------------------------------ */

void shim_run_launch(const char *kernel, struct dim3 grid, struct dim3 block, size_t shared_bytes, void (*body)(const void *),
                     const void *context) {
  threads = (int)(block.x * block.y * block.z);
  gridDim = grid, blockDim = block;
  if (shared_bytes > 0) shim_shared(SHIM_DYNAMIC, shared_bytes);
  thread_body = body, thread_context = context;
  size_t blocks = (size_t)grid.x * grid.y * grid.z;
  uint32_t *order = static_cast<uint32_t *>(malloc(blocks * sizeof *order));
  if (!order) abort();
  for (size_t i = 0; i < blocks; i++) {
    size_t j = philox_below(&shuffle_stream, (uint32_t)i + 1);
    order[i] = order[j], order[j] = (uint32_t)i;
  }
  shim_open_memory();
  for (size_t i = 0; i < blocks; i++) {
    blockIdx = dim3(order[i] % grid.x, order[i] / grid.x % grid.y, order[i] / grid.x / grid.y);
    if (!run_block(kernel)) break;
  }
  free(order);
  shim_check_guards(kernel);
  shim_close_memory();
  shim_free_shared();
}
