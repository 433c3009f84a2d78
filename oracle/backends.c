#include "oracle/backends.h"

#include <stdio.h>
#include <string.h>

#include "oracle/mutants/plain.h"
#include "train/backends.h"

static const struct backend *open_reference(struct error *err) { return (void)err, backend_reference(); }
static const struct backend *open_plain(struct error *err) { return (void)err, backend_plain(); }

static const struct backend *open_cuda(struct error *err) { return backend_open(&(struct backend_options){.backend = BACKEND_CUDA}, err); }
static const struct backend *open_cuda_tf32(struct error *err) {
  return backend_open(&(struct backend_options){.backend = BACKEND_CUDA, .precision = BACKEND_TF32}, err);
}
static const struct backend *open_cuda_bf16(struct error *err) {
  return backend_open(&(struct backend_options){.backend = BACKEND_CUDA, .precision = BACKEND_BF16}, err);
}

static const struct backend *open_libraries(struct error *err) {
  return backend_open(&(struct backend_options){.backend = BACKEND_CUDA, .conv = 1, .gemm = 1}, err);
}
static const struct backend *open_libraries_tf32(struct error *err) {
  return backend_open(&(struct backend_options){.backend = BACKEND_CUDA, .precision = BACKEND_TF32, .conv = 1, .gemm = 1}, err);
}
static const struct backend *open_libraries_bf16(struct error *err) {
  return backend_open(&(struct backend_options){.backend = BACKEND_CUDA, .precision = BACKEND_BF16, .conv = 1, .gemm = 1}, err);
}

const struct backend_entry backend_entries[] = {{"reference", open_reference, PRECISION_FP32, false},
                                                {"plain", open_plain, PRECISION_FP32, false},
                                                {"cuda", open_cuda, PRECISION_FP32, true},
                                                {"cuda:tf32", open_cuda_tf32, PRECISION_TF32, true},
                                                {"cuda:bf16", open_cuda_bf16, PRECISION_BF16, true},
                                                {"cuda:libraries", open_libraries, PRECISION_FP32, true},
                                                {"cuda:tf32:libraries", open_libraries_tf32, PRECISION_TF32, true},
                                                {"cuda:bf16:libraries", open_libraries_bf16, PRECISION_BF16, true}};
const int backend_entry_count = sizeof backend_entries / sizeof *backend_entries;

/* "plain:WORDS": the plain backend in one of its right variants. */
static bool plain_named(const char *words, struct named_backend *b, struct error *err) {
  struct plain_choice choice;
  if (!plain_parse(words, &choice, err)) return false;
  plain_choose(&choice);
  *b = (struct named_backend){.table = backend_plain(), .precision = PRECISION_FP32};
  return true;
}

bool backend_named(const char *name, struct named_backend *b, struct error *err) {
  char names[256] = "ref32, ref64";
  static const char variant[] = "plain:";
  if (strncmp(name, variant, strlen(variant)) == 0) return plain_named(name + strlen(variant), b, err);
  for (int i = 0; i < backend_entry_count; i++) {
    const struct backend_entry *e = &backend_entries[i];
    size_t used = strlen(names);
    if (strcmp(e->name, name) == 0) {
      *b = (struct named_backend){e->open(err), e->precision, e->mixed};
      return b->table != NULL;
    }
    snprintf(names + used, sizeof names - used, ", %s", e->name);
  }
  return fail(err, "there is no backend '%s'; there are %s", name, names);
}
