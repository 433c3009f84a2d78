/* The plain backend's table. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "oracle/mutants/plain.h"

static bool host_reserve(size_t bytes, void **memory, struct error *err) {
  *memory = calloc(bytes ? bytes : 1, 1);
  return *memory || fail(err, "plain backend: out of memory for %zu bytes", bytes);
}

static void host_release(void *memory, size_t bytes) {
  (void)bytes;
  free(memory);
}

static void host_copy(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes); }
static void host_zero(void *to, size_t bytes) { memset(to, 0, bytes); }
static bool host_status(struct error *err) { return (void)err, true; }

static size_t no_conv_scratch(const struct conv *g) { return (void)g, 0; }
static size_t no_norm_scratch(const struct norm *g) { return (void)g, 0; }
static size_t no_linear_scratch(const struct linear *g) { return (void)g, 0; }
static size_t no_match_scratch(const struct match *g) { return (void)g, 0; }
static size_t one_row(const struct loss *g) { return (size_t)g->c * sizeof(float); }

const struct backend *backend_plain(void) {
  static const struct backend table = {.name = "plain",
                                       .activation_size = sizeof(float),
                                       .reserve = host_reserve,
                                       .release = host_release,
                                       .upload = host_copy,
                                       .download = host_copy,
                                       .copy = host_copy,
                                       .zero = host_zero,
                                       .available = memory_available,
                                       .status = host_status,
                                       .conv_scratch = no_conv_scratch,
                                       .norm_scratch = no_norm_scratch,
                                       .linear_scratch = no_linear_scratch,
                                       .match_scratch = no_match_scratch,
                                       .loss_scratch = one_row,
                                       .conv_forward = plain_conv_forward,
                                       .conv_backward_data = plain_conv_backward_data,
                                       .conv_backward_weights = plain_conv_backward_weights,
                                       .norm_forward_train = plain_norm_forward_train,
                                       .norm_forward_eval = plain_norm_forward_eval,
                                       .norm_backward_train = plain_norm_backward_train,
                                       .maxpool_forward = plain_maxpool_forward,
                                       .maxpool_backward = plain_maxpool_backward,
                                       .avgpool_forward = plain_avgpool_forward,
                                       .avgpool_backward = plain_avgpool_backward,
                                       .linear_forward = plain_linear_forward,
                                       .linear_backward_data = plain_linear_backward_data,
                                       .linear_backward_weights = plain_linear_backward_weights,
                                       .match_diversity = plain_match_diversity,
                                       .match_invariance = plain_match_invariance,
                                       .loss_byol = plain_loss_byol,
                                       .loss_rdem = plain_loss_rdem,
                                       .loss_rdem_instance = plain_loss_rdem_instance,
                                       .loss_riem = plain_loss_riem,
                                       .loss_collect = loss_collect,
                                       .halt_unless_finite = halt_unless_finite,
                                       .lars_update = plain_lars_update,
                                       .ema_update = plain_ema_update};
  return &table;
}
