/* See shim_warpgroup.h. */
#include "cuda/shim_memory.h"

#include <math.h>
#include <string.h>

enum { WARP = SHIM_LANES, GROUP_WARPS = 4, MOST_THREADS = 1024, ROWS = 16 /* of a warp */, MOST_N = 128, DEPTH = 16, MOST_PENDING = 16 };

/* ---- descriptors --------------------------------------------------------------------------------------------------------------------- */

struct operand {
  uint32_t start, leading, stride, row; /* bytes; row: of a pattern of eight */
  uint32_t phases;                      /* of the pattern: address bits from 7 on that go into those from 4 on */
  bool along;
  const unsigned char *array; /* that it begins in */
  uint32_t from, bytes;
};

/* Bits 0 to 13, 16 to 29, 32 to 45: 16 bytes each; 62 and 63: how it is swizzled; the rest is 0. */
static bool read_descriptor(uint64_t d, bool along, struct operand *o) {
  auto field = [d](int at) { return (uint32_t)(d >> at & 0x3fff) * 16; };
  int swizzle = (int)(d >> 62);
  *o = {field(0), field(16), field(32), swizzle == 1 ? 128u : 64u, swizzle == 1 ? 7u : 3u, along, nullptr, 0, 0};
  o->array = shim_shared_array(o->start, &o->from, &o->bytes);
  if ((swizzle == 1 || swizzle == 2) && (d & ~(uint64_t)0xc0003fff3fff3fff) == 0 && o->array) return true;
  shim_note("multiply_tiles: a descriptor that is not known here: %#llx", (unsigned long long)d);
  return false;
}

/* Where an element is in shared memory: pieces of 16 bytes are neighbours in the row, of depths (along) or of indices (across). */
static uint32_t place_in(const struct operand *o, int index, int depth) {
  uint32_t in_row = o->row / 2, i = (uint32_t)index, k = (uint32_t)depth;
  uint32_t at = o->start + (o->along ? i % 8 * o->row + i / 8 * o->stride + k * 2
                                     : i % in_row * 2 + i / in_row * o->leading + k % 8 * o->row + k / 8 * o->stride);
  return at ^ (at >> 7 & o->phases) << 4;
}

static uint16_t bits_at(const struct operand *o, uint32_t place) {
  uint16_t bits = 0x7fff;
  if (place >= o->from && place - o->from + sizeof bits <= o->bytes)
    memcpy(&bits, o->array + (place - o->from), sizeof bits);
  else
    shim_note("multiply_tiles: a descriptor leads out of its shared array");
  return bits;
}

/* ---- what a warp has begun ----------------------------------------------------------------------------------------------------------- */

/* Operands of a multiplication, as they were when it began. */
struct begun {
  int meeting, n;
  bool known; /* its descriptors are */
  struct operand a, b;
  uint16_t a_bits[ROWS][DEPTH], b_bits[DEPTH][MOST_N];
};
static struct begun begun[MOST_THREADS / WARP][MOST_PENDING];

static bool read_operands(struct begun *m, int warp, bool keep) {
  bool same = true;
  auto take = [&](uint16_t *to, uint16_t bits) {
    if (keep)
      *to = bits;
    else
      same &= *to == bits;
  };
  for (int k = 0; k < DEPTH; k++) {
    for (int row = 0; row < ROWS; row++) take(&m->a_bits[row][k], bits_at(&m->a, place_in(&m->a, warp % GROUP_WARPS * ROWS + row, k)));
    for (int column = 0; column < m->n; column++) take(&m->b_bits[k][column], bits_at(&m->b, place_in(&m->b, column, k)));
  }
  return same;
}

static float widened(uint16_t bits) {
  uint32_t wide = (uint32_t)bits << 16;
  float x;
  memcpy(&x, &wide, sizeof x);
  return x;
}

/* ---- what a thread waits for --------------------------------------------------------------------------------------------------------- */

static struct flight {
  bool fenced;
  int group, count;
  struct {
    float *c;
    int group, begun, n;
  } pending[MOST_PENDING];
  struct {
    float *c, sum[MOST_N / 2];
    int n;
  } sums[2]; /* that are in flight; c null: none */
} flight[MOST_THREADS];
static bool any;

/* The sums of c, which the thread may not look at until it has waited: kept apart. */
static float *sums_of(struct flight *f, float *c, int n) {
  for (auto &s : f->sums)
    if (s.c == c) return s.sum;
  for (auto &s : f->sums)
    if (!s.c) {
      s.c = c, s.n = n;
      memcpy(s.sum, c, (size_t)(n / 2) * sizeof *c);
      for (int i = 0; i < n / 2; i++) c[i] = NAN;
      return s.sum;
    }
  return nullptr;
}

void begin_products(void) { flight[shim_thread()].fenced = true; }
void commit_products(void) {
  struct flight *f = &flight[shim_thread()];
  f->group++, f->fenced = false;
}

/* c[i] is in row lane / 4, or eight on where i / 2 is odd, of the warp's 16, and column i / 4 * 8 + lane % 4 * 2 + i % 2. Sums from left to
 * right, as the shim's mma. */
void shim_multiply_tiles(int n, bool along_a, bool along_b, float *c, uint64_t a, uint64_t b) {
  const uint64_t gift[] = {a, b, (uint64_t)n};
  int meeting = shim_meet("multiply_tiles", 0xffffffff, gift, sizeof gift), thread = shim_thread(), warp = thread / WARP;
  struct flight *f = &flight[thread];
  int slot = meeting % MOST_PENDING, lane = thread % WARP;
  struct begun *m = &begun[warp][slot];
  if ((int)(blockDim.x * blockDim.y * blockDim.z) % (GROUP_WARPS * WARP) != 0) return shim_note("multiply_tiles: not whole warpgroups");
  if (!f->fenced) shim_note("multiply_tiles: no begin_products before the first of a group");
  for (int l = 0; l < WARP; l++)
    if (!shim_gift(l) || memcmp(shim_gift(l), gift, sizeof gift) != 0) return shim_note("multiply_tiles: lanes differ in their operands");
  if (m->meeting != meeting) {
    m->meeting = meeting, m->n = n;
    m->known = read_descriptor(a, along_a, &m->a) && read_descriptor(b, along_b, &m->b);
    if (m->known) read_operands(m, warp, true);
  }
  if (!m->known) return;
  float *sum = sums_of(f, c, n);
  if (f->count == MOST_PENDING || !sum) return shim_note("multiply_tiles: more than %d begun", MOST_PENDING);
  for (int i = 0; i < n / 2; i++)
    for (int k = 0; k < DEPTH; k++)
      sum[i] += widened(m->a_bits[lane / 4 + i / 2 % 2 * 8][k]) * widened(m->b_bits[k][i / 4 * 8 + lane % 4 * 2 + i % 2]);
  f->pending[f->count++] = {c, f->group, slot, n};
  any = true;
}

/* All groups but the last `but` that were committed; what was not committed goes on. */
void shim_wait_for_products(int but) {
  int thread = shim_thread(), left = 0;
  struct flight *f = &flight[thread];
  for (int i = 0; i < f->count; i++)
    if (f->pending[i].group >= f->group - but)
      f->pending[left++] = f->pending[i];
    else if (thread % WARP == 0 && !read_operands(&begun[thread / WARP][f->pending[i].begun], thread / WARP, false))
      shim_note("multiply_tiles: shared memory changed under a multiplication that nobody had waited for");
  f->count = left;
  for (auto &s : f->sums) {
    bool goes_on = false;
    for (int i = 0; i < left; i++) goes_on |= f->pending[i].c == s.c;
    if (!s.c || goes_on) continue;
    memcpy(s.c, s.sum, (size_t)(s.n / 2) * sizeof *s.c);
    s.c = nullptr;
  }
}

void shim_forget_products(void) {
  for (int t = 0; any && t < MOST_THREADS; t++)
    flight[t].count = 0, flight[t].fenced = false, flight[t].sums[0].c = flight[t].sums[1].c = nullptr;
  any = false;
}

void shim_products_end(int thread) {
  if (flight[thread].count > 0) shim_note("a thread ends with %d multiplications that it has not waited for", flight[thread].count);
}
