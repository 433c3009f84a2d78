/* The shim's streams: what is put into them, when it runs, events between them, graphs, and which calls make the host wait. See shim.h. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern "C" {
#include "cuda/shim_control.h"
}
#include "cuda/shim_memory.h"

enum shim_order shim_order = SHIM_AT_ONCE;
struct shim_counts shim_counts;

static enum shim_order order_of_name(const char *name) {
  static const char *const names[SHIM_ORDERS] = {"", "copies-late", "copies-early", "late"};
  for (int order = 1; name && order < SHIM_ORDERS; order++)
    if (strcmp(name, names[order]) == 0) return (enum shim_order)order;
  return SHIM_AT_ONCE;
}
static const bool order_is_set = (shim_order = order_of_name(getenv("EDIY_SHIM_ORDER")), true); /* for a program under test */

/* ---- what is in a stream ------------------------------------------------------------------------------------------------------------- */

enum task_kind { WORK, RECORD, WAIT };
struct task {
  struct task *next;
  enum task_kind kind;
  void (*run)(const void *context, bool in_graph);
  struct shim_event *event; /* of RECORD and WAIT */
  uint64_t version;         /* which record of it */
};                          /* the bytes of the context stand behind it */
enum { TASK_BYTES = (sizeof(struct task) + 15) / 16 * 16 };
static void *context_of(const struct task *t) { return (unsigned char *)(uintptr_t)t + TASK_BYTES; }
struct list {
  struct task *first, **last;
};
struct shim_event {
  struct shim_stream *stream; /* of the last record */
  uint64_t recorded, reached; /* records that were put into a stream, and that have run */
  bool has_time;
  struct timespec at; /* of the last that has run */
};
struct shim_graph {
  struct list tasks;
  bool broken;
};
struct shim_stream {
  struct list tasks;
  struct shim_graph *recording;
  bool is_first; /* of the process: the one of the operations */
  struct shim_stream *next;
};
static struct shim_stream *streams;

static void append(struct list *l, struct task *t) {
  if (!l->first) l->last = &l->first;
  t->next = nullptr;
  *l->last = t, l->last = &t->next;
}

static void free_tasks(struct list *l) {
  while (l->first) {
    struct task *t = l->first;
    l->first = t->next;
    free(t);
  }
}

static void run_first(struct shim_stream *s);
static void run_until(const struct shim_event *e, uint64_t version) {
  while (e->reached < version && e->stream->tasks.first) run_first(e->stream);
}

/* A failure of the device stops what is in the streams, not the host's bookkeeping. */
static void run_first(struct shim_stream *s) {
  struct task *t = s->tasks.first;
  s->tasks.first = t->next;
  if (t->kind == WAIT) run_until(t->event, t->version);
  if (t->kind == RECORD) t->event->reached = t->version, clock_gettime(CLOCK_MONOTONIC, &t->event->at);
  if (t->kind == WORK && !shim_has_failed()) t->run(context_of(t), false);
  free(t);
}

static void drain(struct shim_stream *s) {
  while (s->tasks.first) run_first(s);
}
static void drain_all(void) {
  for (struct shim_stream *s = streams; s; s = s->next) drain(s);
}

/* ---- what recording does not allow --------------------------------------------------------------------------------------------------- */

/* Whether a recording is under way that this call breaks, which is reported. */
static bool breaks_recording(const char *call) {
  for (struct shim_stream *s = streams; s; s = s->next)
    if (s->recording) {
      s->recording->broken = true;
      shim_fail_launch(cudaErrorStreamCaptureUnsupported, "%s while a graph is recorded", call);
      return true;
    }
  return false;
}

bool shim_is_recording(cudaStream_t s) { return s->recording; }

/* Reserving may wait for what is in the streams, and nothing may rest on it: here it never does. Releasing always waits (CUDA programming
 * guide, "Stream-Ordered Memory Allocator"). */
bool shim_stops(const char *call, bool waits) {
  shim_counts.allocations++;
  if (breaks_recording(call)) return true;
  if (waits) drain_all();
  return false;
}

/* ---- putting it there ---------------------------------------------------------------------------------------------------------------- */

static bool runs_at_once(const struct shim_stream *s) {
  return shim_order == SHIM_AT_ONCE || (shim_order != SHIM_ALL_LATE && (shim_order == SHIM_COPIES_LATE) == s->is_first);
}

static void put(struct shim_stream *s, enum task_kind kind, struct shim_event *e, uint64_t version, void (*run)(const void *, bool),
                const void *context, size_t bytes) {
  struct task *t = static_cast<struct task *>(malloc(TASK_BYTES + bytes));
  if (!t) abort();
  t->kind = kind, t->event = e, t->version = version, t->run = run;
  if (bytes > 0) memcpy(context_of(t), context, bytes);
  append(s->recording ? &s->recording->tasks : &s->tasks, t);
  if (!s->recording && runs_at_once(s)) drain(s);
}

void shim_enqueue(cudaStream_t stream, void (*run)(const void *context, bool in_graph), const void *context, size_t bytes) {
  put(stream, WORK, nullptr, 0, run, context, bytes);
}

struct copy {
  void *to;
  const void *from;
  int value;
  size_t bytes;
};
static void run_copy(const void *context, bool) {
  struct copy c;
  memcpy(&c, context, sizeof c);
  shim_open_memory();
  memmove(c.to, c.from, c.bytes);
  shim_close_memory();
}
static void run_set(const void *context, bool) {
  struct copy c;
  memcpy(&c, context, sizeof c);
  shim_open_memory();
  memset(c.to, c.value, c.bytes);
  shim_close_memory();
}

/* Memory of the host that is not page-locked: the host waits. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t s) {
  if (shim_has_failed()) return shim_status();
  bool to_device = shim_is_device(to, bytes), from_device = shim_is_device(from, bytes);
  if (to_device != (kind != cudaMemcpyDeviceToHost) || from_device != (kind != cudaMemcpyHostToDevice)) return cudaErrorInvalidValue;
  const struct copy c = {to, from, 0, bytes};
  bool pageable = (!to_device && !shim_is_pinned(to, bytes)) || (!from_device && !shim_is_pinned(from, bytes));
  if (pageable) {
    shim_counts.pageable++;
    if (breaks_recording("cudaMemcpyAsync of pageable memory")) return shim_status();
    drain(s);
    if (shim_has_failed()) return shim_status();
    run_copy(&c, false);
  } else
    shim_enqueue(s, run_copy, &c, sizeof c);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t s) {
  if (!shim_is_device(to, bytes)) return cudaErrorInvalidValue;
  const struct copy c = {to, nullptr, value, bytes};
  shim_enqueue(s, run_set, &c, sizeof c);
  return cudaSuccess;
}

/* ---- streams and events -------------------------------------------------------------------------------------------------------------- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  struct shim_stream *s = static_cast<struct shim_stream *>(calloc(1, sizeof *s));
  if (!s) abort();
  s->is_first = !streams;
  struct shim_stream **last = &streams;
  while (*last) last = &(*last)->next;
  *last = *stream = s;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  shim_counts.stream_waits++;
  if (breaks_recording("cudaStreamSynchronize")) return shim_status();
  drain(s);
  return shim_status();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
  *event = static_cast<struct shim_event *>(calloc(1, sizeof **event));
  if (!*event) abort();
  (*event)->has_time = !(flags & cudaEventDisableTiming);
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
  if (breaks_recording("cudaEventRecord")) return shim_status();
  e->stream = s;
  put(s, RECORD, e, ++e->recorded, nullptr, nullptr, 0);
  return cudaSuccess;
}

/* For the record that was the last when this is called; without one, for nothing. */
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) {
  if (breaks_recording("cudaStreamWaitEvent")) return shim_status();
  if (e->recorded > 0) put(s, WAIT, e, e->recorded, nullptr, nullptr, 0);
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e) {
  shim_counts.event_waits++;
  if (breaks_recording("cudaEventSynchronize")) return shim_status();
  if (e->recorded > 0) run_until(e, e->recorded);
  return shim_status();
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t a, cudaEvent_t b) {
  if (!a->has_time || !b->has_time || a->recorded == 0 || b->recorded == 0) return cudaErrorInvalidResourceHandle;
  if (a->reached < a->recorded || b->reached < b->recorded) return cudaErrorNotReady;
  *milliseconds = 1e3f * (float)(b->at.tv_sec - a->at.tv_sec) + 1e-6f * (float)(b->at.tv_nsec - a->at.tv_nsec);
  return shim_status();
}

/* ---- graphs -------------------------------------------------------------------------------------------------------------------------- */

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
  if (s->recording) return cudaErrorInvalidValue;
  s->recording = static_cast<struct shim_graph *>(calloc(1, sizeof *s->recording));
  if (!s->recording) abort();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph) {
  if (!s->recording) return cudaErrorInvalidValue;
  *graph = s->recording;
  s->recording = nullptr;
  if (!(*graph)->broken) return cudaSuccess;
  cudaGraphDestroy(*graph);
  *graph = nullptr;
  return cudaErrorStreamCaptureInvalidated;
}

/* What is launched takes the tasks over; the graph is empty then, and is destroyed as CUDA's is. */
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long) {
  if (shim_machine.refuse && strcmp(shim_machine.refuse, "graph") == 0) return cudaErrorInvalidValue;
  *executable = static_cast<struct shim_graph *>(calloc(1, sizeof **executable));
  if (!*executable) abort();
  (*executable)->tasks = graph->tasks;
  graph->tasks = {};
  return cudaSuccess;
}

static void run_graph(const void *context, bool) {
  const struct shim_graph *g;
  memcpy(&g, context, sizeof g);
  for (const struct task *t = g->tasks.first; t && !shim_has_failed(); t = t->next) t->run(context_of(t), true);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t s) {
  if (shim_has_failed()) return shim_status();
  shim_counts.graphs++;
  shim_enqueue(s, run_graph, &executable, sizeof executable);
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  free_tasks(&graph->tasks);
  free(graph);
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  drain_all(); /* what was launched is done first */
  return cudaGraphDestroy(executable);
}
