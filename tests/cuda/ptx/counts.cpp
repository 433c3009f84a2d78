/* See counts.h. */
#include "cuda/ptx/counts.h"

#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "cuda/ptx/ptx.h"

enum { SECTOR = 32, BANKS = 32, BANK = 4, AT_ONCE = 128 };

bool ptx_counts = getenv("EDIY_PTX_COUNTS") != nullptr;

static std::map<std::string, struct counts> &all_counts(void) {
  static std::map<std::string, struct counts> *all = new std::map<std::string, struct counts>;
  return *all;
}

static void write_counts(void) {
  FILE *f = fopen(getenv("EDIY_PTX_COUNTS"), "w");
  if (!f) {
    fprintf(stderr, "ptx: cannot write the counts to %s\n", getenv("EDIY_PTX_COUNTS"));
    return;
  }
  fprintf(f, "%9s %10s %14s %12s %6s %15s %7s %12s %6s  %s\n", "launches", "blocks", "instructions", "mma", "lanes", "device bytes",
          "of 100", "shared", "turns", "kernel");
  for (const auto &line : all_counts()) {
    const struct counts &c = line.second;
    fprintf(f, "%9ld %10ld %14ld %12ld %6.1f %15ld %7.1f %12ld %6.2f  %s\n", c.launches, c.blocks, c.instructions, c.mma,
            (double)c.lanes / (double)std::max(c.instructions, 1L), c.bytes,
            100 * (double)c.bytes / (double)(std::max(c.sectors, 1L) * SECTOR), c.accesses,
            (double)c.turns / (double)std::max(c.accesses, 1L), line.first.c_str());
  }
  if (fclose(f) != 0) fprintf(stderr, "ptx: cannot write the counts to %s\n", getenv("EDIY_PTX_COUNTS"));
}

struct counts *ptx_counts_of(const char *kernel) {
  static bool begun = getenv("EDIY_PTX_COUNTS") && atexit(write_counts) == 0;
  (void)begun;
  return &all_counts()[kernel];
}

/* Different sectors among the pieces of so many bytes at these addresses. */
static long sectors_of(uint64_t *address, int lanes, unsigned bytes) {
  long sectors = 0;
  uint64_t last = UINT64_MAX;
  std::sort(address, address + lanes);
  for (int i = 0; i < lanes; i++)
    for (uint64_t s = address[i] / SECTOR; s <= (address[i] + bytes - 1) / SECTOR; s++)
      if (last == UINT64_MAX || s > last) sectors++, last = s;
  return sectors;
}

static long turns_of(const uint64_t *address, int lanes, unsigned bytes) {
  long turns = 0;
  int together = std::min<int>(LANES, AT_ONCE / (int)std::max(bytes, 4u));
  for (int first = 0; first < lanes; first += together) {
    std::vector<uint64_t> words[BANKS];
    size_t most = 0;
    for (int i = first; i < std::min(lanes, first + together); i++)
      for (uint64_t word = address[i] / BANK; word <= (address[i] + bytes - 1) / BANK; word++) {
        std::vector<uint64_t> &bank = words[word % BANKS];
        if (std::find(bank.begin(), bank.end(), word) == bank.end()) bank.push_back(word);
        most = std::max(most, bank.size());
      }
    turns += (long)most;
  }
  return turns;
}

void ptx_count_access(struct counts *c, bool shared, uint64_t *address, int lanes, unsigned bytes) {
  if (shared)
    c->accesses += (lanes * (int)std::max(bytes, 4u) + AT_ONCE - 1) / AT_ONCE, c->turns += turns_of(address, lanes, bytes);
  else
    c->bytes += (long)bytes * lanes, c->sectors += sectors_of(address, lanes, bytes);
}
