/* How many turns the accesses of tensor tiles to shared memory take (banks.cu), for C. */
#ifndef EDIY_TESTS_CUDA_BANKS_H
#define EDIY_TESTS_CUDA_BANKS_H

#ifdef __cplusplus
extern "C" {
#endif

/* The most turns that any eight neighbouring threads take to store, or copy, their pieces of a tile: 1 is best. bf16, else float; a tile of
 * 64 or 128, along or across. */
int turns_of_pieces(int half, int tile, int along);

/* The most turns that a warp takes to read the floats of an across tile that one register of mma_tf32 holds. a: of the left operand, else
 * of the right. */
int turns_of_words(int tile, int a);

/* The same for 16 lanes that stage two neighbouring results each, in rows of this many columns. */
int turns_of_results(int columns);

/* The same for the different pieces of floats that a warp of the fp32 kernel reads at once, of the left operand (a) or of the right. */
int turns_of_quads(int tile, int along, int a);

#ifdef __cplusplus
}
#endif

#endif
