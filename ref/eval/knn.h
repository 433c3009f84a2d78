/* Nearest-neighbour classification of frozen features (docs/method.md, "Evaluation"), as in Wu, Xiong, Yu, Lin: "Unsupervised feature
 * learning via non-parametric instance discrimination", CVPR 2018, section 3.4.
 *
 * The bank holds m labelled rows of d features (the training images). A query's neighbours are the k rows of largest cosine; each votes for
 * its class with weight exp(cos / T); the class of most votes is the prediction.
 *
 *     struct knn g = {.m = m, .q = q, .d = d, .k = 200};
 *     if (!knn_search(&g, bank, query, neighbour, similarity, err)) return false;         // the 200 nearest, once
 *     for each k: if (!knn_vote(&g, k, classes, 0.07, label, neighbour, similarity, votes, prediction, err)) return false;
 *
 * The search first screens with a matrix product of precision real, then decides with sums in double over features in index order: the
 * neighbours are those of the definition, whatever the blocks, the BLAS library and the number of threads, and equal rows tie exactly.
 */
#ifndef EDIY_EVAL_KNN_H
#define EDIY_EVAL_KNN_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/real.h"
#include "eval/interval.h"

#ifndef EDIY_EVAL_KNN_TYPES
#define EDIY_EVAL_KNN_TYPES
struct knn {
  ptrdiff_t m, q, d; /* rows of the bank, queries, features; m, d >= 1, q >= 0 */
  ptrdiff_t k;       /* neighbours to find, 1 <= k <= m */
};
#endif

#define knn_search REAL_NAME(knn_search)
#define knn_vote REAL_NAME(knn_vote)
#define knn_accuracy REAL_NAME(knn_accuracy)

/* bank: m x d, query: q x d, any length of rows: both are normalised here with the guard of op/unit.h (a zero row has cosine 0 with
 * everything). neighbour, similarity: q x k, overwritten: rows of the bank and their cosines in falling order, ties by the lowest row;
 * either may be null. A similarity is the sum in double, in index order, of the products of the normalised rows (of type real).
 * Allocates the normalised copies, (m + q) d reals, and a few MiB a thread. Fails for k outside 1..m, a value that is not finite (the
 * message names array and row), and when memory is short; then the outputs may be half written. */
MUST_CHECK bool knn_search(const struct knn *g, const real *bank, const real *query, int32_t *neighbour, double *similarity,
                           struct error *err);

/* The votes of the first k of the g->k neighbours that knn_search found. label: m, in [0, classes). neighbour, similarity: q x g->k.
 * votes: q x classes, overwritten: the sum of exp(similarity / temperature) over the neighbours of a class, in falling order of
 * similarity; prediction: q, overwritten: the class of most votes, ties by the lowest class. Either may be null. Fails for k outside
 * 1..g->k, a label out of range (the message names row and label), and temperature < 0.002: down to there even 10^9 votes of
 * exp(1 / T) have a finite sum. */
MUST_CHECK bool knn_vote(const struct knn *g, ptrdiff_t k, int classes, double temperature, const int32_t *label, const int32_t *neighbour,
                         const double *similarity, double *votes, int32_t *prediction, struct error *err);

/* The share of predictions equal to the labels, both of count elements. */
struct share knn_accuracy(ptrdiff_t count, const int32_t *prediction, const int32_t *label);

#endif
