/* What a backend has beside the operations when they run on another machine than the host, while it goes on: copies at the same time as
 * operations, and operations that are enqueued once and for all. Null in one that is done with an operation when it returns (the
 * reference).
 *
 * Operations run in the order of the calls. Copies of send run beside them, in their own order; two lanes take turns, so that one buffer
 * fills while the operations read the other:
 *
 *     send(lane, to, pinned, bytes)     once or more; waits on the device until what was enqueued before the last leave(lane) is done
 *     arrive(lane)                      what is enqueued from here on waits on the device until all of that is there
 *     ... operations that read `to` ...
 *     leave(lane)
 *
 * Nothing here makes the host wait but sent. Failures are kept, as those of operations are, for the table's status.
 */
#ifndef EDIY_OP_PIPELINE_H
#define EDIY_OP_PIPELINE_H

#include <stddef.h>

#include "base/error.h"

enum { PIPELINE_LANES = 2 };

struct recording; /* of a backend */
struct augment_item;

struct pipeline {
  /* Page-locked host memory: the only kind that send and fetch take. */
  bool (*pin)(size_t bytes, void **memory, struct error *err);
  void (*unpin)(void *memory);

  void (*send)(int lane, void *to, const void *pinned, size_t bytes);
  void (*arrive)(int lane);
  void (*leave)(int lane);
  void (*sent)(int lane); /* the host waits until what was sent is there: it may write the pinned memory again */
  void (*fetch)(void *pinned, const void *from, size_t bytes); /* in the order of the operations; it is there once status has been asked */

  /* Calls section(context) to have recorded what it enqueues, instead of doing it. Null, with one line in err, if that cannot be: the
   * backend is then as before. The section must enqueue the same, with the same arguments, whenever it is called; reserve and wait for
   * nothing; and have been run before, so that whatever is set up at a first call is. replay enqueues all of it. */
  struct recording *(*record)(void (*section)(void *context), void *context, struct error *err);
  void (*replay)(const struct recording *recording);
  void (*forget)(struct recording *recording); /* null is allowed */

  /* Views of images that are in the backend's memory, with the reference's bits (image/augment.h); item is host memory and may be reused at
   * once. scratch: bytes for so many views of one size, whatever their windows. */
  size_t (*views_scratch)(ptrdiff_t count, int size);
  void (*views)(ptrdiff_t count, const struct augment_item *item, void *scratch);
};

#endif
