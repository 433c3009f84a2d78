/* The right variants of the plain backend, and their names. */
#include <stdio.h>
#include <string.h>

#include "oracle/mutants/plain.h"

static const char *const sum_words[PLAIN_SUMS] = {"in-order", "backwards", "pairwise", "lanes", "blocks", "split", "double"};

void plain_words(const struct plain_choice *choice, char *text, size_t size) {
  bool rounds = choice->precision != PRECISION_FP32;
  snprintf(text, size, ":%s%s%s%s%s%s", sum_words[choice->sum], choice->fused ? ",fused" : "", choice->columns ? ",columns" : "",
           choice->winograd ? ",winograd" : "", rounds ? "," : "", rounds ? precision_classes[choice->precision].name : "");
}

static bool parse_word(const char *word, size_t n, struct plain_choice *c) {
  for (int i = 0; i < PLAIN_SUMS; i++) {
    if (strlen(sum_words[i]) == n && strncmp(sum_words[i], word, n) == 0) return c->sum = (enum plain_sum)i, true;
  }
  for (int i = 0; i < PRECISION_COUNT; i++) {
    const char *name = precision_classes[i].name;
    if (strlen(name) == n && strncmp(name, word, n) == 0) return c->precision = (enum precision)i, i != PRECISION_FP64;
  }
  bool *flag = n == 5 && strncmp(word, "fused", n) == 0      ? &c->fused
               : n == 7 && strncmp(word, "columns", n) == 0  ? &c->columns
               : n == 8 && strncmp(word, "winograd", n) == 0 ? &c->winograd
                                                             : NULL;
  if (flag) *flag = true;
  return flag != NULL;
}

bool plain_parse(const char *words, struct plain_choice *choice, struct error *err) {
  *choice = (struct plain_choice){.precision = PRECISION_FP32};
  for (const char *at = words; *at;) {
    size_t n = strcspn(at, ",");
    if (!parse_word(at, n, choice)) {
      return fail(err,
                  "plain backend: '%.*s' is none of in-order, backwards, pairwise, lanes, blocks, split, double, fused, columns, winograd, "
                  "tf32, bf16, fp16",
                  (int)n, at);
    }
    at += n + (at[n] == ',');
  }
  return true;
}

void plain_variant(int64_t k, bool conv, bool single, struct plain_choice *choice) {
  static const struct plain_choice variants[PLAIN_VARIANTS] = {
      {SUM_IN_ORDER, false, false, false, PRECISION_FP32}, {SUM_BACKWARDS, false, false, false, PRECISION_FP32},
      {SUM_PAIRWISE, false, false, false, PRECISION_FP32}, {SUM_LANES, false, false, false, PRECISION_FP32},
      {SUM_BLOCKS, false, false, false, PRECISION_FP32},   {SUM_SPLIT, false, false, false, PRECISION_FP32},
      {SUM_DOUBLE, false, false, false, PRECISION_FP32},   {SUM_IN_ORDER, true, false, false, PRECISION_FP32},
      {SUM_BACKWARDS, true, false, false, PRECISION_FP32}, {SUM_PAIRWISE, true, false, false, PRECISION_FP32},
      {SUM_LANES, true, false, false, PRECISION_FP32},     {SUM_BLOCKS, true, false, false, PRECISION_FP32},
      {SUM_SPLIT, true, false, false, PRECISION_FP32},     {SUM_IN_ORDER, false, true, false, PRECISION_FP32},
      {SUM_LANES, true, true, false, PRECISION_FP32},      {SUM_IN_ORDER, false, false, true, PRECISION_FP32},
      {SUM_BLOCKS, true, true, false, PRECISION_FP32},     {SUM_IN_ORDER, false, false, false, PRECISION_TF32},
      {SUM_LANES, true, false, false, PRECISION_TF32},     {SUM_SPLIT, false, true, false, PRECISION_TF32},
      {SUM_IN_ORDER, false, false, false, PRECISION_BF16}, {SUM_BLOCKS, true, false, false, PRECISION_BF16},
      {SUM_PAIRWISE, false, false, false, PRECISION_FP16}, {SUM_LANES, true, false, false, PRECISION_FP16},
  };
  *choice = variants[k % PLAIN_VARIANTS];
  if (!conv) choice->columns = choice->winograd = false;
  if (single) choice->precision = PRECISION_FP32;
}
