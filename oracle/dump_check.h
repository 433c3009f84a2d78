/* Two dumps of the same steps against each other, tensor by tensor, whatever their size.
 *
 * A is the truth, B the candidate; each may be full or digest. Full tensors are read in windows of a fixed size, once; where all bytes are
 * equal nothing is computed. What B may be off by:
 *
 *   drift    A's manifest says how far right implementations of the class were apart in this tensor (moved.h): |b - a| / |a| <= F drift, L2
 *            over the tensor; F: DUMP_CHECK_FACTOR, and DUMP_CHECK_SKETCH times that where one of them is a sketch
 *   exact    no drift is known: every value is equal, up to the sign of zero
 *
 * In both cases NaN and infinities stand where A has them. Indices that differ count as one-hot rows: sqrt(2 differing / all).
 *
 * The factor. Drift is the largest of D draws. Were the candidate one draw more, of m independent errors that are normal, it would be
 * beyond F times the largest with probability ~ F^(-D m) (for m = 2, D = 4, F = 4: integral 24 / (17 18 19 20) = 2e-4; for m = 8 below
 * 1e-13). Tensors have tens of elements and more, losses of a batch of two have 2. That is for a candidate as bad as the worst usual
 * implementation, which the draws are; one that sums in blocks is two to ten times nearer.
 *
 * ReLUs. One that falls the other way, because its input is within rounding of 0, takes a term out of the gradient or puts one in; in a
 * small network that is a hundred times the drift of runs in which none did. So they are counted: f elements of y that are 0 in one dump
 * only (whose y is within its own limit). Their terms are at most max |dy| each, about half of |dy|^2 passes a ReLU, and f terms have the
 * energy of a share
 *     r^2 = 2 f (2 max |dy|)^2 / |dy|^2
 * of it; twice max |dy|, because what a single element is multiplied with further on may be larger than the usual. Behind that layer, and
 * in all that is made of its gradient, |b - a| / |a| <= F (drift + r), r^2 added up over layers: rule "relu". Of parameters, which move by
 * lr m, r is lr |m| / |w| times that; of the target's, 1 - tau of it. A max pool, whose winner may be another within rounding, counts as
 * one, and is not seen. In runs without such flips nothing is allowed for them.
 *
 * A tensor of which F drift is 1 or more would accept zeros: VACUOUS; but where drift itself is above 1 the tensor is zero but for rounding
 * (a bias in front of a batch norm has a gradient of 0), and there is nothing to prove. */
#ifndef EDIY_ORACLE_DUMP_CHECK_H
#define EDIY_ORACLE_DUMP_CHECK_H

#include "oracle/dump.h"

#define DUMP_CHECK_FACTOR 4.0
#define DUMP_CHECK_SKETCH 1.65 /* an estimate from 16 projections is 1.65 times too large with probability 2e-4 at most (digest.h) */

enum check_verdict { CHECK_PASS, CHECK_VACUOUS, CHECK_INCOMPLETE, CHECK_MISMATCH };

struct check_row {
  const struct dump_entry *a, *b; /* null in the one that lacks it; both null: a row about the manifests */
  char what[96];                  /* of such a row: "attrs.batch" */
  enum check_verdict verdict;
  const char *rule;   /* "identical" | "drift" | "relu" | "exact" | "missing" | "extra" | "dtype" | "shape" | "not finite" | "manifest" */
  double l2, allowed; /* relative; allowed 0 where exact */
  ptrdiff_t where;    /* flat index of the worst element that was seen; -1: none */
  double candidate, expected; /* there */
  bool estimated;             /* l2 is from digests */
  double factor;              /* allowed / drift */
  double norm, max;           /* |a|, L2 and largest element; 0 where the bytes are identical */
  ptrdiff_t zeros_apart;      /* elements that are 0 in one only */
};

struct dump_check {
  struct check_row *row; /* rows about the manifests, A's tensors in order, then what B has besides */
  int count;
  int rows_with[CHECK_MISMATCH + 1], identical;
  enum check_verdict worst;
  const struct check_row *first; /* the first that is wrong or incomplete, in the order of execution; or null */
  ptrdiff_t flips;               /* ReLUs of online that fell the other way */
  bool reordered;                /* B has its tensors in another order */
  double bytes;                  /* of tensors compared, counted once */
};

/* only: a prefix of names, or "" for all. Fails for what cannot be read. dump_check_free when true was returned. */
MUST_CHECK bool dump_check(struct dump_check *c, const struct dump *a, const struct dump *b, const char *only, struct error *err);
void dump_check_free(struct dump_check *c);

/* Name of a row. */
const char *check_row_name(const struct check_row *r);

/* "0.0/forward/online/1/conv1/y[0, 3, 2, 1] is 0.5, expected 0.25 (drift): off by 1e-3 of its norm, allowed 1e-6" */
void check_row_text(const struct check_row *r, char *text, size_t size);

#endif
