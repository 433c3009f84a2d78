/* The verdict on a case: every expected tensor against what a run produced.
 *
 * The error of an element is |candidate - expected| / max |expected|. What is allowed is derived, not tuned; see compare.c. An expected
 * tensor that the run lacks, or has in another shape, is a failure; so is a NaN where none is expected.
 */
#ifndef EDIY_ORACLE_COMPARE_H
#define EDIY_ORACLE_COMPARE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/tensor.h"
#include "oracle/decisions.h"
#include "oracle/run.h"

struct tolerance {
  double peak;  /* of max |c - y| / max |y|; 0: bit for bit, up to the sign of zero, y rounded to the candidate's precision first */
  double l2;    /* of |c - y| / |y|, the L2 norms over the tensor; infinity: not asked */
  double scale; /* divides the errors in place of max |y| and |y| where the true value is zero; 0: none */
};

struct finding {
  char tensor[TENSOR_MAX_NAME]; /* name in the file, with #digest */
  bool pass;
  const char *rule;           /* what was judged: "element", "exact", "l2", "digest sum", "missing", ... */
  char where[96];             /* index of the worst element: [2, 0, 1] */
  double candidate, expected; /* there */
  double error, allowed;      /* as in struct tolerance, absolute where exact; infinite error: NaN, or no number to compare */
};

struct verdict {
  struct finding *finding; /* one for each expected tensor, in the order of the file */
  int count, failures;
  int unsteady; /* tensors for which the file cannot decide in float: see compare.c */
};

/* One tensor. f->pass, rule, where, candidate, expected, error, allowed: filled; the worst of what is over, or of all. */
void compare_tensor(const struct tensor *expected, const struct tensor *candidate, const struct tolerance *allowed, struct finding *f);

/* A whole case, computed with this precision (32 or 64). truth: null, or a run of the same case in double that was forced to the decisions
 * d of this run: a tensor that the file rejects, or cannot decide, is then held to it. Fails only for lack of memory; a mismatch is in the
 * verdict. */
MUST_CHECK bool compare_case(const struct case_run *run, int bits, const struct case_run *truth, const struct decisions *d,
                             struct verdict *v, struct error *err);
void verdict_free(struct verdict *v);

/* Adds a failure that is not of a tensor, at most once a verdict. */
void verdict_fail(struct verdict *v, const char *what, const char *rule);

/* Flat index of t as text: "[2, 0, 1]". */
void compare_index_text(const struct tensor *t, ptrdiff_t flat, char *text, size_t size);

/* What a result of a run may be off by at this precision (32 or 64), where there is no gauge: see compare.c. name: of expected, without
 * #digest. */
struct tolerance compare_tolerance(const struct case_run *run, int bits, const struct tensor *expected, const char *name);

/* One line: "grad_in.x[2, 0, 1] is 0.5, expected 0.25 (element): off by 1e-1, allowed 2e-6". */
void finding_text(const struct finding *f, char *text, size_t size);

#endif
