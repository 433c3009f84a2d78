/* The parts of a dump that is being written: safetensors files, whose header names everything in them and stands in front.
 *
 * Tensors get their places in a buffer. When it is full it is handed to a thread that writes it while the other buffer fills, past the page
 * cache where the file system can: a dump is large, and copying it through the kernel costs more than all else. A part that ends before
 * that has happened gets a header made to measure; else 1 MiB is kept free for it, and filled up with blanks, as the format allows. A part
 * is full when 2 GiB or the room for its header are used up. */
#ifndef EDIY_ORACLE_DUMP_PART_H
#define EDIY_ORACLE_DUMP_PART_H

#include <pthread.h>

#include "base/error.h"
#include "base/tensor.h"
#include "oracle/text.h"

struct dump_part_write { /* of a buffer, under way */
  bool running, ok;
  pthread_t thread;
  const struct dump_part *part;
  const char *data;
  size_t bytes, at;
  struct error err;
};

struct dump_part {    /* may not be copied once it has begun */
  const char *folder; /* the caller's */
  int number;         /* of the part at hand, from 0 */
  int fd, direct;     /* -1: nothing is written of it yet; past the page cache, or the same */
  struct text header;
  size_t size;               /* bytes of data that have their place */
  char *buffer[2];           /* capacity bytes each */
  size_t capacity, used, at; /* of the buffer at hand; at: of its first byte in the file, once fd is open */
  int now;                   /* the buffer at hand */
  struct dump_part_write write;
};

/* capacity: of each buffer, a multiple of 4096 bytes. dump_part_release in any case. */
MUST_CHECK bool dump_part_begin(struct dump_part *p, const char *folder, size_t capacity, struct error *err);

/* Bytes that the largest tensor may have; whether the part at hand has no room for so many more; whether its buffer has. */
size_t dump_part_most(void);
bool dump_part_full(const struct dump_part *p, size_t bytes);
bool dump_part_fits(const struct dump_part *p, size_t bytes);

/* Names a tensor of this dtype and shape in the header and gives it its place, which the caller fills: it stays as it is until the buffer
 * is turned twice. Null without memory. The part has room for it and it fits. */
void *dump_part_place(struct dump_part *p, const char *name, const struct tensor *t, struct error *err);

/* The same of a tensor of any size, whose data are written. */
MUST_CHECK bool dump_part_stream(struct dump_part *p, const struct tensor *t, struct error *err);

/* Hands the buffer to the thread and goes on in the other. Fails where the write before failed. */
MUST_CHECK bool dump_part_turn(struct dump_part *p, struct error *err);

/* Writes what is left and the header, and goes on to the next part. A part without tensors is none. */
MUST_CHECK bool dump_part_end(struct dump_part *p, struct error *err);

/* Closes the file and frees what is held; the files stay, or go with remove. */
void dump_part_release(struct dump_part *p, bool remove);

#endif
