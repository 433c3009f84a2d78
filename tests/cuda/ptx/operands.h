/* The registers of a warp as an instruction's operands, and the lanes it goes over. */
#ifndef EDIY_TESTS_CUDA_PTX_OPERANDS_H
#define EDIY_TESTS_CUDA_PTX_OPERANDS_H

#include <string.h>

#include <type_traits>

#include "cuda/ptx/ptx.h"

static inline uint32_t *words(const struct warp *w, const struct instruction *i, int operand) {
  return reinterpret_cast<uint32_t *>(w->registers + i->operand[operand]);
}
static inline uint64_t *longs(const struct warp *w, const struct instruction *i, int operand) {
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
template <class T> static inline place_of<T> *places(const struct warp *w, const struct instruction *i, int operand) {
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

#endif
