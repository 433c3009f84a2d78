/* The shim's launches: what is refused, what a stream keeps of one, and when it fails. What runs its threads is shim_run_launch. See
 * shim.h. */
#include <string.h>

extern "C" {
#include "cuda/shim_control.h"
}
#include "cuda/shim_memory.h"

enum { MOST_THREADS = 1024 };

static bool is_dimension(struct dim3 d, unsigned x, unsigned y, unsigned z) {
  return d.x >= 1 && d.y >= 1 && d.z >= 1 && d.x <= x && d.y <= y && d.z <= z;
}

/* Whatever its template is of. */
static bool is_refused(const char *kernel) {
  size_t name = strcspn(kernel, "<");
  if (shim_machine.refuse && strcmp(shim_machine.refuse, "*") == 0) return true;
  return shim_machine.refuse && strlen(shim_machine.refuse) == name && strncmp(shim_machine.refuse, kernel, name) == 0;
}

/* What a stream keeps of a launch; the kernel's arguments stand behind it. */
struct launch {
  const char *kernel;
  struct dim3 grid, block;
  size_t shared_bytes;
  void (*body)(const void *);
};
enum { LAUNCH_ARGUMENTS = (sizeof(struct launch) + 15) / 16 * 16, LAUNCH_MOST = LAUNCH_ARGUMENTS + (32 << 10) };

static void refuse_if_asked(const char *kernel) {
  if (is_refused(kernel) && shim_machine.after-- <= 0) shim_fail_launch(cudaErrorLaunchFailure, "kernel %s: refused by the test", kernel);
}

/* In a graph a launch fails only when it runs. */
static void run_launch(const void *context, bool in_graph) {
  struct launch l;
  memcpy(&l, context, sizeof l);
  if (in_graph) refuse_if_asked(l.kernel);
  if (shim_has_failed()) return;
  shim_counts.kernels++;
  shim_run_launch(l.kernel, l.grid, l.block, l.shared_bytes, l.body, static_cast<const char *>(context) + LAUNCH_ARGUMENTS);
}

void shim_launch(const char *kernel, struct dim3 grid, struct dim3 block, size_t shared_bytes, cudaStream_t stream,
                 void (*body)(const void *), const void *context, size_t bytes) {
  static unsigned char all[LAUNCH_MOST];
  if (!stream) shim_note("kernel %s: launched on the default stream", kernel);
  if (!is_dimension(grid, 0x7fffffff, 65535, 65535) || !is_dimension(block, 1024, 1024, 64) || block.x * block.y * block.z > MOST_THREADS)
    shim_fail_launch(cudaErrorInvalidConfiguration, "kernel %s: a grid of %u x %u x %u blocks of %u x %u x %u threads cannot be launched",
                     kernel, grid.x, grid.y, grid.z, block.x, block.y, block.z);
  if (LAUNCH_ARGUMENTS + bytes > sizeof all) shim_fail_launch(cudaErrorInvalidValue, "kernel %s: %zu bytes of arguments", kernel, bytes);
  if (stream && !shim_is_recording(stream)) refuse_if_asked(kernel);
  if (shim_has_failed()) return;
  const struct launch l = {kernel, grid, block, shared_bytes, body};
  memcpy(all, &l, sizeof l);
  memcpy(all + LAUNCH_ARGUMENTS, context, bytes);
  shim_enqueue(stream, run_launch, all, LAUNCH_ARGUMENTS + bytes);
}
