/* Golden dumps: every tensor of one or more whole training steps, in the order of execution, in a folder (docs/golden-format.md).
 *
 *     manifest.json                  what was run, and a line for each tensor: name, part, dtype, shape, SHA-256
 *     part-00000.safetensors ...     the numbers, at most 2 GiB a part
 *
 * A full dump holds the tensors. A digest dump holds a digest of each (digest.h), in a few hundred bytes. Names are
 *
 *     STEP.MICRO/PHASE/NETWORK/VIEW/LAYER/TENSOR      0.0/forward/online/1/layer1.0.conv1/y
 *
 * with NETWORK "-" and VIEW 0 for what belongs to none.
 */
#ifndef EDIY_ORACLE_DUMP_H
#define EDIY_ORACLE_DUMP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/safetensors.h"
#include "base/sha256.h"
#include "model/model.h"
#include "oracle/precision.h"

enum dump_kind { DUMP_FULL, DUMP_DIGEST };

#define DUMP_MANIFEST "manifest.json"

enum { DUMP_PHASE = 16, DUMP_NETWORK = 16, DUMP_LAYER = NET_NAME, DUMP_TENSOR = 32 }; /* bytes, the end of the string among them */

struct dump_entry {
  char name[TENSOR_MAX_NAME];
  int step, micro, view; /* step: counted from 0 within the dump */
  char phase[DUMP_PHASE], network[DUMP_NETWORK], layer[DUMP_LAYER], tensor[DUMP_TENSOR];
  struct tensor data; /* full: the tensor, in the mapped part, maybe unaligned. digest: its digest, F64. dtype and ndim are the part's */
  enum dtype dtype;   /* of the tensor itself: as data in a full dump */
  int ndim;
  ptrdiff_t shape[TENSOR_MAX_DIMS];
  char sha256[SHA256_HEX_SIZE]; /* of the tensor's bytes */
  int part;
  double drift;             /* relative L2 difference that right implementations of the class show here; below 0: not known */
  enum precision precision; /* of this tensor, or of the dump */
  double chain;
};

struct dump {
  const char *path; /* of the folder; owned */
  json_t *manifest; /* without "tensors", which are entries */
  enum dump_kind kind;
  enum precision precision;
  double chain;
  struct dump_entry *entry; /* in the order of execution */
  int count;
  int *by_name;
  struct safetensors *part;
  int parts;
};

/* ---- reading (dump_read.c) ---------------------------------------------------------------------------------------------------------- */

/* Opens and checks everything but hashes: the manifest, that every part is there, and that manifest and parts name the same tensors with
 * the same dtypes and shapes. Parts are mapped. On failure nothing is held. */
MUST_CHECK bool dump_open(struct dump *d, const char *folder, struct error *err);
void dump_close(struct dump *d);

/* The manifest alone, from memory: what dump_open checks of it. path is for messages. Entries have no data. */
MUST_CHECK bool dump_parse(struct dump *d, const char *text, size_t size, const char *path, struct error *err);

/* Hashes every tensor of a full dump; fails with the first whose bytes are not those of its SHA-256. Of a digest dump there is nothing to
 * hash: the tensors are not there. */
MUST_CHECK bool dump_verify(const struct dump *d, struct error *err);

/* The tensor of this name, or null. */
const struct dump_entry *dump_find(const struct dump *d, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What the steps ran with, from "attrs". Fails with the first attribute that is missing, of another type or out of range. */
MUST_CHECK bool dump_model_config(const struct dump *d, struct model_config *c, int *micro_batches, struct error *err);

/* ---- names (dump_name.c) ------------------------------------------------------------------------------------------------------------ */

/* Fills name, step, micro, view, phase, network, layer, tensor. */
MUST_CHECK bool dump_name_parse(const char *name, struct dump_entry *e, struct error *err);

/* Where a tensor stands among others in the order of execution; equal for what one pass of one network makes. */
long dump_name_rank(const struct dump_entry *e);

/* ---- writing (dump_write.c) --------------------------------------------------------------------------------------------------------- */

/* A dump being written. Tensors go to the parts as they come; the manifest is written last, and a folder without one is no dump. Whatever
 * ends early takes its parts with it. */
struct dump_writer;

/* The folder is created if need be. Fails where it holds a dump already, or another writer is at work in it. */
MUST_CHECK bool dump_create(struct dump_writer **w, const char *folder, enum dump_kind kind, struct error *err);

/* Puts a value into the manifest; takes the reference. Needed: producer, precision, attrs, steps. Order of calls is order in the file. */
void dump_describe(struct dump_writer *w, const char *key, json_t *value);

/* Adds a tensor in host memory under its name; a digest dump keeps its digest. Tensors come in the order of execution. */
MUST_CHECK bool dump_add(struct dump_writer *w, const struct tensor *t, struct error *err);
/* The same of a tensor that is declared apart: with a class, or null for the dump's; with a chain of additions, or 0 for the dump's. */
MUST_CHECK bool dump_add_as(struct dump_writer *w, const struct tensor *t, const enum precision *own, double chain, struct error *err);

/* Both free the writer; commit also when it fails. */
MUST_CHECK bool dump_commit(struct dump_writer *w, struct error *err);
void dump_abandon(struct dump_writer *w);

/* "attrs" of a configuration: the reverse of dump_model_config. */
json_t *dump_attributes(const struct model_config *c, int micro_batches);

/* Writes drift[i] of every entry (below 0: none) into the manifest of an open dump, which it replaces. */
MUST_CHECK bool dump_annotate(const struct dump *d, const double *drift, struct error *err);

#endif
