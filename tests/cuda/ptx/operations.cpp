/* What the instructions of PTX do, by the PTX ISA. See ptx.h.
 *
 * Compiled with -ffp-contract=off, as all of the shim: the host's additions, products, quotients, square roots and conversions round once,
 * to nearest, as those of PTX with .rn do. Kernels are compiled without .ftz and without approximations, which therefore are not known
 * here. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <limits>
#include <type_traits>

#include "cuda/ptx/ptx.h"
#include "cuda/ptx/tensor_core.h"

void ptx_fail(const struct warp *w, const struct instruction *i, const char *format, ...) {
  char what[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  const struct block *b = w->block;
  if (!b->failed)
    shim_note("kernel %s: PTX line %d, block (%u, %u, %u), warp %d: %s", b->kernel->plain.c_str(), i->line, b->index[0], b->index[1],
              b->index[2], w->number, what);
  w->block->failed = true;
}

/* ---- registers ----------------------------------------------------------------------------------------------------------------------- */

static uint32_t *words(const struct warp *w, const struct instruction *i, int operand) {
  return reinterpret_cast<uint32_t *>(w->registers + i->operand[operand]);
}
static uint64_t *longs(const struct warp *w, const struct instruction *i, int operand) {
  return reinterpret_cast<uint64_t *>(w->registers + i->operand[operand]);
}

/* The place of a T, and a T there: in its lower bytes, the rest zero. */
template <class T> using place_of = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
template <class T> static inline T from_place(place_of<T> p) {
  T x;
  memcpy(&x, &p, sizeof x);
  return x;
}
template <class T> static inline place_of<T> to_place(T x) {
  place_of<T> p = 0;
  memcpy(&p, &x, sizeof x);
  return p;
}
template <class T> static place_of<T> *places(const struct warp *w, const struct instruction *i, int operand) {
  return reinterpret_cast<place_of<T> *>(w->registers + i->operand[operand]);
}

/* f(lane) for the lanes of a set; all of them in a loop that a compiler makes vectors of. */
template <class F> static inline void for_lanes(uint32_t lanes, F f) {
  if (lanes == ALL_LANES) {
#pragma GCC ivdep
    for (int l = 0; l < LANES; l++) f(l);
  } else
    for (uint32_t left = lanes; left; left &= left - 1) f(__builtin_ctz(left));
}

template <class R, class A, class F> static inline void each(struct warp *w, const struct instruction *i, uint32_t lanes, F f) {
  place_of<R> *r = places<R>(w, i, 0);
  const place_of<A> *a = places<A>(w, i, 1);
  for_lanes(lanes, [=](int l) { r[l] = to_place<R>(f(from_place<A>(a[l]))); });
}
template <class R, class A, class B, class F> static inline void each(struct warp *w, const struct instruction *i, uint32_t lanes, F f) {
  place_of<R> *r = places<R>(w, i, 0);
  const place_of<A> *a = places<A>(w, i, 1);
  const place_of<B> *b = places<B>(w, i, 2);
  for_lanes(lanes, [=](int l) { r[l] = to_place<R>(f(from_place<A>(a[l]), from_place<B>(b[l]))); });
}
template <class R, class A, class B, class C, class F>
static inline void each(struct warp *w, const struct instruction *i, uint32_t lanes, F f) {
  place_of<R> *r = places<R>(w, i, 0);
  const place_of<A> *a = places<A>(w, i, 1);
  const place_of<B> *b = places<B>(w, i, 2);
  const place_of<C> *c = places<C>(w, i, 3);
  for_lanes(lanes, [=](int l) { r[l] = to_place<R>(f(from_place<A>(a[l]), from_place<B>(b[l]), from_place<C>(c[l]))); });
}

/* A predicate from a comparison. */
template <class T, class F> static inline void compare(struct warp *w, const struct instruction *i, uint32_t lanes, F f) {
  const place_of<T> *a = places<T>(w, i, 1), *b = places<T>(w, i, 2);
  uint32_t holds = 0;
  for (int l = 0; l < LANES; l++) holds |= (uint32_t)f(from_place<T>(a[l]), from_place<T>(b[l])) << l;
  uint32_t *p = words(w, i, 0);
  *p = (*p & ~lanes) | (holds & lanes);
}

template <class T> static void select(struct warp *w, const struct instruction *i, uint32_t lanes) {
  place_of<T> *r = places<T>(w, i, 0);
  const place_of<T> *a = places<T>(w, i, 1), *b = places<T>(w, i, 2);
  uint32_t p = *words(w, i, 3);
  for_lanes(lanes, [=](int l) { r[l] = p >> l & 1 ? a[l] : b[l]; });
}

template <class F> static inline void logic(struct warp *w, const struct instruction *i, uint32_t lanes, F f) {
  uint32_t *p = words(w, i, 0), value = f(*words(w, i, 1), *words(w, i, i->operands - 1));
  *p = (*p & ~lanes) | (value & lanes);
}

/* ---- arithmetic that C leaves open --------------------------------------------------------------------------------------------------- */

/* Division by zero is left open by PTX: bits of ones. The one quotient that overflows wraps. */
template <class T> static T quotient(T a, T b) {
  return b == 0 ? (T)-1 : (T)(b + 1) == 0 && std::is_signed<T>::value ? (T)(0 - (uint64_t)a) : (T)(a / b);
}
template <class T> static T remainder_of(T a, T b) { return b == 0 ? (T)-1 : (T)(b + 1) == 0 && std::is_signed<T>::value ? 0 : (T)(a % b); }

/* Distances beyond the width are the width. */
template <class T> static T shift_left(T a, uint32_t by) { return by >= sizeof(T) * 8 ? 0 : (T)(a << by); }
template <class T> static T shift_right(T a, uint32_t by) {
  uint32_t most = sizeof(T) * 8 - 1;
  return by <= most ? (T)(a >> by) : std::is_signed<T>::value ? (T)(a >> most) : 0;
}

/* The number where the other is none; +0 is more than -0. */
template <class T> static T larger(T a, T b) { return a != a ? b : b != b ? a : a == b ? (signbit(a) ? b : a) : a > b ? a : b; }
template <class T> static T smaller(T a, T b) { return a != a ? b : b != b ? a : a == b ? (signbit(a) ? a : b) : a < b ? a : b; }

__extension__ typedef unsigned __int128 product;

/* Toward zero; beyond the range its end, and 0 for what is no number. */
static int32_t to_int(double x) { return x != x ? 0 : x >= 0x1p31 ? INT32_MAX : x <= -0x1p31 ? INT32_MIN : (int32_t)x; }

/* To nearest, ties to even; what is no number is 0x7fff. */
static uint16_t to_bf16(float x) {
  uint32_t bits = to_place(x);
  return x != x ? 0x7fff : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* To 11 bits, to nearest, ties away from zero. */
static uint32_t to_tf32(float x) {
  uint32_t bits = to_place(x);
  return x != x ? 0x7fffffff : fabsf(x) > std::numeric_limits<float>::max() ? bits : (bits + 0x1000) & ~0x1fffu;
}

/* The lowest bits of a into b, from bit c on, so many as d says. */
static void insert_bits(struct warp *w, const struct instruction *i, uint32_t lanes) {
  const uint32_t *a = words(w, i, 1), *b = words(w, i, 2), *at = words(w, i, 3), *length = words(w, i, 4);
  uint32_t *r = words(w, i, 0);
  for_lanes(lanes, [=](int l) {
    uint32_t from = at[l] & 255, count = length[l] & 255;
    uint32_t mask = from >= 32 ? 0 : (count >= 32 ? UINT32_MAX : (1u << count) - 1) << from;
    r[l] = (b[l] & ~mask) | (from >= 32 ? 0 : a[l] << from & mask);
  });
}

/* ---- shuffles ------------------------------------------------------------------------------------------------------------------------ */

/* Operands: the value, whether it came from another lane that is in range, a, the lane or distance, clamp with the mask of parts, the
 * mask. A lane that is not there gives NaN. */
template <bool DOWN> static void shuffle(struct warp *w, const struct instruction *i, uint32_t lanes) {
  uint32_t *r = words(w, i, 0), *p = words(w, i, 1), given[LANES], in_range = 0;
  const uint32_t *by = words(w, i, 3), *clamp = words(w, i, 4);
  memcpy(given, words(w, i, 2), sizeof given);
  for (uint32_t left = lanes; left; left &= left - 1) {
    uint32_t lane = (uint32_t)__builtin_ctz(left), parts = clamp[lane] >> 8 & 31;
    uint32_t most = (lane & parts) | (clamp[lane] & 31 & ~parts);
    uint32_t from = DOWN ? lane + (by[lane] & 31) : (lane & parts) | (by[lane] & 31 & ~parts);
    bool is = from <= most;
    if (!is) from = lane;
    in_range |= (uint32_t)is << lane;
    r[lane] = lanes >> from & 1 ? given[from] : ALL_LANES;
  }
  *p = (*p & ~lanes) | in_range;
}

/* ---- memory -------------------------------------------------------------------------------------------------------------------------- */

static unsigned char nowhere[64];

/* Who has touched what. A thread has another number after every barrier, and numbers only grow: so those since the launch began, since the
 * block began (blocks run one after the other) and since the barrier are ranges. A number at the start of a range is no thread's, and
 * stands for several. */
static const bool watches = !getenv("EDIY_PTX_RACES") || atoi(getenv("EDIY_PTX_RACES")) != 0;
enum { GRAIN = 2 /* bytes */ };
enum touch { READS, WRITES };

static std::map<const unsigned char *, struct touched> &touched_memory(void) {
  static std::map<const unsigned char *, struct touched> all;
  return all;
}

static void forget(struct touched *t, size_t bytes) { t->writer.assign(bytes / GRAIN + 1, 0), t->reader.assign(bytes / GRAIN + 1, 0); }

uint32_t ptx_next_turn(struct touched *touched_shared) {
  enum { NUMBERS = MOST_WARPS * LANES + 1 };
  static uint32_t next = 1;
  if (next > UINT32_MAX - NUMBERS) {
    for (auto &t : touched_memory()) forget(&t.second, t.second.writer.size() * GRAIN);
    forget(touched_shared, touched_shared->writer.size() * GRAIN);
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
  size_t at = (size_t)(p - (shared ? b->shared : r->from)) / GRAIN;
  uint32_t *writer = &r->touched->writer[at], *reader = &r->touched->reader[at];
  for (unsigned g = 0; g < bytes; g += GRAIN, writer++, reader++) {
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
    if (r->touched->writer.size() != (size_t)(r->to - r->from) / GRAIN + 1) forget(r->touched, (size_t)(r->to - r->from));
    return nullptr;
  }
}

/* The host's address of what a lane reads or writes. Where it must not, fails and gives other memory. */
static inline unsigned char *place(const struct warp *w, const struct instruction *i, enum state_space space, uint64_t address,
                                   unsigned bytes, int lane, enum touch how, int n = 0) {
  unsigned char *p = space == IN_SHARED ? w->block->shared + address : reinterpret_cast<unsigned char *>((uintptr_t)address);
  struct range *r = &i->seen[n];
  bool aligned = (address & (bytes - 1)) == 0;
  const char *wrong = !aligned ? "not aligned" : p >= r->from && p + bytes <= r->to ? nullptr : find(w, r, space, p, bytes);
  if (!wrong) {
    touch(w, i, r, p, bytes, lane, how);
    return p;
  }
  ptx_fail(w, i, "%u bytes at an address that is %s: %#llx", bytes, wrong, (unsigned long long)address);
  return nowhere;
}

static uint64_t address_in(const struct warp *w, const struct instruction *i, int operand, bool far, int lane) {
  return far ? longs(w, i, operand)[lane] : words(w, i, operand)[lane];
}

/* Counts an access whose address is operand `at` (+ offset). */
static void count(const struct warp *w, const struct instruction *i, enum state_space space, int at, bool far, unsigned bytes,
                  uint32_t lanes) {
  uint64_t address[LANES];
  int n = 0;
  if (!w->block->kernel->counts || space == ARGUMENTS) return;
  for (uint32_t left = lanes; left; left &= left - 1) address[n++] = address_in(w, i, at, far, __builtin_ctz(left)) + (uint64_t)i->offset;
  ptx_count_access(w->block->kernel->counts, space == IN_SHARED, address, n, bytes);
}

static uint64_t widened(const unsigned char *from, int bytes, bool is_signed) {
  uint64_t x = 0;
  memcpy(&x, from, (size_t)bytes);
  return is_signed && bytes < 8 && x >> (8 * bytes - 1) ? x | ~(uint64_t)0 << (8 * bytes) : x;
}

template <int BYTES> static inline void load_words(struct warp *w, const struct instruction *i, int lane, const unsigned char *from) {
  for (int e = 0; e < i->elements; e++) memcpy(&words(w, i, e)[lane], from + e * BYTES, BYTES);
}

void ptx_load(struct warp *w, const struct instruction *i, uint32_t lanes) {
  count(w, i, i->space, i->elements, i->far, (unsigned)(i->elements * i->bytes), lanes);
  for (uint32_t left = lanes; left; left &= left - 1) {
    int lane = __builtin_ctz(left);
    uint64_t address = address_in(w, i, i->elements, i->far, lane) + (uint64_t)i->offset;
    if (!i->far) address = (uint32_t)address;
    const unsigned char *from = place(w, i, i->space, address, (unsigned)(i->elements * i->bytes), lane, READS);
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
  count(w, i, i->space, i->elements, i->far, (unsigned)(i->elements * i->bytes), lanes);
  for (uint32_t left = lanes; left; left &= left - 1) {
    int lane = __builtin_ctz(left);
    uint64_t address = address_in(w, i, i->elements, i->far, lane) + (uint64_t)i->offset;
    if (!i->far) address = (uint32_t)address;
    unsigned char *to = place(w, i, i->space, address, (unsigned)(i->elements * i->bytes), lane, WRITES);
    for (int e = 0; e < i->elements; e++)
      if (i->wide)
        memcpy(to + e * i->bytes, &longs(w, i, e)[lane], (size_t)i->bytes);
      else
        memcpy(to + e * i->bytes, &words(w, i, e)[lane], (size_t)i->bytes);
  }
}

/* Shared memory is in the generic space where the host has it. */
static void shared_to_generic(struct warp *w, const struct instruction *i, uint32_t lanes) {
  each<uint64_t, uint64_t>(w, i, lanes, [w](uint64_t a) { return (uint64_t)(uintptr_t)w->block->shared + a; });
}
static void generic_to_shared(struct warp *w, const struct instruction *i, uint32_t lanes) {
  each<uint64_t, uint64_t>(w, i, lanes, [w](uint64_t a) { return a - (uint64_t)(uintptr_t)w->block->shared; });
}

/* Two halves of a register, the lower first. */
void ptx_pack(struct warp *w, const struct instruction *i, uint32_t lanes) {
  const uint32_t *low = words(w, i, 1), *high = words(w, i, 2);
  if (i->wide)
    for_lanes(lanes, [=](int l) { longs(w, i, 0)[l] = (uint64_t)high[l] << 32 | low[l]; });
  else
    for_lanes(lanes, [=](int l) { words(w, i, 0)[l] = high[l] << 16 | (low[l] & 0xffff); });
}

void ptx_unpack(struct warp *w, const struct instruction *i, uint32_t lanes) {
  uint32_t *low = words(w, i, 1), *high = words(w, i, 2);
  for (uint32_t left = lanes; left; left &= left - 1) {
    int l = __builtin_ctz(left);
    uint64_t x = i->wide ? longs(w, i, 0)[l] : words(w, i, 0)[l];
    low[l] = (uint32_t)(i->wide ? x : x & 0xffff), high[l] = (uint32_t)(x >> (i->wide ? 32 : 16));
  }
}

/* cp.async of 16 bytes, of which operand 2 says how many are read; the rest are zeros. Its place is NaN until the copy is waited for. */
void ptx_copy_async(struct warp *w, const struct instruction *i, uint32_t lanes) {
  enum { PIECE = 16 };
  uint32_t from_device = 0;
  for (uint32_t left = lanes; left; left &= left - 1)
    from_device |= (uint32_t)(words(w, i, 2)[__builtin_ctz(left)] != 0) << __builtin_ctz(left);
  count(w, i, GLOBAL, 1, true, PIECE, from_device);
  count(w, i, IN_SHARED, 0, false, PIECE, lanes);
  for (uint32_t left = lanes; left; left &= left - 1) {
    int lane = __builtin_ctz(left);
    uint32_t present = words(w, i, 2)[lane];
    if (present != 0 && present != PIECE) ptx_fail(w, i, "cp.async reads %u of %d bytes: not known here", present, PIECE);
    unsigned char *to = place(w, i, IN_SHARED, words(w, i, 0)[lane], PIECE, lane, WRITES);
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
        place(w, i, IN_SHARED, (uint64_t)(c.to - w->block->shared), 16, lane, WRITES);
        if (c.from)
          memcpy(c.to, c.from, 16);
        else
          memset(c.to, 0, 16);
      }
    all.resize(kept);
  }
}

/* Arguments of __assertfail: what, file, line, function. */
void ptx_assertion(struct warp *w, const struct instruction *i, uint32_t lanes) {
  int lane = __builtin_ctz(lanes), thread = w->number * LANES + lane;
  const struct block *b = w->block;
  shim_fail_launch(cudaErrorAssert, "%s:%u: block: [%u,%u,%u], thread: [%d] Assertion `%s` failed.",
                   reinterpret_cast<const char *>((uintptr_t)longs(w, i, 1)[lane]), words(w, i, 2)[lane], b->index[0], b->index[1],
                   b->index[2], thread, reinterpret_cast<const char *>((uintptr_t)longs(w, i, 0)[lane]));
  w->block->failed = true;
}

/* ---- matrices -------------------------------------------------------------------------------------------------------------------------
 *
 * PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type" and "... for mma.m16n8k8": which lane and register has an element.
 * The shim's reading of the same pictures goes from registers to elements (shim_tensor.cpp), this one from elements to registers. */

/* EDIY_PTX_CORE: whose tensor cores (tensor_core.h). */
static const struct tensor_core *core(void) {
  const char *name = getenv("EDIY_PTX_CORE");
  static const struct tensor_core *of_this_run = tensor_core_named(name ? name : "h100");
  if (of_this_run) return of_this_run;
  fprintf(stderr, "EDIY_PTX_CORE=%s: not known: a100, h100, h200, b200\n", name);
  exit(2);
}

enum { ROWS = 16, COLUMNS = TENSOR_COLUMNS };
template <int DEPTH, class A, class B>
static void multiply(struct warp *w, const struct instruction *i, int group, A a_element, B b_element) {
  if (w->block->kernel->counts) w->block->kernel->counts->mma++;
  float a[ROWS][DEPTH], b[DEPTH][COLUMNS];
  for (int k = 0; k < DEPTH; k++) {
    for (int row = 0; row < ROWS; row++) a[row][k] = a_element(row, k);
    for (int column = 0; column < COLUMNS; column++) b[k][column] = b_element(k, column);
  }
  for (int row = 0; row < ROWS; row++) {
    float c[COLUMNS];
    auto place_of_c = [=](int operand, int column) { return &words(w, i, operand + row / 8 * 2 + column % 2)[row % 8 * 4 + column / 2]; };
    for (int j = 0; j < COLUMNS; j++) c[j] = from_place<float>(*place_of_c(10, j));
    tensor_core_add(core(), group, DEPTH, a[row], b, c);
    for (int j = 0; j < COLUMNS; j++) *place_of_c(0, j) = to_place(c[j]);
  }
}

/* Element (row, k) of a is in lane row % 8 * 4 + k % 8 / 2, register row / 8 + k / 8 * 2, half k % 2; (k, column) of b in lane
 * column * 4 + k % 8 / 2, register k / 8, half k % 2. */
void ptx_mma_bf16(struct warp *w, const struct instruction *i, uint32_t) {
  auto half = [=](int operand, int lane, int k) { return from_place<float>(words(w, i, operand)[lane] >> 16 * (k % 2) << 16); };
  multiply<16>(
      w, i, core()->bf16_group, [=](int row, int k) { return half(4 + row / 8 + k / 8 * 2, row % 8 * 4 + k % 8 / 2, k); },
      [=](int k, int column) { return half(8 + k / 8, column * 4 + k % 8 / 2, k); });
}

/* Element (row, k) of a is in lane row % 8 * 4 + k % 4, register row / 8 + k / 4 * 2; (k, column) of b in lane column * 4 + k % 4, register
 * k / 4. */
void ptx_mma_tf32(struct warp *w, const struct instruction *i, uint32_t) {
  bool rounded = true;
  auto element = [w, i, &rounded](int operand, int lane) {
    float x = from_place<float>(words(w, i, operand)[lane]);
    rounded &= x != x || !(words(w, i, operand)[lane] & 0x1fff);
    return x;
  };
  multiply<8>(
      w, i, core()->tf32_group, [=](int row, int k) { return element(4 + row / 8 + k / 4 * 2, row % 8 * 4 + k % 4); },
      [=](int k, int column) { return element(8 + k / 4, column * 4 + k % 4); });
  if (!rounded) ptx_fail(w, i, "an operand of mma was not rounded to tf32");
}

/* Row r of matrix m starts where lane 8 m + r says. Register m gets in lane l the elements 2 (l % 4) and the next of row l / 4;
 * transposed, of column l / 4. */
static void load_matrices(struct warp *w, const struct instruction *i, bool transposed) {
  uint16_t element[4][8][8];
  count(w, i, IN_SHARED, 4, i->far, 16, ALL_LANES);
  for (int lane = 0; lane < LANES; lane++)
    memcpy(element[lane / 8][lane % 8],
           place(w, i, IN_SHARED, (uint32_t)(address_in(w, i, 4, i->far, lane) + (uint64_t)i->offset), 16, lane, READS), 16);
  for (int m = 0; m < 4; m++)
    for (int lane = 0; lane < LANES; lane++) {
      int row = lane / 4, at = lane % 4 * 2;
      words(w, i, m)[lane] = transposed ? (uint32_t)element[m][at + 1][row] << 16 | element[m][at][row]
                                        : (uint32_t)element[m][row][at + 1] << 16 | element[m][row][at];
    }
}
void ptx_ldmatrix(struct warp *w, const struct instruction *i, uint32_t) { load_matrices(w, i, false); }
void ptx_ldmatrix_trans(struct warp *w, const struct instruction *i, uint32_t) { load_matrices(w, i, true); }

/* ---- the names ----------------------------------------------------------------------------------------------------------------------- */

template <class T> constexpr char kind_of() { return sizeof(T) == 8 ? 'l' : 'w'; }
template <class... T> struct kinds {
  static constexpr char text[] = {kind_of<T>()..., 0};
};

#define IN_LANES(body) [](struct warp *w, const struct instruction *i, uint32_t lanes) { body; }
#define ONE(name, R, A, expression)                                                                                                        \
  {                                                                                                                                        \
    name, IN_LANES((each<R, A>(w, i, lanes, [](A a) -> R { return expression; }))), kinds<R, A>::text                                      \
  }
#define TWO(name, R, A, B, expression)                                                                                                     \
  {                                                                                                                                        \
    name, IN_LANES((each<R, A, B>(w, i, lanes, [](A a, B b) -> R { return expression; }))), kinds<R, A, B>::text                           \
  }
#define THREE(name, R, A, B, C, expression)                                                                                                \
  {                                                                                                                                        \
    name, IN_LANES((each<R, A, B, C>(w, i, lanes, [](A a, B b, C c) -> R { return expression; }))), kinds<R, A, B, C>::text                \
  }
#define COMPARE(relation, type, T, expression)                                                                                             \
  {                                                                                                                                        \
    "setp." relation "." type, IN_LANES((compare<T>(w, i, lanes, [](T a, T b) { return expression; }))), sizeof(T) == 8 ? "pll" : "pww"    \
  }
#define ORDERED(type, T)                                                                                                                   \
  COMPARE("eq", type, T, a == b), COMPARE("ne", type, T, a<b || a> b), COMPARE("lt", type, T, a < b), COMPARE("le", type, T, a <= b),      \
      COMPARE("gt", type, T, a > b), COMPARE("ge", type, T, a >= b)
#define UNORDERED(type, T)                                                                                                                 \
  COMPARE("equ", type, T, !(a < b || a > b)), COMPARE("neu", type, T, a != b), COMPARE("ltu", type, T, !(a >= b)),                         \
      COMPARE("leu", type, T, !(a > b)), COMPARE("gtu", type, T, !(a <= b)), COMPARE("geu", type, T, !(a < b)),                            \
      COMPARE("num", type, T, a == a && b == b), COMPARE("nan", type, T, a != a || b != b)
#define MOVE(type, T) ONE("mov." type, T, T, a)
#define SELECT(type, T)                                                                                                                    \
  { "selp." type, select<T>, sizeof(T) == 8 ? "lllp" : "wwwp" }
#define FLOATING(type, T)                                                                                                                  \
  TWO("add.rn." type, T, T, T, a + b), TWO("sub.rn." type, T, T, T, a - b), TWO("mul.rn." type, T, T, T, a *b),                            \
      TWO("div.rn." type, T, T, T, a / b), ONE("sqrt.rn." type, T, T, std::sqrt(a)), ONE("rcp.rn." type, T, T, 1 / a),                     \
      THREE("fma.rn." type, T, T, T, T, std::fma(a, b, c)), TWO("min." type, T, T, T, smaller(a, b)),                                      \
      TWO("max." type, T, T, T, larger(a, b)), ONE("abs." type, T, T, std::fabs(a)), ONE("neg." type, T, T, -a),                           \
      ONE("cvt.rmi." type "." type, T, T, std::floor(a)), ORDERED(type, T), UNORDERED(type, T), MOVE(type, T), SELECT(type, T)
/* S and U of one width. Sums and lower halves of products are the same for both, and wrap. */
#define WHOLE(bits, S, U)                                                                                                                  \
  TWO("add.s" bits, U, U, U, a + b), TWO("add.u" bits, U, U, U, a + b), TWO("sub.s" bits, U, U, U, a - b),                                 \
      TWO("sub.u" bits, U, U, U, a - b), TWO("mul.lo.s" bits, U, U, U, a *b), TWO("mul.lo.u" bits, U, U, U, a *b),                         \
      THREE("mad.lo.s" bits, U, U, U, U, a *b + c), THREE("mad.lo.u" bits, U, U, U, U, a *b + c),                                          \
      TWO("div.s" bits, S, S, S, quotient(a, b)), TWO("div.u" bits, U, U, U, quotient(a, b)),                                              \
      TWO("rem.s" bits, S, S, S, remainder_of(a, b)), TWO("rem.u" bits, U, U, U, remainder_of(a, b)),                                      \
      TWO("min.s" bits, S, S, S, a < b ? a : b), TWO("min.u" bits, U, U, U, a < b ? a : b), TWO("max.s" bits, S, S, S, a > b ? a : b),     \
      TWO("max.u" bits, U, U, U, a > b ? a : b), ONE("neg.s" bits, U, U, 0 - a), TWO("and.b" bits, U, U, U, a &b),                         \
      TWO("or.b" bits, U, U, U, a | b), TWO("xor.b" bits, U, U, U, a ^ b), ONE("not.b" bits, U, U, ~a),                                    \
      TWO("shl.b" bits, U, U, uint32_t, shift_left(a, b)), TWO("shr.u" bits, U, U, uint32_t, shift_right(a, b)),                           \
      TWO("shr.s" bits, S, S, uint32_t, shift_right(a, b)), ORDERED("s" bits, S), ORDERED("u" bits, U),                                    \
      COMPARE("eq", "b" bits, U, a == b), COMPARE("ne", "b" bits, U, a != b), MOVE("u" bits, U), MOVE("s" bits, U), MOVE("b" bits, U),     \
      SELECT("u" bits, U), SELECT("s" bits, U), SELECT("b" bits, U)
#define CONVERT(name, R, A) ONE("cvt." name, R, A, (R)a)
#define LOGIC(name, places, expression)                                                                                                    \
  {                                                                                                                                        \
    name,                                                                                                                                  \
        IN_LANES((logic(w, i, lanes,                                                                                                       \
                        [](uint32_t a, uint32_t b) {                                                                                       \
                          (void)b;                                                                                                         \
                          return expression;                                                                                               \
                        }))),                                                                                                              \
        places                                                                                                                             \
  }

static const struct form forms[] = {
    FLOATING("f32", float),
    FLOATING("f64", double),
    WHOLE("32", int32_t, uint32_t),
    WHOLE("64", int64_t, uint64_t),
    WHOLE("16", int16_t, uint16_t),
    TWO("mul.wide.s16", int32_t, int16_t, int16_t, (int32_t)a *b),
    TWO("mul.wide.u16", uint32_t, uint16_t, uint16_t, (uint32_t)a *b),
    TWO("mul.wide.s32", int64_t, int32_t, int32_t, (int64_t)a *b),
    TWO("mul.wide.u32", uint64_t, uint32_t, uint32_t, (uint64_t)a *b),
    TWO("mul.hi.s32", int32_t, int32_t, int32_t, (int32_t)((int64_t)a *b >> 32)),
    TWO("mul.hi.u32", uint32_t, uint32_t, uint32_t, (uint32_t)((uint64_t)a *b >> 32)),
    TWO("mul.hi.u64", uint64_t, uint64_t, uint64_t, (uint64_t)((product)a *b >> 64)),
    LOGIC("and.pred", "ppp", a &b),
    LOGIC("or.pred", "ppp", a | b),
    LOGIC("xor.pred", "ppp", a ^ b),
    LOGIC("not.pred", "pp", ~a),
    LOGIC("mov.pred", "pp", a),
    CONVERT("s64.s32", int64_t, int32_t),
    CONVERT("u64.u32", uint64_t, uint32_t),
    CONVERT("u32.u64", uint32_t, uint64_t),
    CONVERT("s64.u32", int64_t, uint32_t),
    CONVERT("u32.u16", uint32_t, uint16_t),
    CONVERT("s32.s16", int32_t, int16_t),
    CONVERT("u64.u16", uint64_t, uint16_t),
    CONVERT("u16.u32", uint16_t, uint32_t),
    CONVERT("f64.f32", double, float),
    CONVERT("rn.f32.f64", float, double),
    CONVERT("rn.f64.s64", double, int64_t),
    CONVERT("rn.f64.s32", double, int32_t),
    CONVERT("rn.f32.s32", float, int32_t),
    CONVERT("rn.f32.u16", float, uint16_t),
    CONVERT("rn.f32.u32", float, uint32_t),
    ONE("cvt.rzi.s32.f64", int32_t, double, to_int(a)),
    ONE("cvt.rzi.s32.f32", int32_t, float, to_int((double)a)),
    ONE("cvt.rn.bf16.f32", uint16_t, float, to_bf16(a)),
    ONE("cvt.rna.tf32.f32", uint32_t, float, to_tf32(a)),
    TWO("cvt.rn.bf16x2.f32", uint32_t, float, float, (uint32_t)to_bf16(a) << 16 | to_bf16(b)),
    ONE("cvta.to.global.u64", uint64_t, uint64_t, a), /* generic addresses are the host's, and those of global memory the same */
    ONE("cvta.global.u64", uint64_t, uint64_t, a),
    {"cvta.shared.u64", shared_to_generic, "ll"},
    {"cvta.to.shared.u64", generic_to_shared, "ll"},
    THREE("shf.l.wrap.b32", uint32_t, uint32_t, uint32_t, uint32_t, (uint32_t)(((uint64_t)b << 32 | a) << (c & 31) >> 32)),
    {"bfi.b32", insert_bits, "wwwww"},
    {"shfl.sync.idx.b32", shuffle<false>, "wpwwww"},
    {"shfl.sync.down.b32", shuffle<true>, "wpwwww"},
};

const struct form *ptx_form(const std::string &name) {
  for (const struct form &f : forms)
    if (name == f.name) return &f;
  return nullptr;
}
