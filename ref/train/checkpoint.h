/* Checkpoints: one safetensors file each, whole or not there, checked by SHA-256 when read.
 *
 * Tensors, under PyTorch's names and in its order of dimensions (O I H W):
 *     online.NAME  target.NAME  teacher.NAME     parameters and running statistics
 *     momentum.NAME                              LARS's buffers, by online name
 * Metadata, all text:
 *     format       ediy-checkpoint-1
 *     step         optimiser steps done
 *     config       the resolved configuration, as lines of "key = value"
 *     data         fingerprint of the data set (dataset.h)
 *     sha256       over every other pair of metadata and every tensor (name, dtype, shape, bytes), in a fixed order
 */
#ifndef EDIY_TRAIN_CHECKPOINT_H
#define EDIY_TRAIN_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/safetensors.h"
#include "model/model.h"

enum { CHECKPOINT_PATH = 4096 + 64 };

/* An open checkpoint; its hash has been verified. */
struct checkpoint {
  struct safetensors file;
  int64_t step;
  const char *config, *data; /* in the file's metadata */
};

/* Writes the model's state after `step` steps to path. Needs checkpoint_bytes of memory meanwhile. Fails, and writes nothing, where a
 * number of it is not finite: nothing that came of it could be used. */
MUST_CHECK bool checkpoint_save(const char *path, struct model_f32 *m, int64_t step, const char *config, const char *data,
                                struct error *err);

/* Bytes of all tensors of a model's checkpoint. */
size_t checkpoint_bytes(const struct model_f32 *m);

/* Opens and verifies. Messages tell apart: no such file, cut short or otherwise damaged, a wrong hash (with both), no checkpoint of this
 * program. */
MUST_CHECK bool checkpoint_open(struct checkpoint *c, const char *path, struct error *err);
void checkpoint_close(struct checkpoint *c);

/* Whether an open file says that it is a checkpoint of this program; and whether it is a whole one, as checkpoint_open says. */
bool checkpoint_is_one(const struct safetensors *f);
MUST_CHECK bool checkpoint_verify(const struct safetensors *f, struct error *err);

/* Fills the model. Fails for another architecture with the first tensor that is missing, is not expected, or does not fit with both shapes;
 * the model is then unfit to be used. */
MUST_CHECK bool checkpoint_load(const struct checkpoint *c, struct model_f32 *m, struct error *err);

/* folder/checkpoint-STEP.safetensors, the step with eight digits so that names sort. */
void checkpoint_path(const char *folder, int64_t step, char path[CHECKPOINT_PATH]);

/* The newest whole checkpoint of the folder, by step: opened and verified in *c with *found true. Damaged ones on the way are passed over,
 * each with a line to report (may be null). *found false: there is none. Fails when there are checkpoints and none is whole, or the
 * folder cannot be read. */
MUST_CHECK bool checkpoint_latest(const char *folder, struct checkpoint *c, bool *found, void (*report)(void *context, const char *line),
                                  void *context, struct error *err);

/* Removes leftovers, and all checkpoints of the folder that are older than that of step `newest`, but that of step `before` (-1: none).
 * Both the caller knows to be whole: by number alone, a damaged one would be kept in the place of a good one. What is newer stays. The
 * caller is the folder's one writer (log.h). */
void checkpoint_prune(const char *folder, int64_t newest, int64_t before);

/* Temporary files (file.h) in a run's folder that nobody will finish: a process was killed in the middle of writing a checkpoint,
 * backbone.safetensors or config.txt. */
struct leftovers {
  int count;
  size_t bytes;
  char first[256]; /* the name of one; empty if there is none */
};

/* Finds them, and with `remove` removes them: the caller then is the folder's one writer, so that no temporary checkpoint can be another's.
 * One of the other two files stays while the process lives whose number it bears: other verbs may write these. Only ordinary files of the
 * folder itself; one that cannot be removed does no harm, and is not counted. */
struct leftovers checkpoint_leftovers(const char *folder, bool remove);

/* Reads a network's weights for use elsewhere (evaluation, a teacher): from a checkpoint of this program (online branch) or any safetensors
 * file with torchvision's names, into a host state block. prefix, of the latter's names, and heads_too as exchange_import_foreign. */
MUST_CHECK bool weights_load(const struct net *net, const char *path, char prefix[TENSOR_MAX_NAME], bool heads_too, float *state,
                             struct error *err);

#endif
