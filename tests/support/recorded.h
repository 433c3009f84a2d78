/* Training steps of a small network as a dump in memory, whose tensors may be written to: what replay is tested on. */
#ifndef EDIY_TESTS_RECORDED_H
#define EDIY_TESTS_RECORDED_H

#include "oracle/dump.h"

struct recorded_options {
  struct model_config config;
  int micro_batches, steps;
  uint64_t seed;
  const struct backend_f32 *backend; /* null: the reference */
};

/* Basic blocks, one a stage, widths from 8 on, 64 x 64 pixels, batch 4: 4 regions. */
struct recorded_options recorded_small(void);

/* Runs the steps from drawn states and views, and keeps every tensor. Stops the test where it cannot. */
void recorded_make(struct dump *d, const struct recorded_options *o);
void recorded_free(struct dump *d);

/* The entry of this name, or the test stops. */
struct dump_entry *recorded_entry(struct dump *d, const char *name);

/* The dump without this entry, and with one more that is a copy of another under a new name. */
void recorded_remove(struct dump *d, const char *name);
void recorded_copy(struct dump *d, const char *from, const char *name);

/* As a folder that the programs can read. */
void recorded_write(const struct dump *d, const char *folder);

#endif
