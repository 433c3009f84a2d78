/* wgmma: what a warpgroup, four warps, multiplies out of shared memory while it goes on (PTX ISA, "Asynchronous warpgroup level matrix
 * instructions"). The products are computed when the instruction comes, from what is in shared memory then, each warp its own 16 rows of
 * 64. They stand aside, and the accumulators are NaN, until they are waited for. A launch fails when
 *
 *     - the lanes of a warp are not all there, or the block has no four warps for the group, or these do not multiply the same;
 *     - a warp multiplies without wgmma.fence since its last group was closed;
 *     - an operand is not within one shared array, or its descriptor not one of those below;
 *     - bytes of an operand were written, by a store or a copy, and their thread has had no fence.proxy.async since (for a copy: since it
 *       was waited for), or the threads no barrier since: to read is to touch, in the name of the warp's first lane;
 *     - bytes of an operand are others when the product is waited for, where they are touched again;
 *     - an accumulator is written, or belongs to a product of other accumulators as well, before it has been waited for, or begins as a
 *       copy of such a one;
 *     - a thread ends before its multiplications have been waited for.
 *
 * What reads an accumulator too early is not found: it reads NaN.
 *
 * A descriptor is known with a swizzle of 64 or 128 bytes and a base offset of 0. With rows of as many bytes, in pieces of 16, eight rows
 * are a pattern:
 *
 *     depths are neighbours     index i, depth d at i % 8 rows + i / 8 strides + d / 8 pieces; the leading offset is not used
 *     indices are neighbours    at d % 8 rows + d / 8 strides + i / 8 pieces, but a full row of pieces is a leading offset
 *
 * and then a piece stands at its place in the row xor the number of the row in the pattern, for 64 bytes by 2: in the bits of its address.
 *
 * Sums are those of mma (tensor_core.h), whose arithmetic was measured: that wgmma adds in the same way is taken to be so, and nobody here
 * has seen it. */
#include <algorithm>

#include "cuda/ptx/memory.h"
#include "cuda/ptx/tensor_core.h"

enum { PIECE = 16, IN_PIECE = 8 /* bf16 */, IN_PATTERN = 8 /* rows */ };

enum moment { BEGINS, ENDS };

/* ---- operands ------------------------------------------------------------------------------------------------------------------------ */

struct tile {
  uint32_t from, to; /* the shared array that it is in */
  uint32_t start, leading, stride, row;
  bool across; /* indices are neighbours */
};

static uint32_t field(uint64_t descriptor, int bit) { return (uint32_t)(descriptor >> bit & 0x3fff) * PIECE; }

/* From its descriptor. False, after the launch has failed, when it is not known here. */
static bool read_descriptor(const struct warp *w, const struct instruction *i, uint64_t descriptor, bool across, struct tile *t) {
  static const uint64_t known = (uint64_t)3 << 62 | (uint64_t)0x3fff << 32 | (uint64_t)0x3fff << 16 | 0x3fff;
  unsigned long long all = descriptor;
  int swizzle = (int)(descriptor >> 62);
  *t = {0, 0, field(descriptor, 0), field(descriptor, 16), field(descriptor, 32), swizzle == 1 ? 128u : 64u, across};
  uint32_t pattern = t->row * IN_PATTERN, in_pattern = t->start % pattern, used = across ? t->row : WIDE_DEPTH / IN_PIECE * PIECE;
  if ((descriptor & ~known) || (swizzle != 1 && swizzle != 2))
    ptx_fail(w, i, "a descriptor that is not known here: %#llx", all);
  else if (in_pattern + used > t->row)
    ptx_fail(w, i, "a tile begins inside of a swizzle's %u bytes, at %#x: descriptor %#llx", pattern, t->start, all);
  else if (t->stride % pattern != 0 || (across && t->leading % pattern != 0))
    ptx_fail(w, i, "offsets of %u and %u bytes, no multiples of a swizzle's %u: descriptor %#llx", t->leading, t->stride, pattern, all);
  else {
    for (const struct shared_array &a : w->block->kernel->shared)
      if (t->start >= a.start && t->start < (a.bytes ? a.start + a.bytes : w->block->shared_bytes))
        t->from = a.start, t->to = a.bytes ? a.start + a.bytes : w->block->shared_bytes;
    if (t->to == 0) ptx_fail(w, i, "an operand begins in no shared array, at %#x: descriptor %#llx", t->start, all);
  }
  return !w->block->failed;
}

/* Where the piece is that begins with this element. */
static uint32_t piece_at(const struct tile *t, int index, int depth) {
  uint32_t at = t->start, in_row = t->row / PIECE, i = (uint32_t)index, d = (uint32_t)depth;
  if (t->across)
    at += d % IN_PATTERN * t->row + d / IN_PATTERN * t->stride + i / IN_PIECE % in_row * PIECE + i / IN_PIECE / in_row * t->leading;
  else
    at += i % IN_PATTERN * t->row + i / IN_PATTERN * t->stride + d / IN_PIECE * PIECE;
  return at ^ (at >> 3 & (t->row - PIECE));
}

/* Copies the pieces of so many indices, line after line: of an index, or of a depth where indices are neighbours. */
static void fetch(const struct warp *w, const struct instruction *i, const struct tile *t, int first, int indices, enum moment when,
                  unsigned char *to) {
  int lines = t->across ? WIDE_DEPTH : indices, pieces = (t->across ? indices : WIDE_DEPTH) / IN_PIECE;
  const std::vector<uint16_t> &unshown = w->block->unshown->writer;
  static const uint16_t shown[PIECE] = {};
  for (int line = 0; line < lines; line++)
    for (int piece = 0; piece < pieces && !w->block->failed; piece++, to += PIECE) {
      int index = t->across ? piece * IN_PIECE : line, depth = t->across ? line : piece * IN_PIECE;
      uint32_t at = piece_at(t, first + index, depth);
      if (at < t->from || at + PIECE > t->to)
        return ptx_fail(w, i, "an operand goes beyond the shared array that it begins in: to %#x", at);
      memcpy(to, ptx_place(w, i, IN_SHARED, at, PIECE, 0, READS), PIECE);
      if (when == BEGINS && memcmp(&unshown[at], shown, sizeof shown) != 0)
        return ptx_fail(w, i, "reads what was written without fence.proxy.async by its thread since, at %#x", at);
    }
}

static float element(const unsigned char *line, int at) {
  uint16_t half;
  memcpy(&half, line + at * 2, sizeof half);
  return from_place<float>((uint32_t)half << 16);
}

static const struct wide_product *product_of(const struct warp *w, const struct instruction *i) {
  return &w->block->kernel->products[(size_t)i->product];
}

/* Both operands as they are now: a's 16 rows of this warp, and b behind them. */
static void fetch_operands(const struct warp *w, const struct instruction *i, uint64_t a, uint64_t b, enum moment when, unsigned char *to) {
  const struct wide_product *p = product_of(w, i);
  struct tile of_a, of_b;
  if (!read_descriptor(w, i, a, p->across_a, &of_a) || !read_descriptor(w, i, b, p->across_b, &of_b)) return;
  fetch(w, i, &of_a, w->number % GROUP_WARPS * WIDE_ROWS, WIDE_ROWS, when, to);
  fetch(w, i, &of_b, 0, (int)p->sums.size() * 2, when, to + WIDE_ROWS * WIDE_DEPTH * 2);
}

/* ---- sums ---------------------------------------------------------------------------------------------------------------------------- */

static uint32_t *register_of(const struct warp *w, int at) { return reinterpret_cast<uint32_t *>(w->registers + at); }

/* What an accumulator is in flight, in every lane: a NaN that is another one after any arithmetic (a signalling one). */
static const uint32_t IN_FLIGHT = 0x7fa5a5a5;
static bool is_in_flight(const uint32_t *word) { return std::count(word, word + LANES, IN_FLIGHT) == LANES; }

static void check_sums(const struct warp *w, const struct wide_sums *s) {
  for (int at : product_of(w, s->i)->sums)
    if (!is_in_flight(register_of(w, at))) return ptx_fail(w, s->i, "an accumulator was written before it had been waited for");
}

/* Those of the accumulators of i, whatever was in their registers being the first. */
static struct wide_sums *sums_of(struct warp *w, const struct instruction *i) {
  const std::vector<int> &sums = product_of(w, i)->sums;
  for (struct wide_sums &s : w->wide.sums) {
    const std::vector<int> &others = product_of(w, s.i)->sums;
    if (others == sums) return check_sums(w, &s), &s;
    if (std::find_first_of(sums.begin(), sums.end(), others.begin(), others.end()) != sums.end())
      ptx_fail(w, i, "an accumulator belongs to the multiplication of line %d, with others, and it was not waited for", s.i->line);
  }
  w->wide.sums.emplace_back();
  struct wide_sums *s = &w->wide.sums.back();
  for (size_t e = 0; e < sums.size(); e++) {
    if (is_in_flight(register_of(w, sums[e]))) ptx_fail(w, i, "an accumulator is a copy of one that was not waited for");
    memcpy(s->value[e], register_of(w, sums[e]), sizeof s->value[e]);
    std::fill_n(register_of(w, sums[e]), LANES, IN_FLIGHT);
  }
  return s;
}

/* Element (row, column) is in lane row % 8 * 4 + column % 8 / 2, register column / 8 * 4 + row / 8 * 2 + column % 2. */
static void add_product(const struct wide_product *p, const unsigned char *read, struct wide_sums *s) {
  const unsigned char *read_b = read + WIDE_ROWS * WIDE_DEPTH * 2;
  int columns = (int)p->sums.size() * 2;
  float a[WIDE_ROWS][WIDE_DEPTH], b[MOST_WIDE_COLUMNS / TENSOR_COLUMNS][WIDE_DEPTH][TENSOR_COLUMNS];
  for (int row = 0; row < WIDE_ROWS; row++)
    for (int k = 0; k < WIDE_DEPTH; k++) a[row][k] = element(read, p->across_a ? k * WIDE_ROWS + row : row * WIDE_DEPTH + k);
  for (int column = 0; column < columns; column++)
    for (int k = 0; k < WIDE_DEPTH; k++)
      b[column / TENSOR_COLUMNS][k][column % TENSOR_COLUMNS] =
          element(read_b, p->across_b ? k * columns + column : column * WIDE_DEPTH + k);
  for (int block = 0; block < columns / TENSOR_COLUMNS; block++)
    for (int row = 0; row < WIDE_ROWS; row++) {
      float c[TENSOR_COLUMNS];
      auto place_of_c = [=](int column) { return &s->value[block * 4 + row / 8 * 2 + column % 2][row % 8 * 4 + column / 2]; };
      for (int j = 0; j < TENSOR_COLUMNS; j++) c[j] = from_place<float>(*place_of_c(j));
      tensor_core_add(ptx_core(), ptx_core()->bf16_group, WIDE_DEPTH, a[row], b[block], c);
      for (int j = 0; j < TENSOR_COLUMNS; j++) *place_of_c(j) = to_place(c[j]);
    }
}

/* ---- instructions -------------------------------------------------------------------------------------------------------------------- */

static bool is_same_in_all(const uint64_t *x) { return std::count(x, x + LANES, x[0]) == LANES; }

static void remember(struct wide_part *part, const struct instruction *i, uint64_t a, uint64_t b) {
  for (uint64_t x : {(uint64_t)i->line, a, b}) part->past = (part->past ^ x) * 0x9e3779b97f4a7c15 + (part->past >> 32);
  part->last = i;
}

void ptx_multiply_async(struct warp *w, const struct instruction *i, uint32_t) {
  struct wide_part *part = &w->wide;
  uint64_t a = longs(w, i, 0)[0], b = longs(w, i, 1)[0];
  if (w->number / GROUP_WARPS * GROUP_WARPS + GROUP_WARPS > w->block->threads / LANES)
    return ptx_fail(w, i, "there are no four whole warps for its warpgroup");
  if (!part->fenced) return ptx_fail(w, i, "no wgmma.fence since the last wgmma.commit_group");
  if (!is_same_in_all(longs(w, i, 0)) || !is_same_in_all(longs(w, i, 1))) return ptx_fail(w, i, "lanes have different descriptors");
  if (w->block->kernel->counts) w->block->kernel->counts->mma += (long)product_of(w, i)->sums.size() * 2 / TENSOR_COLUMNS;
  remember(part, i, a, b);
  part->begun.emplace_back();
  struct wide_begun *m = &part->begun.back();
  m->i = i, m->group = part->group, m->a = a, m->b = b;
  fetch_operands(w, i, a, b, BEGINS, m->read);
  struct wide_sums *s = sums_of(w, i);
  s->i = i, s->group = part->group;
  if (!w->block->failed) add_product(product_of(w, i), m->read, s);
}

void ptx_fence_products(struct warp *w, const struct instruction *, uint32_t) { w->wide.fenced = true; }

void ptx_commit_products(struct warp *w, const struct instruction *, uint32_t) { w->wide.group++, w->wide.fenced = false; }

/* The operands of a multiplication that ends are read once more. */
static void check_operands(const struct warp *w, const struct wide_begun *m) {
  static unsigned char now[sizeof m->read];
  fetch_operands(w, m->i, m->a, m->b, ENDS, now);
  size_t bytes = (WIDE_ROWS + product_of(w, m->i)->sums.size() * 2) * WIDE_DEPTH * 2;
  if (!w->block->failed && memcmp(now, m->read, bytes) != 0)
    ptx_fail(w, m->i, "shared memory changed under a multiplication that nobody waited for");
}

void ptx_wait_products(struct warp *w, const struct instruction *i, uint32_t) {
  struct wide_part *part = &w->wide;
  int first = part->group - (int)i->offset; /* of the groups that go on */
  auto has_ended = [=](const auto &x) { return x.group < first; };
  for (const struct wide_begun &m : part->begun)
    if (has_ended(m)) check_operands(w, &m);
  for (const struct wide_sums &s : part->sums) {
    if (!has_ended(s)) continue;
    check_sums(w, &s);
    const std::vector<int> &sums = product_of(w, s.i)->sums;
    for (size_t e = 0; e < sums.size(); e++) memcpy(register_of(w, sums[e]), s.value[e], sizeof s.value[e]);
  }
  part->begun.erase(std::remove_if(part->begun.begin(), part->begun.end(), has_ended), part->begun.end());
  part->sums.erase(std::remove_if(part->sums.begin(), part->sums.end(), has_ended), part->sums.end());
}

void ptx_check_warpgroups(const struct warp *warps, int count) {
  for (int n = 0; n + GROUP_WARPS <= count; n += GROUP_WARPS)
    for (int other = n + 1; other < n + GROUP_WARPS; other++)
      if (warps[other].wide.past != warps[n].wide.past) {
        const struct warp *w = warps[other].wide.last ? &warps[other] : &warps[n];
        return ptx_fail(w, w->wide.last, "the warps of a warpgroup have not multiplied the same, warps %d and %d", n, other);
      }
}
