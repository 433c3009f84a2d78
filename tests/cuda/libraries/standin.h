/* What the stand-ins of libraries share: numbers in memory, and failures on purpose. */
#ifndef EDIY_TESTS_CUDA_STANDIN_H
#define EDIY_TESTS_CUDA_STANDIN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/number.h"
#include "cuda/shim_memory.h"

/* Whether this function is to fail: EDIY_STANDIN_FAIL names it. */
static inline bool standin_fails(const char *function) {
  const char *name = getenv("EDIY_STANDIN_FAIL");
  return name && strcmp(name, function) == 0;
}

/* A line in the file that EDIY_STANDIN_PLANS names, for every plan that is made. */
static inline void standin_note(const char *line) {
  const char *name = getenv("EDIY_STANDIN_PLANS");
  FILE *file = name ? fopen(name, "a") : nullptr;
  if (!file) return;
  fprintf(file, "%s\n", line);
  fclose(file);
}

static inline float standin_read(const void *memory, bool is_bf16, int64_t i) {
  return is_bf16 ? widen(static_cast<const struct bf16 *>(memory)[i]) : static_cast<const float *>(memory)[i];
}

static inline void standin_write(void *memory, bool is_bf16, int64_t i, float value) {
  if (is_bf16)
    static_cast<struct bf16 *>(memory)[i] = round_to_bf16(value);
  else
    static_cast<float *>(memory)[i] = value;
}

/* To 11 bits of significand, to nearest, ties to even: what a tensor core reads of a float. */
static inline float standin_tf32(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7f800000u) != 0x7f800000u) bits = (bits + 0xfffu + (bits >> 13 & 1)) & ~0x1fffu;
  memcpy(&x, &bits, sizeof x);
  return x;
}

#endif
