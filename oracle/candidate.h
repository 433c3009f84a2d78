/* Somebody else's results of a case, judged.
 *
 * The truth is the reference in double, computed anew from the inputs of the case (and refused as a truth where it disagrees with what the
 * case expects). A float tensor of an operation with a gauge is judged by the acceptance rule (accept.h), of any other operation by the
 * relative rule of compare.c, widened by the unit roundoff of the declared precision. Decisions are judged first and then forced into the
 * truth:
 *
 * - regions matched: an index is right if its similarity is within rounding of the best; of exact ties the lowest index wins
 * - batch norm with ReLU: what the candidate let through decides the gradient; where it decided otherwise than the truth, the truth must be
 *   within rounding of zero
 * - max pool: exact, on inputs rounded to the declared precision
 *
 * After a tensor has passed, the same rule must reject wrong ones (audit.h): a tensor of which it accepts one is VACUOUS.
 *
 * What belongs to what: bench.h all runs of the case, measure.h one tensor, decide.h decisions, audit.h the audit. */
#ifndef EDIY_ORACLE_CANDIDATE_H
#define EDIY_ORACLE_CANDIDATE_H

#include <stdbool.h>

#include "base/error.h"
#include "oracle/case.h"
#include "oracle/compare.h"
#include "oracle/measure.h"
#include "oracle/precision.h"

enum judgement { JUDGED_PASS, JUDGED_VACUOUS, JUDGED_INCOMPLETE /* missing or extra */, JUDGED_MISMATCH, JUDGED_UNREADABLE };
extern const char *const judgement_names[]; /* "pass", "vacuous", ... */

struct judged {
  struct finding finding;
  enum judgement judgement;
  const char *accepted; /* vacuous: what the rule would accept as well */
  bool gauge;           /* judged by the acceptance rule */
  bool profiled;        /* numbers were compared: */
  struct error_profile profile;
};

struct judged_file {
  struct judged *tensor;
  int count;
  enum judgement worst;
};

enum { CHAIN_USUAL = 1024 }; /* additions one after the other that no kernel has to declare */

/* candidate: count tensors by the names of the case, from wherever; their data are only read. chain: additions that the kernel makes one
 * after the other, at most; never more than the sum has. trusted: the case has no expected values, only names and shapes (memory_case.h),
 * and the reference is not held to it. Returns false when there is nothing to judge: a case that the reference cannot compute, or disagrees
 * with. j: judged_free when true was returned. */
MUST_CHECK bool candidate_judge_tensors(const struct case_file *c, const struct tensor *candidate, int count,
                                        const struct precision_class *p, double chain, bool trusted, struct judged_file *j,
                                        struct error *err);

/* The same; other: results of another pass over the same operation, which the audit takes for stale memory. */
MUST_CHECK bool candidate_judge_beside(const struct case_file *c, const struct tensor *candidate, int count, const struct tensor *other,
                                       int others, const struct precision_class *p, double chain, bool trusted, struct judged_file *j,
                                       struct error *err);

/* The same of a backend in mixed precision (mixed.h): each result is held to its own class. */
MUST_CHECK bool candidate_judge_mixed(const struct case_file *c, const struct tensor *candidate, int count, enum precision declared,
                                      double chain, bool trusted, struct judged_file *j, struct error *err);

/* The same of a safetensors file, against a case with expected values. only: null, or a name with * for
 * anything; of what the case expects the tensors of such names alone are asked for and judged. */
MUST_CHECK bool candidate_judge(const struct case_file *c, const char *path, const struct precision_class *p, double chain,
                                const char *only, struct judged_file *j, struct error *err);
void judged_free(struct judged_file *j);

/* Judges numbers c of a measured tensor, audits them and fills j but for the name of the tensor. check: null, or what must hold beside the
 * measure (a decision), with the finding to fill where it does not. */
typedef bool judged_check(const void *context, const double *c, struct finding *f);
MUST_CHECK bool judge_measured(const struct measure *m, const double *c, judged_check *check, const void *context, struct judged *j,
                               struct error *err);

/* Whether the candidate has the type and shape of the truth; else j says what it has. */
bool judge_form(const struct tensor *truth, const struct tensor *candidate, struct judged *j);

/* As finding_text (compare.h); of rules about a whole tensor, what they measured. */
void judged_text(const struct finding *f, char *text, size_t size);

#endif
