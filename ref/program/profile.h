/* A backend that times another: every operation is passed on and waited for, its time, arithmetic and bytes are added up by part. The model runs on
 * it unchanged. */
#ifndef EDIY_PROGRAM_PROFILE_H
#define EDIY_PROGRAM_PROFILE_H

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

struct profile {
  double seconds[PARTS], flops[PARTS]; /* flops: multiplications and additions of the definition */
  double bytes[PARTS];                 /* each operand read or written once */
  long calls[PARTS];
};

extern const char *const part_name[PARTS];

/* The profiling form of a backend. There is one profile in a process: the operations of a backend carry no context. */
const struct backend *profile_backend(const struct backend *inner);
void profile_reset(void);
struct profile profile_read(void);

#endif
