/* Somebody else's results of a case, as a safetensors file, judged.
 *
 * The truth is the reference in double, computed anew from the inputs of the case (and refused as a truth where it disagrees with what
 * the case
 * expects). A float tensor of an operation with a gauge is judged by the acceptance rule (accept.h), of any other operation by the relative
 * rule of compare.c, widened by the unit roundoff of the declared precision. Decisions are judged first and then forced into the truth:
 *
 * - regions matched: an index is right if its similarity is within rounding of the best; of exact ties the lowest index wins
 * - batch norm with ReLU: what the candidate let through decides the gradient; where it decided otherwise than the truth, the truth must be
 *   within rounding of zero
 * - max pool: exact, on inputs rounded to the declared precision
 *
 * After a tensor has passed, the same rule must reject wrong ones (audit below): a tensor of which it accepts one is VACUOUS. */
#ifndef EDIY_ORACLE_CANDIDATE_H
#define EDIY_ORACLE_CANDIDATE_H

#include <stdbool.h>

#include "base/error.h"
#include "oracle/case.h"
#include "oracle/compare.h"
#include "oracle/precision.h"

enum judgement { JUDGED_PASS, JUDGED_VACUOUS, JUDGED_INCOMPLETE /* missing or extra */, JUDGED_MISMATCH, JUDGED_UNREADABLE };

struct judged {
  struct finding finding;
  enum judgement judgement;
  const char *accepted; /* vacuous: what the rule would accept as well */
  bool gauge;           /* judged by the acceptance rule */
};

struct judged_file {
  struct judged *tensor;
  int count;
  enum judgement worst;
};

enum { CHAIN_USUAL = 1024 }; /* additions one after the other that no kernel has to declare */

/* chain: additions that the kernel makes one after the other, at most; never more than the sum has. Returns false when there is nothing
 * to judge: a file that cannot
 * be read, a case that the reference disagrees with. j: judged_free when true was returned. */
MUST_CHECK bool candidate_judge(const struct case_file *c, const char *path, const struct precision_class *p, double chain,
                                struct judged_file *j, struct error *err);
void judged_free(struct judged_file *j);

#endif
