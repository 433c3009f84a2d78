/* The sums over rows that norm.c needs: the m x c matrix cut into tiles, and the way from elements to the sums of tiles, of groups of them,
 * and of all rows or all ranks. For norm.c only.
 *
 * A tile is a chunk of 128 rows by a block of 1024 channels. So many channels keep the coefficients of a tile in the first-level cache
 * (24 KiB as floats). A chunk is short for the sake of a GPU: a thread there sums one chunk, so there have to be many, and a whole one fits
 * into the tile of a matrix product. With many channels and few rows (a projector's 16 x 4096) blocks of channels are what is shared out.
 *
 * Sums come in pairs, c of each: of x and of its squared differences from the mean, or of d and of d (x - mean). The scratch holds those of
 * the chunks, then those of the groups that chunks are joined to, then those of all rows.
 *
 * "Shared out": called by all threads of a parallel region, among which it divides its work; it ends with a barrier.
 */
#ifndef EDIY_OP_NORM_SUMS_H
#define EDIY_OP_NORM_SUMS_H

#include <math.h>
#include <stddef.h>

#include "op/norm.h"

#ifndef EDIY_OP_NORM_SUMS_TYPES
#define EDIY_OP_NORM_SUMS_TYPES
enum { TILE_CHANNELS = 1024 };

struct tile {
  ptrdiff_t chunk, row, rows, channel, channels;
};

/* Parts whose sums are joined: `count` of them, `rows` rows each, the last perhaps fewer, m rows in all. They are the chunks of a group,
 * the groups, or the ranks. */
struct parts {
  ptrdiff_t count, rows, m;
};
#endif

#define tile_count REAL_NAME(tile_count)
#define tile_at REAL_NAME(tile_at)
#define groups_of REAL_NAME(groups_of)
#define ranks_of REAL_NAME(ranks_of)
#define group_sums REAL_NAME(group_sums)
#define joined_sums REAL_NAME(joined_sums)
#define take_moments REAL_NAME(take_moments)
#define own_moments REAL_NAME(own_moments)
#define join_moments REAL_NAME(join_moments)
#define tile_gradient_sums REAL_NAME(tile_gradient_sums)
#define group_gradient REAL_NAME(group_gradient)
#define join_gradient REAL_NAME(join_gradient)
#define add_gradient REAL_NAME(add_gradient)
#define take_gradient_sums REAL_NAME(take_gradient_sums)

ptrdiff_t tile_count(const struct norm *g);
struct tile tile_at(const struct norm *g, ptrdiff_t t);

struct parts groups_of(const struct norm *g);
struct parts ranks_of(const struct norm *g, int ranks);

/* Where they are in the scratch. */
double *group_sums(const struct norm *g, double *scratch);
double *joined_sums(const struct norm *g, double *scratch);

static inline double inverse_deviation(const struct norm *g, double variance) { return 1.0 / sqrt(variance + g->eps); }

/* ---- Statistics --------------------------------------------------------------------------------------------------------------------- */

/* Sums of the chunks and of the groups, into the scratch. Shared out. */
void take_moments(const struct norm *g, const real *x, double *scratch);

/* sums: 2 x c, overwritten: the groups' joined. Shared out. */
void own_moments(const struct norm *g, const double *groups, double *sums);

/* From the sums of all parts mean and invstd (c), overwritten, and the running statistics moved. Shared out. */
void join_moments(const struct norm *g, struct parts parts, const double *sums, real *running_mean, real *running_var, double *mean,
                  double *invstd);

/* ---- Gradients ---------------------------------------------------------------------------------------------------------------------- */

/* Of a tile, into the scratch: sums over its rows of d and d (x - mean), with d the gradient behind the ReLU. mean: of the tile's first
 * channel on. */
void tile_gradient_sums(const struct norm *g, struct tile a, const real *x, const real *y, const double *mean, const real *dy,
                        double *scratch);

/* From the sums of the chunks those of the groups, in the scratch. Shared out. */
void group_gradient(const struct norm *g, double *scratch);

/* joined: 2 x c, overwritten: the sums of all parts, joined in order. Shared out. */
void join_gradient(const struct norm *g, struct parts parts, const double *sums, double *joined);

/* dbeta += sum d, dgamma += sum d (x - mean) invstd, of one channel. */
void add_gradient(const struct norm *g, ptrdiff_t c, double invstd, const double *joined, real *dgamma, real *dbeta);

/* All of these: the sums joined, and added to dgamma and dbeta. Shared out. */
void take_gradient_sums(const struct norm *g, const real *x, const real *y, const double *mean, const double *invstd, const real *dy,
                        real *dgamma, real *dbeta, double *joined, double *scratch);

#endif
