/* Every operation a case may name: one list, which declares the runners of both precisions and fills the table.
 *
 * A runner reads the inputs of the case from the run, calls the operations of ref/, and leaves every result it can compute in the run.
 * Adding an operation: a line here, a function case_NAME in oracle/twice/.
 */
#ifndef EDIY_ORACLE_OPERATIONS_H
#define EDIY_ORACLE_OPERATIONS_H

#include "oracle/run.h"

#define CASE_OPERATIONS(entry)                                                                                                             \
  entry(conv) entry(linear) entry(norm) entry(relu) entry(maxpool) entry(avgpool) entry(mlp) entry(match) entry(loss) entry(lars)          \
      entry(ema) entry(schedule) entry(knn) entry(linear_eval) entry(collapse) entry(augment) entry(block) entry(backbone) entry(step)

#define DECLARE_RUNNERS(op)                                                                                                                \
  bool case_##op##_f32(struct case_run *run);                                                                                              \
  bool case_##op##_f64(struct case_run *run);
CASE_OPERATIONS(DECLARE_RUNNERS)
#undef DECLARE_RUNNERS

/* Runs the case in float (bits 32) or double (64) and checks the run (run_finish). An unknown operation is a failure. */
MUST_CHECK bool case_compute(struct case_run *run, int bits);

#endif
