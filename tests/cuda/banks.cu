/* See banks.h. Compiled by the C++ compiler only. Shared memory has 32 banks of 4 bytes; an access takes as many turns as the fullest bank
 * has different words. Sixteen bytes a thread go eight threads at a time, eight bytes sixteen. */
#include "cuda/banks.h"

#include "cuda/tensor_gemm.h"

enum { BANKS = 32, WORD = 4 };

/* Turns for `count` threads that each access `words` neighbouring words from these bytes on. */
static int turns(const int *bytes, int count, int words) {
  int most = 0;
  for (int bank = 0; bank < BANKS; bank++) {
    int different = 0;
    for (int i = 0; i < count * words; i++) {
      int word = bytes[i / words] / WORD + i % words;
      bool seen = word % BANKS != bank;
      for (int j = 0; j < i && !seen; j++) seen = bytes[j / words] / WORD + j % words == word;
      different += !seen;
    }
    if (different > most) most = different;
  }
  return most;
}

template <class SHARE> static int turns_of_share() {
  int most = 0;
  for (int j = 0; j < SHARE::PIECES; j++)
    for (int thread = 0; thread < TENSOR_THREADS; thread += 8) {
      int bytes[8];
      for (int i = 0; i < 8; i++) bytes[i] = SHARE::spot(j, thread + i);
      int t = turns(bytes, 8, PIECE_BYTES / WORD);
      if (t > most) most = t;
    }
  return most;
}

template <class T> static int turns_of_tile(int tile, bool along) {
  if (along) return tile == 64 ? turns_of_share<share_along<T, 64>>() : turns_of_share<share_along<T, 128>>();
  return tile == 64 ? turns_of_share<share_across<T, 64>>() : turns_of_share<share_across<T, 128>>();
}

int turns_of_pieces(int half, int tile, int along) {
  return half ? turns_of_tile<struct bf16>(tile, along) : turns_of_tile<float>(tile, along);
}

template <int TILE> static int turns_of_tile_words(bool a) {
  typedef fragment<float, false> words;
  int most = 0;
  for (int step = 0; step < STEPS; step++)
    for (int first = 0; first < TILE; first += TILE / 2)
      for (int i = 0; i < TILE / 2 / 16; i++)
        for (int e = 0; e < 4; e++) {
          int bytes[WARP_THREADS];
          for (int lane = 0; lane < WARP_THREADS; lane++)
            bytes[lane] = a ? words::word_of_a(first, i, step, lane, e) : words::word_of_b(first, i, step, lane, e);
          int t = turns(bytes, WARP_THREADS, 1);
          if (t > most) most = t;
        }
  return most;
}

int turns_of_words(int tile, int a) { return tile == 64 ? turns_of_tile_words<64>(a) : turns_of_tile_words<128>(a); }

template <int COLUMNS> struct rows_of_results {
  typedef float number;
  enum { DOWN = 32, ACROSS = COLUMNS / 2, PITCH = COLUMNS + STAGED_SKEW };
};

int turns_of_results(int columns) {
  int bytes[16];
  for (int lane = 0; lane < 16; lane++)
    bytes[lane] =
        WORD * (columns == 64 ? mma_sums<rows_of_results<64>>::spot(lane, 0, 0) : mma_sums<rows_of_results<128>>::spot(lane, 0, 0));
  return turns(bytes, 16, 2);
}

template <int TILE, int LANES_APART, bool ALONG> static int turns_of_lane_pieces() {
  int most = 0;
  for (int first = 0; first < TILE; first += TILE / 2)
    for (int i = 0; i < TILE / 2 / LANES_APART; i += ALONG ? 1 : QUAD)
      for (int at = 0; at < SLAB_PIECES * QUAD; at++) {
        int bytes[LANES_APART];
        for (int group = 0; group < LANES_APART; group++)
          bytes[group] = lane_share<LANES_APART, ALONG>::spot(first, group, i, at / QUAD, at % QUAD);
        int t = turns(bytes, LANES_APART, PIECE_BYTES / WORD);
        if (t > most) most = t;
      }
  return most;
}

int turns_of_quads(int tile, int along, int a) {
  if (tile == 64) {
    if (along) return a ? turns_of_lane_pieces<64, 8, true>() : turns_of_lane_pieces<64, 4, true>();
    return a ? turns_of_lane_pieces<64, 8, false>() : turns_of_lane_pieces<64, 4, false>();
  }
  if (along) return a ? turns_of_lane_pieces<128, 8, true>() : turns_of_lane_pieces<128, 4, true>();
  return a ? turns_of_lane_pieces<128, 8, false>() : turns_of_lane_pieces<128, 4, false>();
}
