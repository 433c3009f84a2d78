/* The device: opening it, its memory, its failures, and the table of operations. */
#include "cuda/backend.h"

#include <stdio.h>
#include <string.h>

#include "cuda/number.h"
#include "cuda/ranks.h"
#include "cuda/runtime.h"
#include "cuda/twins.h"

/* What a failed download leaves in host memory: NaN as float and double, -1 as an index. */
enum { POISON = 0xff, OLDEST_MAJOR = 8 /* compute capability: what make cuda compiles for */, HOPPER_MAJOR = 9, HOPPER_MINOR = 0 };

static struct {
  bool open;
  int device, major, minor; /* and its compute capability */
  cudaStream_t stream;
  void *own_scratch;
  char failure[FAILURE_SIZE]; /* empty: none */
} state;

/* ---- failures ------------------------------------------------------------------------------------------------------------------------ */

/* Keeps the first failure. Whether there is none so far. */
static bool keep_status(cudaError_t status, const char *operation) {
  const char *more = status == cudaErrorAssert ? ": standard error says which kernel, and what did not hold" : "";
  if (status != cudaSuccess && !state.failure[0])
    snprintf(state.failure, sizeof state.failure, "%s: %s%s", operation, cudaGetErrorString(status), more);
  return !state.failure[0];
}

void cuda_forget_failure(char text[FAILURE_SIZE]) {
  memcpy(text, state.failure, FAILURE_SIZE);
  state.failure[0] = 0;
}

cudaStream_t cuda_stream(void) { return state.stream; }
void *cuda_own_scratch(void) { return state.own_scratch; }
void cuda_launched(const char *operation) { keep_status(cudaGetLastError(), operation); }
bool cuda_succeeded(cudaError_t status, const char *operation) { return keep_status(status, operation); }
void cuda_refused(const char *operation, const char *why) {
  if (!state.failure[0]) snprintf(state.failure, sizeof state.failure, "%s: %s", operation, why);
}

static bool failed(struct error *err) {
  return fail(err, "cuda: GPU %d: %s; nothing after it was computed: go on from the last checkpoint", state.device, state.failure);
}

bool backend_cuda_status(struct error *err) {
  if (!state.open) return fail(err, "cuda: no GPU is open; call backend_cuda first");
  return keep_status(cudaStreamSynchronize(state.stream), "waiting for the GPU") || failed(err);
}

/* ---- memory -------------------------------------------------------------------------------------------------------------------------- */

static const double GIB = 1024.0 * 1024.0 * 1024.0;
static const size_t MOST_KEPT = (size_t)256 << 20;

static bool cuda_reserve(size_t bytes, void **memory, struct error *err) {
  if (state.failure[0]) return failed(err);
  cudaError_t status = cudaMalloc(memory, bytes > 0 ? bytes : 1);
  if (status == cudaErrorMemoryAllocation) {
    size_t available = 0, total = 0;
    cudaGetLastError(); /* not a failure of the device: a smaller request may succeed */
    if (!keep_status(cudaMemGetInfo(&available, &total), "asking for free memory")) return failed(err);
    return fail(err, "cuda: GPU %d has %.2f of its %.2f GiB free, and %.2f GiB are needed; choose a smaller batch", state.device,
                (double)available / GIB, (double)total / GIB, (double)bytes / GIB);
  }
  if (!keep_status(status, "reserving memory")) return failed(err);
  if (bytes > 0) status = cudaMemsetAsync(*memory, 0, bytes, state.stream);
  if (bytes > 0 && status == cudaSuccess) status = cudaStreamSynchronize(state.stream); /* before a copy in another stream may come */
  return keep_status(status, "clearing memory") || failed(err);
}

static void cuda_release(void *memory, size_t) { keep_status(cudaFree(memory), "releasing memory"); }

static void cuda_upload(void *to, const void *from_host, size_t bytes) {
  if (bytes > 0 && keep_status(cudaMemcpyAsync(to, from_host, bytes, cudaMemcpyHostToDevice, state.stream), "upload"))
    keep_status(cudaStreamSynchronize(state.stream), "upload"); /* the caller may reuse from_host */
}

void cuda_download(void *to_host, const void *from, size_t bytes) {
  if (bytes == 0) return;
  if (!keep_status(cudaMemcpyAsync(to_host, from, bytes, cudaMemcpyDeviceToHost, state.stream), "download") ||
      !keep_status(cudaStreamSynchronize(state.stream), "download"))
    memset(to_host, POISON, bytes);
}

static void cuda_copy(void *to, const void *from, size_t bytes) {
  if (bytes > 0) keep_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, state.stream), "copy");
}

static void cuda_zero(void *to, size_t bytes) {
  if (bytes > 0) keep_status(cudaMemsetAsync(to, 0, bytes, state.stream), "zero");
}

/* What CUDA takes later by itself is not promised: for the code of kernels, which is loaded when they first run, and for a graph. How much
 * that is has not been measured: a sixty-fourth of the GPU's memory is kept for it, at most 256 MiB. */
static size_t cuda_available(void) {
  size_t available = 0, total = 0;
  if (!keep_status(cudaMemGetInfo(&available, &total), "asking for free memory")) return 0;
  size_t kept = total / 64 < MOST_KEPT ? total / 64 : MOST_KEPT;
  return available > kept ? available - kept : 1;
}

/* ---- opening ------------------------------------------------------------------------------------------------------------------------- */

/* Versions are thousands for the major number and tens for the minor one. */
static bool find_devices(int *count, struct error *err) {
  int driver = 0, runtime = 0;
  cudaError_t status = cudaGetDeviceCount(count);
  cudaGetLastError();
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) return fail(err, "cuda: this machine has no NVIDIA driver; install one, or use the reference backend");
  if (status == cudaErrorInsufficientDriver)
    return fail(err, "cuda: the NVIDIA driver is for CUDA %d.%d, and this program needs %d.%d; install a newer driver", driver / 1000,
                driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
  if (status == cudaErrorNoDevice || (status == cudaSuccess && *count == 0))
    return fail(err, "cuda: no GPU is visible; look at nvidia-smi and at CUDA_VISIBLE_DEVICES, or use the reference backend");
  return status == cudaSuccess || fail(err, "cuda: counting GPUs: %s; look at nvidia-smi", cudaGetErrorString(status));
}

static bool open_device(int device, struct error *err) {
  int count, major = 0, minor = 0;
  if (!find_devices(&count, err)) return false;
  if (device < 0 || device >= count) return fail(err, "cuda: there is no GPU %d: %d visible, counted from 0", device, count);
  cudaError_t status = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  if (status == cudaSuccess) status = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  if (status == cudaSuccess && major < OLDEST_MAJOR)
    return fail(err, "cuda: GPU %d has compute capability %d.%d, and %d.0 is the oldest supported; choose another", device, major, minor,
                OLDEST_MAJOR);
  if (status == cudaSuccess) status = cudaSetDevice(device);
  if (status == cudaSuccess) status = cudaStreamCreateWithFlags(&state.stream, cudaStreamNonBlocking);
  if (status == cudaSuccess) status = cudaMalloc(&state.own_scratch, OWN_SCRATCH);
  if (status == cudaSuccess) status = cuda_pipeline_open();
  state.major = major, state.minor = minor;
  if (status == cudaSuccess) return true;
  cudaGetLastError();
  return fail(err, "cuda: opening GPU %d: %s; look at nvidia-smi", device, cudaGetErrorString(status));
}

/* Where activations are bf16: all that reads and writes them, but products. */
static void fill_activations_bf16(struct backend &b) {
  b.activation_size = sizeof(struct bf16);
  b.store_activations = cuda_store_activations_bf16;
  b.norm_signs = cuda_norm_signs_bf16;
  b.norm_forward_train = cuda_norm_forward_train_bf16;
  b.norm_forward_eval = cuda_norm_forward_eval_bf16;
  b.norm_backward_train = cuda_norm_backward_train_bf16;
  b.norm_rank_moments = cuda_norm_rank_moments_bf16;
  b.norm_rank_forward = cuda_norm_rank_forward_bf16;
  b.norm_rank_gradient = cuda_norm_rank_gradient_bf16;
  b.norm_rank_backward = cuda_norm_rank_backward_bf16;
  b.maxpool_forward = cuda_maxpool_forward_bf16;
  b.maxpool_backward = cuda_maxpool_backward_bf16;
  b.avgpool_forward = cuda_avgpool_forward_bf16;
  b.avgpool_backward = cuda_avgpool_backward_bf16;
  b.match_diversity = cuda_match_diversity_bf16;
  b.match_invariance = cuda_match_invariance_bf16;
  b.loss_byol = cuda_loss_byol_bf16;
  b.loss_rdem = cuda_loss_rdem_bf16;
  b.loss_rdem_instance = cuda_loss_rdem_instance_bf16;
  b.loss_riem = cuda_loss_riem_bf16;
}

/* Assigned, not initialised: C++17 has no designators. */
static void fill(struct backend *table, enum cuda_precision precision) {
  struct backend &b = *table;
  b.name = "cuda", b.activation_size = sizeof(real);
  b.reserve = cuda_reserve, b.release = cuda_release;
  b.upload = cuda_upload, b.download = cuda_download, b.copy = cuda_copy, b.zero = cuda_zero;
  b.available = cuda_available, b.status = backend_cuda_status;
  b.mark = cuda_mark, b.seconds_between = cuda_seconds_between;

  b.conv_scratch = cuda_conv_scratch, b.norm_scratch = cuda_norm_scratch, b.linear_scratch = cuda_linear_scratch;
  b.match_scratch = cuda_match_scratch, b.loss_scratch = cuda_loss_scratch;

  b.conv_chain = conv_chain;
  b.conv_forward = cuda_conv_forward;
  b.conv_backward_data = cuda_conv_backward_data;
  b.conv_backward_weights = cuda_conv_backward_weights;
  b.norm_signs = cuda_norm_signs;
  b.norm_forward_train = cuda_norm_forward_train;
  b.norm_forward_eval = cuda_norm_forward_eval;
  b.norm_backward_train = cuda_norm_backward_train;
  b.collectives = cuda_ranks;
  b.norm_rank_moments = cuda_norm_rank_moments;
  b.norm_rank_forward = cuda_norm_rank_forward;
  b.norm_rank_gradient = cuda_norm_rank_gradient;
  b.norm_rank_backward = cuda_norm_rank_backward;
  b.rank_mean = cuda_rank_mean;
  b.maxpool_forward = cuda_maxpool_forward;
  b.maxpool_backward = cuda_maxpool_backward;
  b.avgpool_forward = cuda_avgpool_forward;
  b.avgpool_backward = cuda_avgpool_backward;
  b.linear_forward = cuda_linear_forward;
  b.linear_backward_data = cuda_linear_backward_data;
  b.linear_backward_weights = cuda_linear_backward_weights;
  b.match_diversity = cuda_match_diversity;
  b.match_invariance = cuda_match_invariance;
  b.loss_byol = cuda_loss_byol;
  b.loss_rdem = cuda_loss_rdem;
  b.loss_rdem_instance = cuda_loss_rdem_instance;
  b.loss_riem = cuda_loss_riem;
  b.loss_collect = cuda_loss_collect;
  b.halt_unless_finite = cuda_halt_unless_finite;
  b.lars_update = cuda_lars_update;
  b.ema_update = cuda_ema_update;
  b.lars_update_all = cuda_lars_update_all;
  b.ema_update_all = cuda_ema_update_all;
  b.conv_moments = cuda_conv_moments;
  b.conv_forward_moments = cuda_conv_forward_moments;
  b.conv_norm_forward_eval = cuda_conv_norm_forward_eval;
  b.pipeline = cuda_pipeline();
  if (precision == CUDA_TF32) b.name = "cuda:tf32", cuda_fill_tf32(table);
  if (precision == CUDA_BF16) b.name = "cuda:bf16", cuda_fill_bf16(table), fill_activations_bf16(b);
}

/* Whether products may go through wgmma; way: the key that asks for it. */
static bool has_wgmma(const char *way, enum cuda_precision precision, struct error *err) {
  if (precision != CUDA_BF16) return fail(err, "%s: it computes in bf16 alone; add precision=bf16, or leave it out", way);
  return (state.major == HOPPER_MAJOR && state.minor == HOPPER_MINOR) ||
         fail(err, "%s: GPU %d has compute capability %d.%d, and it is for %d.%d alone; leave it out", way, state.device, state.major,
              state.minor, HOPPER_MAJOR, HOPPER_MINOR);
}

int backend_cuda_devices(void) {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) count = 0;
  cudaGetLastError();
  return count;
}

const struct backend *backend_cuda(int device, const struct backend_cuda_options *options, struct error *err) {
  static struct backend tables[CUDA_PRECISIONS][CUDA_CONVS][CUDA_GEMMS];
  static const struct backend_cuda_options defaults = {};
  if (state.open && device != state.device) {
    fail(err, "cuda: GPU %d is open, and a process uses one; asked for GPU %d", state.device, device);
    return nullptr;
  }
  if (!state.open && !open_device(device, err)) return nullptr;
  state.open = true, state.device = device;
  const struct backend_cuda_options *o = options ? options : &defaults;
  struct backend *table = &tables[o->precision][o->conv][o->gemm];
  fill(table, o->precision);
  if (o->conv == CUDA_CONV_PLAIN) cuda_fill_plain(table, o->precision);
  if (o->conv == CUDA_CONV_CUDNN && !cuda_fill_cudnn(table, o->precision, err)) return nullptr;
  if (o->conv == CUDA_CONV_WGMMA) {
    if (!has_wgmma("cuda.conv=wgmma", o->precision, err)) return nullptr;
    cuda_fill_conv_wgmma(table);
  }
  if (o->gemm == CUDA_GEMM_WGMMA) {
    if (!has_wgmma("cuda.gemm=wgmma", o->precision, err)) return nullptr;
    cuda_fill_gemm_wgmma(table);
  }
  if (o->gemm == CUDA_GEMM_CUBLAS && !cuda_fill_cublas(table, o->precision, err)) return nullptr;
  return table;
}
