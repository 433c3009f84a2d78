/* See shim_tensor.h. */
#include <math.h>
#include <string.h>

extern "C" {
#include "cuda/shim_control.h"
}
#include "cuda/shim_memory.h"

enum { WARP = SHIM_LANES, MOST_THREADS = 1024, ROWS = 16, COLUMNS = 8, MOST_DEPTH = 16, PIECE = 16 /* bytes */ };

/* ---- numbers ------------------------------------------------------------------------------------------------------------------------- */

static float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* cvt.rna.tf32.f32: to nearest, ties away from zero; the canonical NaN. */
uint32_t tf32_of(float x) { return isnan(x) ? 0x7fffffff : isinf(x) ? bits_of(x) : (bits_of(x) + 0x1000) & ~0x1fffu; }

/* To nearest, ties to even; cvt.rn.bf16x2.f32 gives the canonical NaN. */
static uint32_t bf16_of(float x) {
  uint32_t bits = bits_of(x);
  return isnan(x) ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
uint32_t bf16_pair(float low, float high) { return bf16_of(high) << 16 | bf16_of(low); }

/* ---- mma ------------------------------------------------------------------------------------------------------------------------------
 *
 * The registers of all lanes are put together to A (16 x depth) and B (depth x 8), C is computed, and every lane takes its four. Each
 * element is
 *     c + a[0] b[0] + a[1] b[1] + ...
 * from left to right in float, rounded after each addition (a product of two tf32 or bf16 is exact). A GPU adds in an order of its own. */

struct registers {
  float c[4];
  uint32_t a[4], b[2];
};
static_assert(sizeof(struct registers) <= SHIM_GIFT, "room");

/* Row and column of a lane's c[i], in the ISA's words: groupID (+ 8 for the last two), threadID_in_group * 2 + (i & 1). */
static int c_row(int lane, int i) { return lane / 4 + (i < 2 ? 0 : 8); }
static int c_column(int lane, int i) { return lane % 4 * 2 + (i & 1); }

struct matrices {
  float a[ROWS][MOST_DEPTH], b[MOST_DEPTH][COLUMNS], c[ROWS][COLUMNS];
};

/* m16n8k16: a[i] of eight: row groupID (0 <= i < 2 or 4 <= i < 6) or groupID + 8; column threadID_in_group * 2 + (i & 1), + 8 for i >= 4.
 * b[i] of four: row threadID_in_group * 2 + (i & 1), + 8 for i >= 2; column groupID. Two to a register, the first in the lower half. */
static bool place_bf16(struct matrices *m, int lane, const struct registers *r) {
  int group = lane / 4, thread = lane % 4;
  for (int i = 0; i < 8; i++)
    m->a[i < 2 || (i >= 4 && i < 6) ? group : group + 8][thread * 2 + (i & 1) + (i >= 4 ? 8 : 0)] =
        float_of(i & 1 ? r->a[i / 2] & 0xffff0000 : r->a[i / 2] << 16);
  for (int i = 0; i < 4; i++)
    m->b[thread * 2 + (i & 1) + (i >= 2 ? 8 : 0)][group] = float_of(i & 1 ? r->b[i / 2] & 0xffff0000 : r->b[i / 2] << 16);
  return true;
}

/* m16n8k8 of tf32: a[0] (groupID, threadID_in_group), a[1] (groupID + 8, same), a[2] (groupID, threadID_in_group + 4), a[3] (both);
 * b[0] (threadID_in_group, groupID), b[1] (threadID_in_group + 4, groupID). Whether all were rounded. */
static bool place_tf32(struct matrices *m, int lane, const struct registers *r) {
  int group = lane / 4, thread = lane % 4;
  bool rounded = true;
  for (int i = 0; i < 4; i++) {
    m->a[i % 2 ? group + 8 : group][i < 2 ? thread : thread + 4] = float_of(r->a[i]);
    rounded &= isnan(float_of(r->a[i])) || !(r->a[i] & 0x1fff);
  }
  for (int i = 0; i < 2; i++) {
    m->b[i ? thread + 4 : thread][group] = float_of(r->b[i]);
    rounded &= isnan(float_of(r->b[i])) || !(r->b[i] & 0x1fff);
  }
  return rounded;
}

/* The first lane that goes on computes for all of its warp; no lane can come to the warp's next meeting before all have taken theirs. */
static void multiply(const char *what, int depth, bool (*place)(struct matrices *, int, const struct registers *), float c[4],
                     const uint32_t a[4], const uint32_t b[2]) {
  static struct {
    int meeting;
    struct matrices m;
  } of_warp[MOST_THREADS / WARP];
  struct registers mine;
  memcpy(mine.c, c, sizeof mine.c), memcpy(mine.a, a, sizeof mine.a), memcpy(mine.b, b, sizeof mine.b);
  int meeting = shim_meet(what, 0xffffffff, &mine, sizeof mine), lane = shim_thread() % WARP;
  struct matrices *m = &of_warp[shim_thread() / WARP].m;
  if (of_warp[shim_thread() / WARP].meeting != meeting) {
    of_warp[shim_thread() / WARP].meeting = meeting;
    bool sound = true, whole = true;
    for (int l = 0; l < WARP; l++) {
      const struct registers *r = static_cast<const struct registers *>(shim_gift(l));
      if (!(whole &= r != nullptr)) break;
      sound &= place(m, l, r);
      for (int i = 0; i < 4; i++) m->c[c_row(l, i)][c_column(l, i)] = r->c[i];
    }
    if (!whole) shim_note("%s in a warp of fewer than %d threads", what, WARP);
    if (!sound) shim_note("%s: an operand was not rounded to tf32", what);
    for (int k = 0; k < depth; k++)
      for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++) m->c[i][j] += m->a[i][k] * m->b[k][j];
  }
  for (int i = 0; i < 4; i++) c[i] = m->c[c_row(lane, i)][c_column(lane, i)];
}

void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { multiply("mma_bf16", 16, place_bf16, c, a, b); }
void mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { multiply("mma_tf32", 8, place_tf32, c, a, b); }

/* ---- ldmatrix ------------------------------------------------------------------------------------------------------------------------ */

struct matrix_row {
  uint16_t element[8];
  uintptr_t address;
};
static_assert(sizeof(struct matrix_row) <= SHIM_GIFT, "room");

static bool is_piece(const char *what, const void *p, bool shared, bool device) {
  const char *wrong = (uintptr_t)p % PIECE != 0             ? "not aligned to 16 bytes"
                      : shared && !shim_is_shared(p, PIECE) ? "not 16 bytes of shared memory"
                      : device && !shim_is_device(p, PIECE) ? "not 16 bytes of device memory"
                                                            : nullptr;
  if (wrong) shim_note("%s: an address is %s", what, wrong);
  return !wrong;
}

/* Turns beyond one that the eight rows of a matrix take: eight pieces of 16 bytes, of which those in one eighth of 128 bytes go one after
 * the other. */
static int turns_lost(int matrix) {
  int most = 0;
  for (int eighth = 0; eighth < 8; eighth++) {
    int different = 0;
    for (int i = 0; i < 8; i++) {
      const struct matrix_row *row = static_cast<const struct matrix_row *>(shim_gift(matrix * 8 + i));
      bool seen = !row || row->address / PIECE % 8 != (uintptr_t)eighth;
      for (int j = 0; j < i && !seen; j++)
        seen = static_cast<const struct matrix_row *>(shim_gift(matrix * 8 + j))->address == row->address;
      different += !seen;
    }
    if (different > most) most = different;
  }
  return most - 1;
}

static long conflicts;
extern "C" long shim_bank_conflicts(void) {
  long so_far = conflicts;
  conflicts = 0;
  return so_far;
}

/* x4 of 8 x 8 elements of 16 bits: lane l gives the address of row l % 8 of matrix l / 8, and gets in register i, of matrix i, row l / 4,
 * the elements l % 4 * 2 and the next; transposed, of column l / 4. */
static void load(const char *what, uint32_t (&r)[4], const void *row, bool transposed) {
  struct matrix_row mine;
  mine.address = (uintptr_t)row;
  if (is_piece(what, row, true, false))
    memcpy(mine.element, row, sizeof mine.element);
  else
    memset(mine.element, 0xff, sizeof mine.element);
  shim_meet(what, 0xffffffff, &mine, sizeof mine);
  int lane = shim_thread() % WARP, group = lane / 4, thread = lane % 4;
  if (lane < 4) conflicts += turns_lost(lane);
  for (int i = 0; i < 4; i++) {
    uint32_t pair[2] = {0xffff, 0xffff};
    for (int e = 0; e < 2; e++) {
      const struct matrix_row *from = static_cast<const struct matrix_row *>(shim_gift(i * 8 + (transposed ? thread * 2 + e : group)));
      if (from) pair[e] = from->element[transposed ? group : thread * 2 + e];
    }
    r[i] = pair[1] << 16 | pair[0];
  }
}

void load_matrices(uint32_t (&r)[4], const void *row) { load("load_matrices", r, row, false); }
void load_matrices_transposed(uint32_t (&r)[4], const void *row) { load("load_matrices_transposed", r, row, true); }

/* ---- cp.async ------------------------------------------------------------------------------------------------------------------------ */

enum { MOST_COPIES = 128 };

static struct flight {
  struct {
    void *to;
    const void *from; /* null: zeros */
    int group;
  } copy[MOST_COPIES];
  int copies, group;
} flight[MOST_THREADS];
static int in_flight; /* of all threads */

void copy_async(void *shared, const void *global, bool present) {
  struct flight *f = &flight[shim_thread()];
  if (!is_piece("copy_async", shared, true, false) || (present && !is_piece("copy_async", global, false, true))) return;
  if (f->copies == MOST_COPIES) {
    shim_note("copy_async: more than %d copies of a thread in flight", MOST_COPIES);
    return;
  }
  memset(shared, 0xff, PIECE);
  f->copy[f->copies++] = {shared, present ? global : nullptr, f->group};
  in_flight++;
}

void commit_copies(void) { flight[shim_thread()].group++; }

/* The copies of all groups but the last `but` that were committed; what was not committed stays in flight. */
void shim_wait_for_copies(int but) {
  struct flight *f = &flight[shim_thread()];
  int left = 0;
  for (int i = 0; i < f->copies; i++) {
    if (f->copy[i].group >= f->group - but)
      f->copy[left++] = f->copy[i];
    else if (f->copy[i].from)
      memcpy(f->copy[i].to, f->copy[i].from, PIECE);
    else
      memset(f->copy[i].to, 0, PIECE);
  }
  in_flight -= f->copies - left;
  f->copies = left;
}

void shim_forget_copies(void) {
  for (int t = 0; in_flight > 0 && t < MOST_THREADS; t++) {
    in_flight -= flight[t].copies;
    flight[t].copies = 0;
  }
}

void shim_copies_end(int thread) {
  if (flight[thread].copies > 0) shim_note("a thread ends with %d copies in flight", flight[thread].copies);
}
