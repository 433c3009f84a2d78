/* The shim's memory and its machine: the functions of the CUDA runtime that cuda/ calls. See shim.h. */
#include "cuda/shim_memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

extern "C" {
#include "cuda/shim_control.h"
}

static double in_environment(const char *name, double otherwise) {
  const char *value = getenv(name);
  return value ? atof(value) : otherwise;
}

struct shim_machine shim_machine = {(int)in_environment("EDIY_SHIM_DEVICES", 1),
                                    13000,
                                    13000,
                                    (int)in_environment("EDIY_SHIM_MAJOR", 9),
                                    0,
                                    (size_t)in_environment("EDIY_SHIM_MEMORY", 0x1p32),
                                    (size_t)in_environment("EDIY_SHIM_PINNED", 0x1p32),
                                    getenv("EDIY_SHIM_REFUSE"),
                                    (int)in_environment("EDIY_SHIM_AFTER", 0)};
static cudaError_t last_status = cudaSuccess;
static char failure[512];

void shim_fail_launch(cudaError_t status, const char *format, ...) {
  char line[sizeof failure];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  static char said[sizeof failure]; /* each thread of a launch may say the same */
  if (strcmp(said, line) != 0) fprintf(stderr, "shim: %s\n", line);
  memcpy(said, line, sizeof line);
  if (last_status == cudaSuccess) last_status = status;
  if (!failure[0]) memcpy(failure, line, sizeof line);
}

bool shim_has_failed(void) { return last_status != cudaSuccess; }
cudaError_t shim_status(void) { return last_status; }

extern "C" void shim_clear(void) { last_status = cudaSuccess; }

extern "C" const char *shim_failure(void) {
  static char told[sizeof failure];
  memcpy(told, failure, sizeof failure);
  failure[0] = 0;
  return told;
}

/* ---- memory ---------------------------------------------------------------------------------------------------------------------------
 *
 * Every allocation is pages of its own with a guard zone on either side, in a list. Under AddressSanitizer a zone would hide a near miss
 * from it, so there it is one malloc, and malloc's own zones are used. */
enum { WINDOW = 1 << 24, PATTERN = 1024 /* bytes that shared arrays may ask to be aligned to (warpgroup.h); cudaMalloc aligns to fewer */ };
#if defined __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
enum { GUARD = 0 };
static unsigned char *take_pages(size_t bytes) {
  void *block = nullptr;
  return posix_memalign(&block, PATTERN, bytes ? bytes : 1) == 0 ? static_cast<unsigned char *>(block) : nullptr;
}
static void give_pages(unsigned char *block, size_t) { free(block); }
static void close_pages(unsigned char *block, size_t bytes) { ASAN_POISON_MEMORY_REGION(block, bytes); }
static void open_pages(unsigned char *block, size_t bytes) { ASAN_UNPOISON_MEMORY_REGION(block, bytes); }
#else
enum { GUARD = PATTERN };
static unsigned char *take_pages(size_t bytes) {
  void *block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return nullptr;
  madvise(block, bytes, MADV_HUGEPAGE); /* fewer pages to open and close; where it is refused, small ones do */
  return static_cast<unsigned char *>(block);
}
static void give_pages(unsigned char *block, size_t bytes) { munmap(block, bytes); }
static void close_pages(unsigned char *block, size_t bytes) { mprotect(block, bytes, PROT_NONE); }
static void open_pages(unsigned char *block, size_t bytes) { mprotect(block, bytes, PROT_READ | PROT_WRITE); }
#endif
enum { GUARD_BYTE = 0xa5, FRESH_BYTE = 0xff };
/* Shared memory of a launch, bytes: what every kernel may have, and the least that a GPU from compute capability 8.0 on gives one that asks
 * (CUDA programming guide, technical specifications: 99 KiB on 8.6 and 8.9). */
enum { PLAIN_SHARED = 48 << 10, MOST_SHARED = 99 << 10, MOST_KERNELS = 256 };

struct allocation {
  struct allocation *next;
  unsigned char *start; /* of what the caller has */
  size_t bytes;
  const char *site; /* of a shared array, else null */
  uint32_t address; /* of a shared array */
};
static struct allocation *allocations, *shared, *pinned;
static size_t in_use;

static struct allocation *allocate(struct allocation **list, size_t bytes, const char *site) {
  struct allocation *a = static_cast<struct allocation *>(malloc(sizeof *a));
  unsigned char *block = take_pages(bytes + 2 * GUARD);
  if (!a || !block) abort();
  memset(block, GUARD_BYTE, bytes + 2 * GUARD);
  memset(block + GUARD, FRESH_BYTE, bytes);
  *a = {*list, block + GUARD, bytes, site, 0};
  if (*list)
    a->address = ((*list)->address + (uint32_t)(*list)->bytes + PATTERN) / PATTERN * PATTERN; /* there are others, and bytes between */
  return *list = a;
}

static void release(struct allocation **at) {
  struct allocation *a = *at;
  *at = a->next;
  open_pages(a->start - GUARD, a->bytes + 2 * GUARD);
  give_pages(a->start - GUARD, a->bytes + 2 * GUARD);
  free(a);
}

void shim_open_memory(void) {
  for (struct allocation *a = allocations; a; a = a->next) open_pages(a->start - GUARD, a->bytes + 2 * GUARD);
}

void shim_close_memory(void) {
  for (struct allocation *a = allocations; a; a = a->next) close_pages(a->start - GUARD, a->bytes + 2 * GUARD);
}

static const struct allocation *within(const struct allocation *list, const void *pointer, size_t bytes) {
  const unsigned char *p = static_cast<const unsigned char *>(pointer);
  for (const struct allocation *a = list; a; a = a->next)
    if (p >= a->start && p <= a->start + a->bytes && bytes <= (size_t)(a->start + a->bytes - p)) return a;
  return nullptr;
}

static const struct allocation *allocation_of(const void *pointer, size_t bytes) { return within(allocations, pointer, bytes); }
bool shim_is_device(const void *pointer, size_t bytes) { return allocation_of(pointer, bytes); }
bool shim_allocation(const void *pointer, size_t bytes, const unsigned char **from, const unsigned char **to) {
  const struct allocation *a = allocation_of(pointer, bytes);
  if (a) *from = a->start, *to = a->start + a->bytes;
  return a;
}
bool shim_is_shared(const void *pointer, size_t bytes) { return within(shared, pointer, bytes); }
uint32_t shared_address(const void *p) {
  const struct allocation *a = within(shared, p, 1);
  if (a) return WINDOW + a->address + (uint32_t)(static_cast<const unsigned char *>(p) - a->start);
  shim_note("shared_address: not of shared memory");
  return 0;
}
const unsigned char *shim_shared_array(uint32_t address, uint32_t *start, uint32_t *bytes) {
  for (struct allocation *a = shared; a; a = a->next)
    if (address >= a->address && address - a->address < a->bytes) return *start = a->address, *bytes = (uint32_t)a->bytes, a->start;
  return nullptr;
}
bool shim_is_pinned(const void *pointer, size_t bytes) { return within(pinned, pointer, bytes); }

void shim_check_pointer(const char *kernel, const void *pointer) {
  if (pointer && !allocation_of(pointer, 1)) shim_note("kernel %s: an argument is a pointer, and not to device memory", kernel);
}

static bool is_guarded(const unsigned char *zone) {
  for (int i = 0; i < GUARD; i++)
    if (zone[i] != GUARD_BYTE) return false;
  return true;
}

static void check_list(const char *kernel, const char *what, struct allocation *list) {
  for (struct allocation *a = list; a; a = a->next)
    if (!is_guarded(a->start - GUARD) || !is_guarded(a->start + a->bytes)) {
      shim_note("kernel %s: wrote outside of %s of %zu bytes", kernel, what, a->bytes);
      memset(a->start - GUARD, GUARD_BYTE, GUARD); /* the next kernel is not to blame */
      memset(a->start + a->bytes, GUARD_BYTE, GUARD);
    }
}

void shim_check_guards(const char *kernel) {
  check_list(kernel, "an allocation", allocations);
  check_list(kernel, "a shared array", shared);
}

void *shim_shared(const char *site, size_t bytes) {
  for (struct allocation *a = shared; a; a = a->next)
    if (a->site == site) return a->start;
  return allocate(&shared, bytes, site)->start;
}

void shim_poison_shared(void) {
  for (struct allocation *a = shared; a; a = a->next) memset(a->start, FRESH_BYTE, a->bytes);
}

void shim_free_shared(void) {
  while (shared) release(&shared);
}

unsigned char *shim_dynamic_shared(void) {
  for (struct allocation *a = shared; a; a = a->next)
    if (a->site == SHIM_DYNAMIC) return a->start;
  shim_note("a kernel has shared memory of the launch's size, and the launch gives none");
  return allocate(&shared, MOST_SHARED, SHIM_DYNAMIC)->start;
}

/* A kernel is known by its address; so few ask for more than PLAIN_SHARED that a list does. */
static struct {
  void (*kernel)(void);
  int bytes;
} allowed[MOST_KERNELS];

cudaError_t shim_allow_shared(void (*kernel)(void), cudaFuncAttribute attribute, int bytes) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || bytes < 0 || bytes > MOST_SHARED)
    return last_status = cudaErrorInvalidValue;
  int i = 0;
  while (i < MOST_KERNELS && allowed[i].kernel && allowed[i].kernel != kernel) i++;
  if (i == MOST_KERNELS) abort();
  allowed[i] = {kernel, bytes};
  return cudaSuccess;
}

void shim_check_shared(const char *name, void (*kernel)(void), size_t bytes, size_t fixed) {
  size_t most = fixed < PLAIN_SHARED ? PLAIN_SHARED - fixed : 0;
  for (int i = 0; i < MOST_KERNELS && allowed[i].kernel; i++)
    if (allowed[i].kernel == kernel && (size_t)allowed[i].bytes > most) most = (size_t)allowed[i].bytes;
  if (most > MOST_SHARED - fixed) most = MOST_SHARED - fixed;
  if (bytes > most)
    shim_fail_launch(cudaErrorInvalidValue, "kernel %s: %zu bytes of shared memory are asked for, and %zu are allowed", name, bytes, most);
}

cudaError_t cudaMalloc(void **memory, size_t bytes) {
  if (shim_stops("cudaMalloc", false)) return last_status;
  if (bytes > shim_machine.memory - in_use) return last_status = cudaErrorMemoryAllocation;
  *memory = allocate(&allocations, bytes, nullptr)->start;
  in_use += bytes;
  shim_close_memory();
  return cudaSuccess;
}

static cudaError_t give_back(const char *call, struct allocation **list, void *memory, size_t *freed) {
  if (!memory) return cudaSuccess;
  if (shim_stops(call, true)) return last_status;
  for (struct allocation **at = list; *at; at = &(*at)->next)
    if ((*at)->start == memory) {
      *freed = (*at)->bytes;
      release(at);
      return cudaSuccess;
    }
  return cudaErrorInvalidValue;
}

cudaError_t cudaFree(void *memory) {
  size_t bytes = 0;
  cudaError_t status = give_back("cudaFree", &allocations, memory, &bytes);
  in_use -= bytes;
  return status;
}

/* Memory of the host, which may touch it. */
cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned) {
  if (shim_stops("cudaHostAlloc", false)) return last_status;
  if (bytes > shim_machine.pinned) return last_status = cudaErrorMemoryAllocation;
  *memory = allocate(&pinned, bytes, nullptr)->start;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void *memory) {
  size_t bytes;
  return give_back("cudaFreeHost", &pinned, memory, &bytes);
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
  *total = shim_machine.memory;
  *available = shim_machine.memory - in_use;
  return cudaSuccess;
}

/* ---- the machine --------------------------------------------------------------------------------------------------------------------- */

cudaError_t cudaGetLastError(void) {
  cudaError_t status = last_status;
  last_status = cudaSuccess;
  return status;
}

const char *cudaGetErrorString(cudaError_t status) {
  switch (status) {
  case cudaSuccess: return "no error";
  case cudaErrorInvalidValue: return "invalid argument";
  case cudaErrorMemoryAllocation: return "out of memory";
  case cudaErrorInvalidConfiguration: return "invalid configuration argument";
  case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
  case cudaErrorInvalidResourceHandle: return "invalid resource handle";
  case cudaErrorNotReady: return "device not ready";
  case cudaErrorNoDevice: return "no CUDA-capable device is detected";
  case cudaErrorAssert: return "device-side assert triggered";
  case cudaErrorLaunchFailure: return "unspecified launch failure";
  case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
  case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
  }
  return "unknown error";
}

cudaError_t cudaDriverGetVersion(int *version) { return *version = shim_machine.driver, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *version) { return *version = shim_machine.runtime, cudaSuccess; }

cudaError_t cudaGetDeviceCount(int *count) {
  *count = 0;
  if (shim_machine.driver < shim_machine.runtime) return cudaErrorInsufficientDriver;
  if (shim_machine.devices == 0) return cudaErrorNoDevice;
  *count = shim_machine.devices;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) { return device < shim_machine.devices ? cudaSuccess : cudaErrorInvalidValue; }

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? shim_machine.major : shim_machine.minor;
  return cudaSuccess;
}
