/* The log of a run: one JSON object a line (JSON Lines), flushed line by line, so that it can be read while the run goes on. What is
 * shown to a person watching is progress.h. */
#ifndef EDIY_TRAIN_LOG_H
#define EDIY_TRAIN_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

/* What is known after an optimiser step; the losses and times are means over the steps since the last record. */
struct record {
  int64_t step, epoch; /* steps and whole epochs done */
  double lr, tau;      /* of the last step */
  double total, rdem, riem, byol;
  bool regions;                 /* rdem, riem and the diagnostics of regions exist */
  double std_global, std_local; /* collapse: spread of the normalised predictions and regions; 1 / sqrt(d) is the ideal, 0 is collapse */
  double region_cosine;         /* mean cosine of the regions of an image; 1 is collapse */
  double entropy_rdem, entropy_riem;  /* of the matched indices, nats */
  double images_per_s, loader_wait_s; /* seconds a step that the trainer waited for data */
  int64_t bad_files;
};

/* How the line of a record begins. */
#define RECORD_BEGIN "{\"step\": "

struct log {
  FILE *file;
  char *path;  /* owned */
  bool locked; /* false on a file system without locks: nobody knows who else writes in the folder */
};

/* Opens path for appending. Lines whose step is above keep_steps, a torn last line, and everything after the first line that is no record
 * are cut off, so that a resumed run goes on as one in a single piece would have. keep_steps = 0 begins anew. The open log is the lock of a
 * run's folder: opening it twice, from anywhere on this machine, fails. */
MUST_CHECK bool log_open(struct log *log, const char *path, int64_t keep_steps, struct error *err);

/* Locks the folder of a run whose log is not written, or not yet: opens the log, if it is there, for reading. Fails where another holds it,
 * as log_open does; that there is none, or that it cannot be read, is no failure, and log->locked alone says whether nobody else is at work
 * there. log_close afterwards, whatever came of it, and before a log_open, which locks anew. */
MUST_CHECK bool log_hold(struct log *log, const char *path, struct error *err);

/* Appends one line and flushes it. Not-a-number and infinities, which JSON has not, are written as null. Numbers read back exactly. */
MUST_CHECK bool log_write(struct log *log, const struct record *r, struct error *err);

void log_close(struct log *log);

/* The line of a record, with its newline; returns its length, as snprintf. */
int record_format(const struct record *r, char *text, size_t size);

#endif
