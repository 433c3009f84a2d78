/* Random cases on a backend, and the smallest case that it fails. */
#ifndef EDIY_ORACLE_FUZZ_H
#define EDIY_ORACLE_FUZZ_H

#include <stdint.h>

#include "base/error.h"
#include "oracle/precision.h"

/* A rejected case. */
struct fuzz_failure {
  bool found, unsteady;
  char text[600], command[1200];
};

struct fuzz_options {
  const char *op; /* null: all */
  const char *on; /* a name of backends.h */
  int precision;  /* enum precision, or -1: what the backend declares */
  double chain;   /* additions one after the other, at most; 0: as many as the backend says (backend_case_chain) */
  int64_t runs, seed;
  bool variants;                                  /* the plain backend in every right way, each at its own precision */
  bool repeat;                                    /* several passes a case (backend_case_run) */
  void (*rejected)(const struct fuzz_failure *f); /* null, or told of each rejected case as it is */
};

/* Runs of one operation, or of one variant. */
struct fuzz_row {
  char name[64];
  int64_t runs, tensors, vacuous, rejected;
};
struct fuzz_tally { /* zeroed by the caller */
  struct fuzz_row *row;
  int count;
};
void fuzz_tally_free(struct fuzz_tally *t);

/* failure: the first rejected case, made as small as it stays rejected. */
MUST_CHECK bool fuzz(const struct fuzz_options *o, struct fuzz_tally *tally, struct fuzz_failure *failure,
                     void (*progress)(int64_t done, int64_t of), struct error *err);

#endif
