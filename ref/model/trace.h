/* Watching a run: a callback sees every tensor of every layer as it is made, forward, loss, backward, optimiser and moving average.
 *
 * The model code does not know who watches. Tensors are the backend's memory (download them before reading on a GPU) and are valid only
 * during the call: the next layer may reuse the bytes.
 */
#ifndef EDIY_MODEL_TRACE_H
#define EDIY_MODEL_TRACE_H

#include "base/real.h"
#include "base/tensor.h"

#ifndef EDIY_MODEL_TRACE_TYPES
#define EDIY_MODEL_TRACE_TYPES
enum phase { PHASE_FORWARD, PHASE_MATCH, PHASE_LOSS, PHASE_BACKWARD, PHASE_OPTIMISER, PHASE_EMA };

struct trace_event {
  enum phase phase;
  const char *network; /* "online", "target", "teacher"; "" for what belongs to none */
  int view;            /* 1 or 2; 0 for what belongs to neither */
  const char *layer;   /* PyTorch's module name, or the name of a loss */
  const char *tensor;  /* "y", "running_mean", "dy", "dweight", "weight", "momentum", ... */
  struct tensor data;  /* dtype and shape as the backend holds it */
};

struct trace {
  void (*see)(void *context, const struct trace_event *event);
  void *context;
  bool joins; /* operations may be computed as one where a backend can: what would be between them is not seen */
};
#endif

#endif
