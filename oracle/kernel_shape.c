/* The shape that somebody asks for: keys of `oracle case make`, of which a kernel's functions are told. */
#include <stdio.h>
#include <string.h>

#include "oracle/kernel.h"

const struct kernel_operation *const kernel_operations[KERNEL_OPERATIONS] = {&kernel_conv,    &kernel_linear,  &kernel_norm,  &kernel_relu,
                                                                             &kernel_maxpool, &kernel_avgpool, &kernel_match, &kernel_byol,
                                                                             &kernel_rdem,    &kernel_riem,    &kernel_lars,  &kernel_ema};

bool kernel_is_told(const struct kernel_operation *op, const char *key) {
  char blanks[OPTION_KEY_SIZE + 2];
  snprintf(blanks, sizeof blanks, " %s ", key);
  return strcmp(key, "fill") == 0 || strstr(op->keys, blanks) != NULL;
}

/* Matches of these two hang on rounding, and what divides or averages over rows is given no infinities (make_case.c). */
bool kernel_fill_fits(const struct kernel_operation *op, int fill) {
  if (op->op == MAKE_MATCH && (fill == FILL_SPARSE || fill == FILL_OFFSET)) return false;
  return fill != FILL_INF || make_may_be_infinite(op->op);
}

/* No operation that is judged is told of the key: what it asks for would not be done, and the verdict be one about something else. */
static bool refuse_key(const ediy_oracle_kernel *k, const char *word, struct error *err) {
  char keys[400] = "";
  for (int i = 0; i < KERNEL_OPERATIONS; i++) {
    const size_t used = strlen(keys);
    if (kernel_operations[i]->has(k))
      snprintf(keys + used, sizeof keys - used, "%s %s:%.*s", keys[0] ? ";" : "", kernel_operations[i]->name,
               (int)strlen(kernel_operations[i]->keys) - 1, kernel_operations[i]->keys);
  }
  return fail(err, "shape: '%s' says nothing of what is judged; fill, and of%s", word, keys);
}

/* A word of the shape, key=value, before it is set. */
static bool check_word(const ediy_oracle_kernel *k, const char *word, struct error *err) {
  char key[OPTION_KEY_SIZE];
  bool known = false, told = false;
  snprintf(key, sizeof key, "%.*s", (int)strcspn(word, "="), word);
  if (strcmp(key, "op") == 0 || strcmp(key, "out") == 0 || strcmp(key, "seed") == 0)
    return fail(err, "shape: '%s' is no size; the operation is that of the functions, seed is in the options", word);
  for (int i = 0; i < MAKE_KEYS; i++) known = known || strcmp(make_keys[i].key, key) == 0;
  for (int i = 0; i < KERNEL_OPERATIONS; i++) told = told || (kernel_operations[i]->has(k) && kernel_is_told(kernel_operations[i], key));
  return !known || told || refuse_key(k, word, err); /* options_argument says which unknown one was meant */
}

bool kernel_read_shape(const ediy_oracle_kernel *k, const char *shape, struct make_options *o, bool *filled, struct error *err) {
  char words[1024], *rest = words;
  *filled = false;
  if (strlen(shape) >= sizeof words) return fail(err, "shape: longer than %zu characters", sizeof words - 1);
  snprintf(words, sizeof words, "%s", shape);
  for (char *word; (word = strtok_r(rest, " \n\t", &rest));) {
    *filled = *filled || strncmp(word, "fill=", 5) == 0;
    if (!check_word(k, word, err)) return false;
    if (!options_argument(make_keys, MAKE_KEYS, o, word, err)) return fail_within(err, "shape");
  }
  for (int i = 0; *filled && i < KERNEL_OPERATIONS; i++) {
    const struct kernel_operation *op = kernel_operations[i];
    if (op->has(k) && !(kernel_fill_fits(op, o->fill) && make_fill_tells(op->op, o->fill)))
      return fail(err, "shape: %s is not judged by inputs of fill=%s", op->name, make_fill_name(o->fill));
  }
  return true;
}
