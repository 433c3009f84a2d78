/* See memory.h. */
#include "cuda/ptx/memory.h"

#include <stdlib.h>

static unsigned char nowhere[64];

/* Who has touched what. A thread has another number after every barrier, and numbers only grow: so those since the launch began, since the
 * block began (blocks run one after the other) and since the barrier are ranges. A number at the start of a range is no thread's, and
 * stands for several. */
static const bool watches = !getenv("EDIY_PTX_RACES") || atoi(getenv("EDIY_PTX_RACES")) != 0;

static std::map<const unsigned char *, struct touched> &touched_memory(void) {
  static std::map<const unsigned char *, struct touched> all;
  return all;
}

static void forget(struct touched *t, size_t bytes) { t->writer.assign(bytes, 0), t->reader.assign(bytes, 0); }

uint32_t ptx_next_turn(struct touched *touched_shared) {
  enum { NUMBERS = MOST_WARPS * LANES + 1 };
  static uint32_t next = 1;
  if (next > UINT32_MAX - NUMBERS) {
    for (auto &t : touched_memory()) forget(&t.second, t.second.writer.size());
    forget(touched_shared, touched_shared->writer.size());
    next = 1;
  }
  next += NUMBERS;
  return next - NUMBERS;
}

/* Whether a thread that touched something, and me, are in no order: other blocks, or the same block since the same barrier. */
static bool is_unordered(const struct block *b, uint32_t other, uint32_t me, uint32_t floor) {
  return other >= floor && (other < b->begun || other >= b->turn) && other != me;
}

static void touch(const struct warp *w, const struct instruction *i, const struct range *r, const unsigned char *p, unsigned bytes,
                  int lane, enum touch how) {
  const struct block *b = w->block;
  if (!watches || !r->touched || b->failed) return;
  bool shared = r->touched == b->touched_shared;
  uint32_t floor = shared ? b->begun : b->launch, thread = (uint32_t)(w->number * LANES + lane), me = b->turn + 1 + thread;
  size_t at = (size_t)(p - (shared ? b->shared : r->from));
  uint32_t *writer = &r->touched->writer[at], *reader = &r->touched->reader[at];
  for (unsigned g = 0; g < bytes; g++, writer++, reader++) {
    bool written = is_unordered(b, *writer, me, floor);
    if (written || (how == WRITES && is_unordered(b, *reader, me, floor)))
      return ptx_fail(w, i, "thread %u %s what another one %s, in no order: %s memory, %#llx", thread, how == WRITES ? "writes" : "reads",
                      written ? "writes" : "reads", shared ? "shared" : "device", (unsigned long long)(uintptr_t)p);
    if (how == WRITES)
      *writer = me;
    else if (*reader < floor || (*reader >= b->begun && *reader < b->turn))
      *reader = me;
    else if (*reader != me)
      *reader = *reader < b->begun ? floor : b->turn; /* several, of other blocks or of this one */
  }
}

/* What wgmma may read only behind its thread's next fence.proxy.async. */
static void note_unshown(const struct warp *w, const struct range *r, const unsigned char *p, unsigned bytes, int lane) {
  const struct block *b = w->block;
  if (!b->unshown || r->touched != b->touched_shared) return;
  uint32_t at = (uint32_t)(p - b->shared);
  int thread = w->number * LANES + lane;
  for (unsigned g = 0; g < bytes; g++) b->unshown->writer[at + g] = (uint16_t)(thread + 1);
  b->unshown->pieces[thread].push_back(at * 32 + bytes);
}

void ptx_show_writes(struct warp *w, const struct instruction *, uint32_t lanes) {
  struct unshown *u = w->block->unshown;
  for (uint32_t left = u ? lanes : 0; left; left &= left - 1) {
    int thread = w->number * LANES + __builtin_ctz(left);
    for (uint32_t piece : u->pieces[thread])
      for (uint32_t at = piece / 32; at < piece / 32 + piece % 32; at++)
        if (u->writer[at] == thread + 1) u->writer[at] = 0;
    u->pieces[thread].clear();
  }
}

/* Finds what an address is in; the answer is what is wrong with it, null: nothing. */
static const char *find(const struct warp *w, struct range *r, enum state_space space, const unsigned char *p, unsigned bytes) {
  const struct block *b = w->block;
  const std::vector<unsigned char> &arguments = b->kernel->arguments;
  if (space == GENERIC) space = p >= b->shared && p < b->shared + b->shared_bytes ? IN_SHARED : GLOBAL;
  switch (space) {
  case IN_SHARED:
    for (const struct shared_array &a : b->kernel->shared) {
      r->touched = b->touched_shared;
      r->from = b->shared + a.start, r->to = a.bytes ? r->from + a.bytes : b->shared + b->shared_bytes;
      if (p >= r->from && p + bytes <= r->to) return nullptr;
    }
    r->from = r->to = nullptr;
    return "in no shared array";
  case ARGUMENTS:
    r->touched = nullptr;
    r->from = arguments.data(), r->to = r->from + arguments.size();
    return p >= r->from && p + bytes <= r->to ? nullptr : "in no argument";
  default:
    if (!shim_allocation(p, bytes, &r->from, &r->to)) return "in no allocation";
    r->touched = &touched_memory()[r->from];
    if (r->touched->writer.size() != (size_t)(r->to - r->from)) forget(r->touched, (size_t)(r->to - r->from));
    return nullptr;
  }
}

static inline unsigned char *place(const struct warp *w, const struct instruction *i, enum state_space space, uint64_t address,
                                   unsigned bytes, int lane, enum touch how, int n) {
  unsigned char *p = space == IN_SHARED ? w->block->shared + address : reinterpret_cast<unsigned char *>((uintptr_t)address);
  struct range *r = &i->seen[n]; /* of its n-th address */
  bool aligned = (address & (bytes - 1)) == 0;
  const char *wrong = !aligned ? "not aligned" : p >= r->from && p + bytes <= r->to ? nullptr : find(w, r, space, p, bytes);
  if (!wrong) {
    touch(w, i, r, p, bytes, lane, how);
    if (how == WRITES) note_unshown(w, r, p, bytes, lane);
    return p;
  }
  ptx_fail(w, i, "%u bytes at an address that is %s: %#llx", bytes, wrong, (unsigned long long)address);
  return nowhere;
}

unsigned char *ptx_place(const struct warp *w, const struct instruction *i, enum state_space space, uint64_t address, unsigned bytes,
                         int lane, enum touch how) {
  return place(w, i, space, address, bytes, lane, how, 0);
}

void ptx_count(const struct warp *w, const struct instruction *i, enum state_space space, int at, bool far, unsigned bytes,
               uint32_t lanes) {
  uint64_t address[LANES];
  int n = 0;
  if (!w->block->kernel->counts || space == ARGUMENTS) return;
  for (uint32_t left = lanes; left; left &= left - 1) address[n++] = address_in(w, i, at, far, __builtin_ctz(left)) + (uint64_t)i->offset;
  ptx_count_access(w->block->kernel->counts, space == IN_SHARED, address, n, bytes);
}

/* ---- instructions -------------------------------------------------------------------------------------------------------------------- */

static uint64_t widened(const unsigned char *from, int bytes, bool is_signed) {
  uint64_t x = 0;
  memcpy(&x, from, (size_t)bytes);
  return is_signed && bytes < 8 && x >> (8 * bytes - 1) ? x | ~(uint64_t)0 << (8 * bytes) : x;
}

template <int BYTES> static inline void load_words(struct warp *w, const struct instruction *i, int lane, const unsigned char *from) {
  for (int e = 0; e < i->elements; e++) memcpy(&words(w, i, e)[lane], from + e * BYTES, BYTES);
}

void ptx_load(struct warp *w, const struct instruction *i, uint32_t lanes) {
  ptx_count(w, i, i->space, i->elements, i->far, (unsigned)(i->elements * i->bytes), lanes);
  for (uint32_t left = lanes; left; left &= left - 1) {
    int lane = __builtin_ctz(left);
    uint64_t address = address_in(w, i, i->elements, i->far, lane) + (uint64_t)i->offset;
    if (!i->far) address = (uint32_t)address;
    const unsigned char *from = place(w, i, i->space, address, (unsigned)(i->elements * i->bytes), lane, READS, 0);
    if (i->bytes == 4 && !i->wide)
      load_words<4>(w, i, lane, from);
    else
      for (int e = 0; e < i->elements; e++) {
        uint64_t x = widened(from + e * i->bytes, i->bytes, i->is_signed);
        if (i->wide)
          longs(w, i, e)[lane] = x;
        else
          words(w, i, e)[lane] = (uint32_t)x;
      }
  }
}

void ptx_store(struct warp *w, const struct instruction *i, uint32_t lanes) {
  ptx_count(w, i, i->space, i->elements, i->far, (unsigned)(i->elements * i->bytes), lanes);
  for (uint32_t left = lanes; left; left &= left - 1) {
    int lane = __builtin_ctz(left);
    uint64_t address = address_in(w, i, i->elements, i->far, lane) + (uint64_t)i->offset;
    if (!i->far) address = (uint32_t)address;
    unsigned char *to = place(w, i, i->space, address, (unsigned)(i->elements * i->bytes), lane, WRITES, 0);
    for (int e = 0; e < i->elements; e++)
      if (i->wide)
        memcpy(to + e * i->bytes, &longs(w, i, e)[lane], (size_t)i->bytes);
      else
        memcpy(to + e * i->bytes, &words(w, i, e)[lane], (size_t)i->bytes);
  }
}

/* cp.async of 16 bytes, of which operand 2 says how many are read; the rest are zeros. Its place is NaN until the copy is waited for. */
void ptx_copy_async(struct warp *w, const struct instruction *i, uint32_t lanes) {
  enum { PIECE = 16 };
  uint32_t from_device = 0;
  for (uint32_t left = lanes; left; left &= left - 1)
    from_device |= (uint32_t)(words(w, i, 2)[__builtin_ctz(left)] != 0) << __builtin_ctz(left);
  ptx_count(w, i, GLOBAL, 1, true, PIECE, from_device);
  ptx_count(w, i, IN_SHARED, 0, false, PIECE, lanes);
  for (uint32_t left = lanes; left; left &= left - 1) {
    int lane = __builtin_ctz(left);
    uint32_t present = words(w, i, 2)[lane];
    if (present != 0 && present != PIECE) ptx_fail(w, i, "cp.async reads %u of %d bytes: not known here", present, PIECE);
    unsigned char *to = place(w, i, IN_SHARED, words(w, i, 0)[lane], PIECE, lane, WRITES, 0);
    const unsigned char *from = present ? place(w, i, GLOBAL, longs(w, i, 1)[lane] + (uint64_t)i->offset, PIECE, lane, READS, 1) : nullptr;
    if (w->block->failed) return;
    memset(to, 0xff, PIECE);
    w->copies[lane].push_back({to, from, w->group[lane]});
  }
}

void ptx_commit_group(struct warp *w, const struct instruction *, uint32_t lanes) {
  for (uint32_t left = lanes; left; left &= left - 1) w->group[__builtin_ctz(left)]++;
}

void ptx_wait_group(struct warp *w, const struct instruction *i, uint32_t lanes) {
  for (uint32_t left = lanes; left; left &= left - 1) {
    int lane = __builtin_ctz(left);
    std::vector<struct copy> &all = w->copies[lane];
    size_t kept = 0;
    for (const struct copy &c : all)
      if (c.group >= w->group[lane] - (int)i->offset)
        all[kept++] = c;
      else {
        place(w, i, IN_SHARED, (uint64_t)(c.to - w->block->shared), 16, lane, WRITES, 0);
        if (c.from)
          memcpy(c.to, c.from, 16);
        else
          memset(c.to, 0, 16);
      }
    all.resize(kept);
  }
}
