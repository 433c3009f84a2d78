/* The parts of a dump that is being written: safetensors files, whose header names everything in them and stands in front.
 *
 * Tensors are first given their places, and written to them later, in any order and by any thread. A part that was ended before anything of
 * it was written gets a header made to measure; else HEADER_ROOM bytes are kept free for it, and filled up with blanks, as the format allows. A
 * part is full when 2 GiB or the room for its header are used up. */
#ifndef EDIY_ORACLE_DUMP_PART_H
#define EDIY_ORACLE_DUMP_PART_H

#include "base/error.h"
#include "base/tensor.h"
#include "oracle/text.h"

struct dump_part {
  const char *folder; /* the caller's */
  int number;         /* of the part at hand, from 0 */
  int fd;             /* -1: nothing is written of it yet */
  struct text header;
  size_t room, size; /* bytes of its header, once fd is open, and of data that have their place */
};

/* Bytes that the largest tensor may have. */
size_t dump_part_most(void);

/* Whether the part at hand has no room for so many bytes more. */
bool dump_part_full(const struct dump_part *p, size_t bytes);

/* Gives a tensor of this dtype and shape its place: *offset is that of its first byte among the data. */
MUST_CHECK bool dump_part_place(struct dump_part *p, const char *name, const struct tensor *t, size_t *offset, struct error *err);

/* Creates the file if need be. ending: everything has its place. */
MUST_CHECK bool dump_part_open(struct dump_part *p, bool ending, struct error *err);

/* Writes what belongs at this offset; of an open part, by any number of threads at a time. */
MUST_CHECK bool dump_part_write(const struct dump_part *p, const void *data, size_t bytes, size_t offset, struct error *err);

/* Writes the header, closes the file and goes on to the next part; the part must be open. */
MUST_CHECK bool dump_part_end(struct dump_part *p, struct error *err);

/* Closes the file and frees what is held; the files stay, or go with remove. */
void dump_part_release(struct dump_part *p, bool remove);

#endif
