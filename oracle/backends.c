#include "oracle/backends.h"

#include <stdio.h>
#include <string.h>

#include "oracle/mutants/plain.h"

#define CUDA(class) .backend = BACKEND_CUDA, .precision = BACKEND_##class
#define LIBRARIES .conv = BACKEND_CONV_CUDNN, .gemm = BACKEND_GEMM_CUBLAS
#define PLAIN .conv = BACKEND_CONV_PLAIN
#define WGMMA .conv = BACKEND_CONV_WGMMA, .gemm = BACKEND_GEMM_WGMMA

const struct backend_entry backend_entries[] = {{"reference", {.backend = BACKEND_REFERENCE}, NULL, PRECISION_FP32, false},
                                                {"plain", {.backend = BACKEND_REFERENCE}, backend_plain, PRECISION_FP32, false},
                                                {"cuda", {CUDA(FP32)}, NULL, PRECISION_FP32, true},
                                                {"cuda:tf32", {CUDA(TF32)}, NULL, PRECISION_TF32, true},
                                                {"cuda:bf16", {CUDA(BF16)}, NULL, PRECISION_BF16, true},
                                                {"cuda:libraries", {CUDA(FP32), LIBRARIES}, NULL, PRECISION_FP32, true},
                                                {"cuda:tf32:libraries", {CUDA(TF32), LIBRARIES}, NULL, PRECISION_TF32, true},
                                                {"cuda:bf16:libraries", {CUDA(BF16), LIBRARIES}, NULL, PRECISION_BF16, true},
                                                {"cuda:plain", {CUDA(FP32), PLAIN}, NULL, PRECISION_FP32, true},
                                                {"cuda:tf32:plain", {CUDA(TF32), PLAIN}, NULL, PRECISION_TF32, true},
                                                {"cuda:bf16:plain", {CUDA(BF16), PLAIN}, NULL, PRECISION_BF16, true},
                                                {"cuda:bf16:wgmma", {CUDA(BF16), WGMMA}, NULL, PRECISION_BF16, true}};
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
      *b = (struct named_backend){e->table ? e->table() : backend_open(&e->options, err), e->precision, e->mixed};
      return b->table != NULL;
    }
    snprintf(names + used, sizeof names - used, ", %s", e->name);
  }
  return fail(err, "there is no backend '%s'; there are %s", name, names);
}
