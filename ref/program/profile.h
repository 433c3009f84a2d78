/* A backend that times another: every operation is passed on, and its time, arithmetic and bytes are added up, by its kind and by the stage
 * of the step that it belongs to. The model runs on it unchanged.
 *
 * A backend that works on its own is timed by its own clock (mark, seconds_between): the time of an operation is from its beginning to that
 * of the next operation, and nothing waits for it. Others are timed by the host's.
 *
 * A step:  profile_begin_step, then the model's calls on this table, model_accumulate with profile_trace, then profile_end_step, which
 *          waits.
 */
#ifndef EDIY_PROGRAM_PROFILE_H
#define EDIY_PROGRAM_PROFILE_H

#include "model/trace.h"
#include "op/backend.h"

enum part {
  PART_CONV_FORWARD,
  PART_CONV_BACKWARD_DATA,
  PART_CONV_BACKWARD_WEIGHTS,
  PART_NORM_FORWARD,
  PART_NORM_BACKWARD,
  PART_POOL,
  PART_HEADS_FORWARD,
  PART_HEADS_BACKWARD,
  PART_MATCH,
  PART_LOSSES,
  PART_OPTIMISER,
  PART_AVERAGE,
  PART_MEMORY,
  PARTS
};

enum stage {
  STAGE_TEACHER,
  STAGE_MATCH,
  STAGE_TARGET,
  STAGE_ONLINE,
  STAGE_LOSSES,
  STAGE_BACKWARD,
  STAGE_LARS,
  STAGE_AVERAGE,
  STAGE_OTHER,
  STAGES
};

extern const char *const part_name[PARTS], *const stage_name[STAGES];

/* What the machine can do; 0 where it is not known. */
struct profile_peaks {
  double flops, bytes; /* a second */
};

struct profile_sum {
  double seconds, flops; /* flops: multiplications and additions of the definition */
  double bytes;          /* each operand read or written once */
  double floor;          /* seconds: sum over operations of the longer of flops and bytes at the machine's peaks */
  long calls;
};

struct profile {
  struct profile_sum part[PARTS], stage[STAGES];
};

/* The profiling form of a backend. There is one profile in a process: the operations of a backend carry no context. */
const struct backend *profile_backend(const struct backend *inner);

void profile_begin_step(const struct profile_peaks *peaks);
struct profile profile_end_step(void);

/* Says which stage the operations since the last call, or since profile_trace last saw something, belong to. */
void profile_end_stage(enum stage stage);
extern const struct trace profile_trace;

#endif
