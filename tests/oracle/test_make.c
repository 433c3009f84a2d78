/* oracle case make: which keys say something of which operation. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/make_case.h"
#include "support/cmocka.h"

static void make(struct made_case *made, const struct make_options *o) {
  struct error err;
  if (!make_inputs(made, o, &err)) fail_msg("%s", err.text);
}

static bool same(const struct made_case *a, const struct made_case *b) {
  if (a->file.file.count != b->file.file.count || !json_equal(a->file.attributes, b->file.attributes)) return false;
  for (int i = 0; i < a->file.file.count; i++) {
    const struct tensor *s = &a->input[i], *t = &b->input[i];
    if (s->ndim != t->ndim || strcmp(s->name, t->name) != 0 || memcmp(s->shape, t->shape, (size_t)s->ndim * sizeof *s->shape) != 0 ||
        memcmp(s->data, t->data, (size_t)tensor_count(s) * dtype_size(s->dtype)) != 0)
      return false;
  }
  return true;
}

/* Another value than the default, which every operation that has the key can be made with. */
static void other_value(const struct option *key, char *text, size_t size) {
  switch (key->type) {
  case OPTION_BOOL: snprintf(text, size, "%s=%s", key->key, strcmp(key->initial, "no") == 0 ? "yes" : "no"); break;
  case OPTION_CHOICE: snprintf(text, size, "%s=%s", key->key, strcmp(key->key, "fill") == 0 ? "int" : "bf16"); break;
  case OPTION_INT: snprintf(text, size, "%s=%d", key->key, atoi(key->initial) + 1); break;
  default: snprintf(text, size, "%s=%g", key->key, atof(key->initial) / 2); break;
  }
}

/* Both ways: with another value of a key that an operation has, another case is made; with one of any other key the same, and it is
 * refused. */
static void an_operation_is_made_by_its_keys_and_no_others(void **state) {
  (void)state;
  for (int op = 0; op < MAKE_OPS; op++) {
    struct make_options usual;
    struct made_case plain;
    struct error err;
    if (op == MAKE_RANDOM) continue;
    make_defaults(&usual);
    usual.op = op;
    make(&plain, &usual);
    for (int i = 0; i < MAKE_KEYS; i++) {
      const struct option *key = &make_keys[i];
      if (strcmp(key->key, "op") == 0 || key->type == OPTION_TEXT) continue;
      struct make_options o = usual;
      struct made_case made;
      char argument[64], *const arguments[] = {argument};
      other_value(key, argument, sizeof argument);
      if (!options_argument(make_keys, MAKE_KEYS, &o, argument, &err)) fail_msg("%s", err.text);
      make(&made, &o);
      const bool taken = make_check(&o, 1, arguments, &err), changes = !same(&plain, &made);
      if (taken != changes)
        fail_msg("op=%s %s: %s, and makes %s case", make_op_name(op), argument, taken ? "taken" : err.text,
                 changes ? "another" : "the same");
      made_case_free(&made);
    }
    made_case_free(&plain);
  }
}

/* Both ways again: a fill is taken where it makes other numbers than fill=normal, and nowhere else. */
static void a_fill_that_would_make_normal_numbers_is_refused(void **state) {
  (void)state;
  for (int op = 0; op < MAKE_RANDOM; op++) {
    struct make_options o;
    struct made_case plain, made;
    struct error err;
    char fill[] = "fill=...";
    make_defaults(&o);
    o.op = op;
    make(&plain, &o);
    for (o.fill = FILL_NORMAL + 1; o.fill < MAKE_FILLS; o.fill++) {
      make(&made, &o);
      const bool taken = make_check(&o, 1, (char *const[]){fill}, &err), changes = !same(&plain, &made);
      if (taken != changes)
        fail_msg("op=%s fill=%s: %s, and makes %s case", make_op_name(op), make_fill_name(o.fill), taken ? "taken" : err.text,
                 changes ? "another" : "the same");
      made_case_free(&made);
    }
    made_case_free(&plain);
  }
}

/* What op=random draws cannot be asked for; the seed can. */
static void of_a_random_operation_only_the_seed_is_taken(void **state) {
  (void)state;
  struct make_options o;
  struct error err;
  make_defaults(&o);
  o.op = MAKE_RANDOM;
  char op[] = "op=random", seed[] = "seed=3", out[] = "out=x", n[] = "n=3";
  assert_true(make_check(&o, 3, (char *const[]){op, seed, out}, &err));
  assert_false(make_check(&o, 1, (char *const[]){n}, &err));
  assert_string_equal(err.text, "n: says nothing of op=random, which is made by its seed alone");
}

/* The command names the keys of the operation, whatever else was drawn. */
static void a_command_has_no_key_that_it_would_be_refused_for(void **state) {
  (void)state;
  for (int seed = 0; seed < 300; seed++) {
    struct make_options o;
    struct error err;
    char command[1024], *word[48];
    int count = 0;
    make_defaults(&o);
    o.op = MAKE_RANDOM, o.seed = seed;
    make_draw(&o), make_draw_more(&o);
    o.fill = seed % MAKE_FILLS; /* as some draw it, behind the rest */
    make_command(&o, "case", command, sizeof command);
    for (char *at = strtok(command, " "); at; at = strtok(NULL, " "))
      if (strchr(at, '=')) word[count++] = at;
    const int op = o.op;
    make_defaults(&o), o.op = op;
    for (int i = 0; i < count; i++)
      if (!options_argument(make_keys, MAKE_KEYS, &o, word[i], &err)) fail_msg("%s", err.text);
    if (!make_check(&o, count, word, &err)) fail_msg("seed %d: %s", seed, err.text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_operation_is_made_by_its_keys_and_no_others), cmocka_unit_test(a_fill_that_would_make_normal_numbers_is_refused),
      cmocka_unit_test(of_a_random_operation_only_the_seed_is_taken), cmocka_unit_test(a_command_has_no_key_that_it_would_be_refused_for)};
  return cmocka_run_group_tests_name("made cases", tests, NULL, NULL);
}
