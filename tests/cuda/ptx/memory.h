/* What instructions read and write: where it is, whether they may, and who else touches it. */
#ifndef EDIY_TESTS_CUDA_PTX_MEMORY_H
#define EDIY_TESTS_CUDA_PTX_MEMORY_H

#include "cuda/ptx/operands.h"

enum touch { READS, WRITES };

/* The host's address of what a lane reads or writes. Where it must not, fails and gives other memory. */
unsigned char *ptx_place(const struct warp *w, const struct instruction *i, enum state_space space, uint64_t address, unsigned bytes,
                         int lane, enum touch how);

/* Counts an access whose address is operand `at` (+ offset), where anybody counts. */
void ptx_count(const struct warp *w, const struct instruction *i, enum state_space space, int at, bool far, unsigned bytes, uint32_t lanes);

/* Operand `operand` as an address, of 8 bytes if far. */
static inline uint64_t address_in(const struct warp *w, const struct instruction *i, int operand, bool far, int lane) {
  return far ? longs(w, i, operand)[lane] : words(w, i, operand)[lane];
}

#endif
