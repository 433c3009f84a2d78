/* Runs a kernel's blocks, warps and lanes. See ptx.h. */
#include <string.h>

#include <algorithm>

extern "C" {
#include "base/philox.h"
#include "cuda/shim_control.h"
}
#include "cuda/ptx/ptx.h"

static struct philox turns = philox_stream(1, PHILOX_TEST, 0, 0, 0);
extern "C" void shim_seed(uint64_t seed) { turns = philox_stream(seed, PHILOX_TEST, 0, 0, 0); }

/* ---- a warp -------------------------------------------------------------------------------------------------------------------------- */

/* The lanes that go next: of those that wait for nothing the ones that are furthest behind. beyond: where the next of the others stands. */
static uint32_t next_lanes(const struct warp *w, int *pc, int *beyond) {
  uint32_t lanes = 0;
  *pc = *beyond = INT32_MAX;
  for (uint32_t left = w->alive & ~w->at_barrier & ~w->stuck; left; left &= left - 1) {
    int lane = __builtin_ctz(left);
    if (w->pc[lane] < *pc) *beyond = *pc, *pc = w->pc[lane], lanes = 0;
    if (w->pc[lane] == *pc)
      lanes |= 1u << lane;
    else if (w->pc[lane] < *beyond)
      *beyond = w->pc[lane];
  }
  return lanes;
}

static void stand(struct warp *w, uint32_t lanes, int pc) {
  for (uint32_t left = lanes; left; left &= left - 1) w->pc[__builtin_ctz(left)] = pc;
}

/* Lanes that came to an instruction of a mask before: those that stand there, too, go on with these. */
static uint32_t joined(struct warp *w, uint32_t lanes, int pc) {
  for (uint32_t left = w->stuck; left; left &= left - 1) {
    int lane = __builtin_ctz(left);
    if (w->pc[lane] == pc) lanes |= 1u << lane;
  }
  w->stuck &= ~lanes;
  return lanes;
}

/* The lanes that have to be there, of those that the block has. */
static uint32_t mask_of(const struct warp *w, const struct instruction *i, uint32_t lanes) {
  if (i->mask < 0) return ALL_LANES;
  return reinterpret_cast<const uint32_t *>(w->registers + i->operand[i->mask])[__builtin_ctz(lanes)] & w->there;
}

static void end(struct warp *w, const struct instruction *i, uint32_t lanes) {
  w->alive &= ~lanes;
  for (uint32_t left = lanes; left; left &= left - 1)
    if (!w->copies[__builtin_ctz(left)].empty()) ptx_fail(w, i, "a thread ends with copies in flight");
  if (lanes && !w->wide.begun.empty()) ptx_fail(w, i, "a thread ends with multiplications that nobody waited for");
}

/* Until all lanes have ended or wait, or `most` instructions are done. */
static void run_warp(struct warp *w, int64_t most) {
  const struct instruction *code = w->block->kernel->code.data();
  struct counts *counts = w->block->kernel->counts;
  int pc, beyond, size = (int)w->block->kernel->code.size();
  uint32_t lanes = next_lanes(w, &pc, &beyond);
  for (; lanes && most > 0 && !w->block->failed; most--) {
    if (pc >= size) return ptx_fail(w, &code[size - 1], "the code ends without ret");
    const struct instruction *i = &code[pc];
    uint32_t those = lanes;
    if (i->guard >= 0) {
      uint32_t p = *reinterpret_cast<const uint32_t *>(w->registers + i->guard);
      those &= i->unless ? ~p : p;
    }
    if (counts) counts->instructions++, counts->lanes += __builtin_popcount(those);
    bool regroup = false;
    switch (i->kind) {
    case PLAIN:
      if (those) i->run(w, i, those);
      pc++;
      break;
    case BRANCH:
      if (those == lanes)
        pc = i->target;
      else if (!those)
        pc++;
      else
        stand(w, those, i->target), stand(w, lanes & ~those, pc + 1), regroup = true;
      break;
    case RETURN:
      end(w, i, those);
      stand(w, lanes & ~those, pc + 1), regroup = true;
      break;
    case BARRIER:
      stand(w, lanes, pc + 1);
      w->at_barrier |= lanes, regroup = true;
      break;
    case TOGETHER:
      lanes = joined(w, lanes, pc);
      if ((mask_of(w, i, lanes) & ~lanes) == 0)
        i->run(w, i, lanes), pc++;
      else
        stand(w, lanes, pc), w->stuck |= lanes, regroup = true;
      break;
    }
    if (!regroup && pc >= beyond) stand(w, lanes, pc), regroup = true;
    if (regroup) lanes = next_lanes(w, &pc, &beyond);
  }
  stand(w, lanes, pc);
}

/* ---- a block ------------------------------------------------------------------------------------------------------------------------- */

static struct warp warps[MOST_WARPS];

/* Whether nobody can go on alone: all wait or have ended. */
static bool is_idle(const struct warp *w) { return (w->alive & ~w->at_barrier & ~w->stuck) == 0; }

/* Opens the barrier that all threads have reached; reports when it is not so. */
static void open_barrier(struct block *b, int count) {
  const struct instruction *code = b->kernel->code.data();
  int at = -1;
  for (int n = 0; n < count && !b->failed; n++)
    for (uint32_t left = warps[n].there; left && !b->failed; left &= left - 1) {
      struct warp *w = &warps[n];
      int lane = __builtin_ctz(left);
      if (w->stuck >> lane & 1)
        ptx_fail(w, &code[w->pc[lane]], "not all lanes of its mask come here: only %08x", w->stuck);
      else if (!(w->alive >> lane & 1))
        ptx_fail(w, &code[0], "a thread has ended, and others wait at a barrier");
      else if (at >= 0 && w->pc[lane] != at)
        ptx_fail(w, &code[w->pc[lane] - 1], "others wait at another barrier, line %d", code[at - 1].line);
      at = w->pc[lane];
    }
  if (!b->failed) ptx_check_warpgroups(warps, count);
  for (int n = 0; n < count; n++) warps[n].at_barrier = 0;
  b->turn = ptx_next_turn(b->touched_shared);
}

static void run_block(struct block *b, int count) {
  for (bool alive = true; alive && !b->failed;) {
    bool idle = true;
    alive = false;
    int first = (int)philox_below(&turns, (uint32_t)count);
    for (int n = 0; n < count && !b->failed; n++) {
      struct warp *w = &warps[(first + n) % count];
      uint32_t turn = philox_below(&turns, 4); /* one in four stops somewhere on its way */
      run_warp(w, turn ? INT64_MAX : 1 + (int64_t)philox_below(&turns, 1000));
      alive |= w->alive != 0, idle &= is_idle(w);
    }
    if (alive && idle && !b->failed) open_barrier(b, count);
  }
  if (!b->failed) ptx_check_warpgroups(warps, count);
}

/* ---- a launch ------------------------------------------------------------------------------------------------------------------------ */

static void set(const struct kernel *k, const char *name, struct warp *w, uint32_t (*value)(const struct warp *w, int lane)) {
  std::map<std::string, int>::const_iterator at = k->special.find(name);
  if (at == k->special.end()) return;
  for (int lane = 0; lane < LANES; lane++) reinterpret_cast<uint32_t *>(w->registers + at->second)[lane] = value(w, lane);
}

static struct dim3 grid_of, block_of;
static uint32_t thread_of(const struct warp *w, int lane) { return (uint32_t)(w->number * LANES + lane); }

/* What does not differ between the blocks. */
static void set_launch(const struct kernel *k, struct warp *w) {
  set(k, "%tid.x", w, [](const struct warp *of, int lane) { return thread_of(of, lane) % block_of.x; });
  set(k, "%tid.y", w, [](const struct warp *of, int lane) { return thread_of(of, lane) / block_of.x % block_of.y; });
  set(k, "%tid.z", w, [](const struct warp *of, int lane) { return thread_of(of, lane) / block_of.x / block_of.y; });
  set(k, "%ntid.x", w, [](const struct warp *, int) { return (uint32_t)block_of.x; });
  set(k, "%ntid.y", w, [](const struct warp *, int) { return (uint32_t)block_of.y; });
  set(k, "%ntid.z", w, [](const struct warp *, int) { return (uint32_t)block_of.z; });
  set(k, "%nctaid.x", w, [](const struct warp *, int) { return (uint32_t)grid_of.x; });
  set(k, "%nctaid.y", w, [](const struct warp *, int) { return (uint32_t)grid_of.y; });
  set(k, "%nctaid.z", w, [](const struct warp *, int) { return (uint32_t)grid_of.z; });
  set(k, "%laneid", w, [](const struct warp *, int lane) { return (uint32_t)lane; });
}

static void set_block(const struct kernel *k, struct warp *w) {
  set(k, "%ctaid.x", w, [](const struct warp *of, int) { return (uint32_t)of->block->index[0]; });
  set(k, "%ctaid.y", w, [](const struct warp *of, int) { return (uint32_t)of->block->index[1]; });
  set(k, "%ctaid.z", w, [](const struct warp *of, int) { return (uint32_t)of->block->index[2]; });
}

/* Warps as they start in every block. Registers are filled once a launch only: compilers read none that they have not written. */
static void begin_block(const struct kernel *k, struct block *b, int count, int threads) {
  memset(b->shared, 0xff, b->shared_bytes);
  b->begun = b->turn = ptx_next_turn(b->touched_shared);
  if (b->unshown) {
    b->unshown->writer.assign(b->shared_bytes, 0);
    for (int thread = 0; thread < threads; thread++) b->unshown->pieces[thread].clear();
  }
  for (int n = 0; n < count; n++) {
    struct warp *w = &warps[n];
    int left = threads - n * LANES;
    w->there = w->alive = left >= LANES ? ALL_LANES : (1u << left) - 1;
    w->at_barrier = w->stuck = 0;
    w->wide.begun.clear(), w->wide.sums.clear();
    w->wide.group = 0, w->wide.fenced = false, w->wide.past = 0, w->wide.last = nullptr;
    for (int lane = 0; lane < LANES; lane++) w->copies[lane].clear(), w->group[lane] = w->pc[lane] = 0;
    set_block(k, w);
  }
}

/* How far shared memory goes when the launch gives so much to its own array. */
static uint32_t end_of_shared(const struct kernel *k, uint32_t of_launch) {
  uint32_t end = 0;
  for (const struct shared_array &a : k->shared) end = std::max(end, a.start + (a.bytes ? a.bytes : of_launch));
  return end;
}

/* Numbers of blocks in shuffled order. */
static std::vector<uint32_t> some_order(size_t blocks) {
  std::vector<uint32_t> order(blocks);
  for (size_t i = 0; i < blocks; i++) {
    size_t j = philox_below(&turns, (uint32_t)i + 1);
    order[i] = order[j], order[j] = (uint32_t)i;
  }
  return order;
}

static unsigned char *aligned(std::vector<unsigned char> &room, size_t to) {
  return reinterpret_cast<unsigned char *>(((uintptr_t)room.data() + to - 1) / to * to);
}

static void run_kernel(struct dim3 grid, struct dim3 block, size_t of_launch, const void *context) {
  enum { ALIGNMENT = 128 };
  struct kernel *k;
  memcpy(&k, context, sizeof k);
  memcpy(k->arguments.data(), static_cast<const char *>(context) + sizeof k, k->arguments.size());
  for (const struct instruction &i : k->code) i.seen[0] = i.seen[1] = {nullptr, nullptr, nullptr};
  int threads = (int)(block.x * block.y * block.z), count = (threads + LANES - 1) / LANES;
  size_t registers = (k->registers.size() + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, shared = end_of_shared(k, (uint32_t)of_launch);
  std::vector<unsigned char> registers_room(registers * (size_t)count + ALIGNMENT), shared_room(shared + ALIGNMENT);
  struct touched touched = {std::vector<uint32_t>(shared), std::vector<uint32_t>(shared)};
  static struct unshown unshown;
  struct unshown *of_kernel = k->products.empty() ? nullptr : &unshown;
  struct block b = {k, aligned(shared_room, ALIGNMENT), (uint32_t)shared, false, {0, 0, 0}, 0, 0, 0, &touched, threads, of_kernel};
  b.launch = ptx_next_turn(&touched);
  if (ptx_counts) k->counts = ptx_counts_of(k->whole.c_str()), k->counts->launches++, k->counts->blocks += (long)grid.x * grid.y * grid.z;
  grid_of = grid, block_of = block;
  for (int n = 0; n < count; n++) {
    struct warp *w = &warps[n];
    w->registers = aligned(registers_room, ALIGNMENT) + (size_t)n * registers;
    memcpy(w->registers, k->registers.data(), k->registers.size());
    w->block = &b, w->number = n;
    set_launch(k, w);
  }
  for (uint32_t at : some_order((size_t)grid.x * grid.y * grid.z)) {
    b.index[0] = at % grid.x, b.index[1] = at / grid.x % grid.y, b.index[2] = at / grid.x / grid.y;
    begin_block(k, &b, count, threads);
    run_block(&b, count);
    if (b.failed) break;
  }
}

/* What a stream has kept: of ours the kernel, and behind it the bytes of its arguments. The libraries' stand-ins launch a function of
 * theirs, of one thread. */
void shim_run_launch(const char *name, struct dim3 grid, struct dim3 block, size_t shared_bytes, void (*body)(const void *),
                     const void *context) {
  shim_open_memory();
  if (body)
    body(context);
  else
    run_kernel(grid, block, shared_bytes, context);
  shim_check_guards(name);
  shim_close_memory();
}
