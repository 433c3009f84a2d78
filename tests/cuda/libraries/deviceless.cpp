/* NVIDIA's cuDNN on a machine without a GPU, as far as planning goes: every call of the backend API is handed on to the library that
 * EDIY_REAL_CUDNN names; in place of a handle, which needs a GPU, plans are made for the GPU that the file EDIY_DEVICE describes
 * (CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, cuDNN 9.8 and newer). Compiled with NVIDIA's headers into a libcudnn.so.9 of its own, which a
 * program with the shim's GPU loads (make check-cudnn). Says on standard error which engine a plan has.
 *
 * A plan whose kernel cuDNN compiles has been compiled once it asks the driver to load the result, which the toolkit's stand-in for the
 * driver refuses: that is as far as it goes here, and counts as a plan. Nothing is executed. */
#include <cudnn.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include <map>
#include <set>

static void *real() {
  static void *library;
  if (library) return library;
  const char *driver = getenv("EDIY_CUDA_STUB"), *path = getenv("EDIY_REAL_CUDNN");
  if (driver) dlopen(driver, RTLD_NOW | RTLD_GLOBAL); /* under the name that cuDNN looks for: libcuda.so.1 */
  library = path ? dlopen(path, RTLD_NOW) : nullptr;
  if (library) return library;
  fprintf(stderr, "deviceless: %s\n", path ? dlerror() : "EDIY_REAL_CUDNN names no library");
  exit(2);
}
#define REAL(name) (reinterpret_cast<decltype(&name)>(dlsym(real(), #name)))

static std::map<cudnnBackendDescriptor_t, int> type_of;
static std::set<cudnnBackendDescriptor_t> compiled;

static cudnnBackendDescriptor_t device() {
  static cudnnBackendDescriptor_t made;
  static char text[1 << 16];
  if (made) return made;
  const char *path = getenv("EDIY_DEVICE");
  FILE *f = path ? fopen(path, "r") : nullptr;
  size_t size = f ? fread(text, 1, sizeof text, f) : 0;
  if (f) fclose(f);
  REAL(cudnnBackendCreateDescriptor)(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &made);
  REAL(cudnnBackendSetAttribute)(made, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)size, text);
  if (REAL(cudnnBackendFinalize)(made) == CUDNN_STATUS_SUCCESS) return made;
  char why[300];
  REAL(cudnnGetLastErrorString)(why, sizeof why);
  fprintf(stderr, "deviceless: cuDNN does not take %s for a GPU: %s\n", path ? path : "EDIY_DEVICE", why);
  exit(2);
}

static void say_engine(cudnnBackendDescriptor_t plan) {
  cudnnBackendDescriptor_t configuration, engine;
  int64_t one, index = -1, bytes = 0;
  REAL(cudnnBackendCreateDescriptor)(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &configuration);
  REAL(cudnnBackendCreateDescriptor)(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine);
  auto get = REAL(cudnnBackendGetAttribute);
  get(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &one, &configuration);
  get(configuration, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &one, &engine);
  get(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &one, &index);
  get(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &one, &bytes);
  fprintf(stderr, " engine %d, %.1f MB;", (int)index, (double)bytes / 1e6);
}

extern "C" {

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
  static char none;
  *handle = reinterpret_cast<cudnnHandle_t>(&none);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t, cudaStream_t) { return CUDNN_STATUS_SUCCESS; }
const char *cudnnGetErrorString(cudnnStatus_t status) { return REAL(cudnnGetErrorString)(status); }
void cudnnGetLastErrorString(char *message, size_t size) { REAL(cudnnGetLastErrorString)(message, size); }

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *d) {
  cudnnStatus_t status = REAL(cudnnBackendCreateDescriptor)(type, d);
  if (status == CUDNN_STATUS_SUCCESS) type_of[*d] = type, compiled.erase(*d);
  return status;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d) { return REAL(cudnnBackendDestroyDescriptor)(d); }

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                       int64_t count, const void *values) {
  if (type != CUDNN_TYPE_HANDLE) return REAL(cudnnBackendSetAttribute)(d, name, type, count, values);
  if (type_of[d] != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) return CUDNN_STATUS_SUCCESS; /* a graph needs none */
  cudnnBackendDescriptor_t gpu = device();
  return REAL(cudnnBackendSetAttribute)(d, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &gpu);
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                       int64_t asked, int64_t *count, void *values) {
  if (!compiled.count(d) || name != CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)
    return REAL(cudnnBackendGetAttribute)(d, name, type, asked, count, values);
  *static_cast<int64_t *>(values) = 0, *count = 1;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t d) {
  if (type_of[d] == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR) {
    cudnnBackendDescriptor_t gpu = device();
    REAL(cudnnBackendSetAttribute)(d, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &gpu);
  }
  cudnnStatus_t status = REAL(cudnnBackendFinalize)(d);
  if (type_of[d] != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) return status;
  if (status == CUDNN_STATUS_SUCCESS) say_engine(d);
  if (status != CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER) return status;
  compiled.insert(d);
  fprintf(stderr, " compiled;");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t, cudnnBackendDescriptor_t, cudnnBackendDescriptor_t) {
  return CUDNN_STATUS_EXECUTION_FAILED;
}
}
