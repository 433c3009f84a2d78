/* What nvcc's host code calls (crt/host_runtime.h and crt/device_functions.h of CUDA 13), beside the runtime's functions, which are the
 * shim's: it hands over its PTX at the start of the program, and then launches kernels. See ptx.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/ptx/ptx.h"

/* Kernels by the host's function of the same name; registered before variables of this file are there. */
static std::map<const void *, struct kernel *> &kernels(void) {
  static std::map<const void *, struct kernel *> *all = new std::map<const void *, struct kernel *>;
  return *all;
}
static struct {
  struct dim3 grid, block;
  size_t shared_bytes;
  void *stream;
} call; /* kernel<<<...>>>, until the host's function fetches it */

/* What nvcc puts beside the host's code: a header, and entries with headers of theirs, of which those of kind 1 are PTX as text, when it
 * was told --no-compress. */
struct fat_header {
  uint32_t magic;
  uint16_t version, header_bytes;
  uint64_t bytes;
};
struct fat_entry {
  uint16_t kind, version;
  uint32_t header_bytes;
  uint64_t bytes;
};

/* Without what -lineinfo adds, which lines of the source the code is of: lines that begin with .loc or .file are left empty, and the text
 * ends where its names begin. */
static char *code_alone(const char *text, size_t bytes) {
  std::string code;
  const char *end = text + strnlen(text, bytes);
  for (const char *line = text, *next; line < end; line = next) {
    const char *stop = static_cast<const char *>(memchr(line, '\n', (size_t)(end - line)));
    next = stop ? stop + 1 : end;
    const char *word = line + strspn(line, " \t");
    if (!strncmp(word, ".section", 8)) break;
    if (strncmp(word, ".loc", 4) && strncmp(word, ".file", 5))
      code.append(line, next);
    else
      code += '\n';
  }
  return strdup(code.c_str());
}

extern "C" void **__cudaRegisterFatBinary(void *wrapper) {
  struct {
    int magic, version;
    const unsigned char *data;
  } w;
  memcpy(&w, wrapper, sizeof w);
  struct fat_header header;
  memcpy(&header, w.data, sizeof header);
  const unsigned char *at = w.data + header.header_bytes, *stop = at + header.bytes;
  struct module *m = new struct module;
  m->text = nullptr;
  for (struct fat_entry entry; header.magic == 0xba55ed50 && at < stop && !m->text; at += entry.header_bytes + entry.bytes) {
    memcpy(&entry, at, sizeof entry);
    const char *text = reinterpret_cast<const char *>(at) + entry.header_bytes;
    if (entry.kind == 1 && memmem(text, (size_t)entry.bytes, ".version", 8)) ptx_read_module(m, code_alone(text, (size_t)entry.bytes));
  }
  if (!m->text) {
    fprintf(
        stderr,
        "ptx: an object has no PTX that can be read: compile it anew, by nvcc --no-compress -gencode arch=compute_90,code=compute_90\n");
    abort();
  }
  return reinterpret_cast<void **>(m);
}
extern "C" void __cudaRegisterFatBinaryEnd(void **) {}
extern "C" void __cudaUnregisterFatBinary(void **) {} /* at the end of the process */

extern "C" void __cudaRegisterFunction(void **handle, const char *host, char *, const char *name, int, void *, void *, void *, void *,
                                       int *) {
  struct module *m = reinterpret_cast<struct module *>(handle);
  std::map<std::string, struct kernel>::iterator k = m->kernels.find(name);
  if (k != m->kernels.end()) kernels()[host] = &k->second;
}

extern "C" unsigned __cudaPushCallConfiguration(struct dim3 grid, struct dim3 block, size_t shared_bytes, void *stream) {
  call = {grid, block, shared_bytes, stream};
  return 0;
}
extern "C" cudaError_t __cudaPopCallConfiguration(struct dim3 *grid, struct dim3 *block, size_t *shared_bytes, void *stream) {
  *grid = call.grid, *block = call.block, *shared_bytes = call.shared_bytes;
  memcpy(stream, &call.stream, sizeof call.stream);
  return cudaSuccess;
}

extern "C" cudaError_t __cudaGetKernel(struct kernel **k, const void *host) {
  std::map<const void *, struct kernel *>::iterator found = kernels().find(host);
  *k = found == kernels().end() ? nullptr : found->second;
  return *k ? cudaSuccess : cudaErrorInvalidValue;
}

static uint32_t static_shared(const struct kernel *k) {
  uint32_t bytes = 0;
  for (const struct shared_array &a : k->shared) bytes += a.bytes;
  return bytes;
}

extern "C" cudaError_t __cudaLaunchKernel(struct kernel *k, struct dim3 grid, struct dim3 block, void **arguments, size_t shared_bytes,
                                          cudaStream_t at) {
  if (!ptx_read_kernel(k)) return shim_status();
  const char *name = k->plain.c_str();
  std::vector<unsigned char> bytes(sizeof k + k->arguments.size());
  memcpy(bytes.data(), &k, sizeof k);
  for (size_t i = 0; i < k->argument_at.size(); i++)
    memcpy(bytes.data() + sizeof k + k->argument_at[i], arguments[i], (size_t)k->argument_bytes[i]);
  shim_check_shared(name, reinterpret_cast<void (*)(void)>(k), shared_bytes, static_shared(k));
  if (k->most_threads > 0 && (int64_t)block.x * block.y * block.z > k->most_threads)
    shim_note("kernel %s: %u threads a block, and it was compiled for %d", name, block.x * block.y * block.z, k->most_threads);
  shim_launch(name, grid, block, shared_bytes, at, nullptr, bytes.data(), bytes.size());
  return shim_has_failed() ? shim_status() : cudaSuccess;
}

extern "C" cudaError_t cudaFuncSetAttribute(const void *host, cudaFuncAttribute attribute, int value) {
  struct kernel *k;
  if (__cudaGetKernel(&k, host) != cudaSuccess) return cudaErrorInvalidValue;
  return shim_allow_shared(reinterpret_cast<void (*)(void)>(k), attribute, value);
}
