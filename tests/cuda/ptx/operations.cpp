/* What the instructions of PTX do that work on registers, by the PTX ISA, and the names of these. See ptx.h.
 *
 * Compiled with -ffp-contract=off, as all of the shim: the host's additions, products, quotients, square roots and conversions round once,
 * to nearest, as those of PTX with .rn do. Kernels are compiled without .ftz and without approximations, which therefore are not known
 * here. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include <limits>

#include "cuda/ptx/operands.h"

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

/* Arguments of __assertfail: what, file, line, function. */
void ptx_assertion(struct warp *w, const struct instruction *i, uint32_t lanes) {
  int lane = __builtin_ctz(lanes), thread = w->number * LANES + lane;
  const struct block *b = w->block;
  shim_fail_launch(cudaErrorAssert, "%s:%u: block: [%u,%u,%u], thread: [%d] Assertion `%s` failed.",
                   reinterpret_cast<const char *>((uintptr_t)longs(w, i, 1)[lane]), words(w, i, 2)[lane], b->index[0], b->index[1],
                   b->index[2], thread, reinterpret_cast<const char *>((uintptr_t)longs(w, i, 0)[lane]));
  w->block->failed = true;
}

/* ---- going over lanes ---------------------------------------------------------------------------------------------------------------- */

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

/* Shared memory is in the generic space where the host has it. */
static void shared_to_generic(struct warp *w, const struct instruction *i, uint32_t lanes) {
  each<uint64_t, uint64_t>(w, i, lanes, [w](uint64_t a) { return (uint64_t)(uintptr_t)w->block->shared + a; });
}
static void generic_to_shared(struct warp *w, const struct instruction *i, uint32_t lanes) {
  each<uint64_t, uint64_t>(w, i, lanes, [w](uint64_t a) { return a - (uint64_t)(uintptr_t)w->block->shared; });
}

/* ---- arithmetic that C leaves open --------------------------------------------------------------------------------------------------- */

/* Division by zero is left open by PTX: bits of ones. The one quotient that overflows wraps. */
template <class T> static T quotient(T a, T b) {
  return b == 0 ? (T)-1 : std::is_signed<T>::value && b == (T)-1 ? (T)(0 - (uint64_t)a) : (T)(a / b);
}
template <class T> static T remainder_of(T a, T b) { return b == 0 ? (T)-1 : std::is_signed<T>::value && b == (T)-1 ? 0 : (T)(a % b); }

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
      TWO("sub.u" bits, U, U, U, a - b), TWO("mul.lo.s" bits, U, U, U, (U)((uint64_t)a * b)),                                              \
      TWO("mul.lo.u" bits, U, U, U, (U)((uint64_t)a * b)), THREE("mad.lo.s" bits, U, U, U, U, (U)((uint64_t)a * b + c)),                   \
      THREE("mad.lo.u" bits, U, U, U, U, (U)((uint64_t)a * b + c)), TWO("div.s" bits, S, S, S, quotient(a, b)),                            \
      TWO("div.u" bits, U, U, U, quotient(a, b)), TWO("rem.s" bits, S, S, S, remainder_of(a, b)),                                          \
      TWO("rem.u" bits, U, U, U, remainder_of(a, b)), TWO("min.s" bits, S, S, S, a < b ? a : b),                                           \
      TWO("min.u" bits, U, U, U, a < b ? a : b), TWO("max.s" bits, S, S, S, a > b ? a : b), TWO("max.u" bits, U, U, U, a > b ? a : b),     \
      ONE("neg.s" bits, U, U, 0 - a), TWO("and.b" bits, U, U, U, a &b), TWO("or.b" bits, U, U, U, a | b),                                  \
      TWO("xor.b" bits, U, U, U, a ^ b), ONE("not.b" bits, U, U, ~a), TWO("shl.b" bits, U, U, uint32_t, shift_left(a, b)),                 \
      TWO("shr.u" bits, U, U, uint32_t, shift_right(a, b)), TWO("shr.s" bits, S, S, uint32_t, shift_right(a, b)), ORDERED("s" bits, S),    \
      ORDERED("u" bits, U), COMPARE("eq", "b" bits, U, a == b), COMPARE("ne", "b" bits, U, a != b), MOVE("u" bits, U), MOVE("s" bits, U),  \
      MOVE("b" bits, U), SELECT("u" bits, U), SELECT("s" bits, U), SELECT("b" bits, U)
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
