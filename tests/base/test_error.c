/* Error lines: filled on failure, one line whatever is quoted in them, never longer than their buffer, and optional. */
#include "base/error.h"

#include <string.h>

#include "support/cmocka.h"
#undef fail /* cmocka's macro of no arguments: fail_msg says more */

static void fail_fills_the_line_and_returns_false(void **state) {
  (void)state;
  struct error err;
  assert_false(fail(&err, "%s: %d", "file", 3));
  assert_string_equal(err.text, "file: 3");
  assert_false(fail_within(&err, "line %d", 7));
  assert_string_equal(err.text, "line 7: file: 3");
}

static void a_shortage_is_told_from_other_failures(void **state) {
  (void)state;
  struct error err;
  assert_false(fail_short(&err, "%s: %d", "file", 3));
  assert_string_equal(err.text, "file: 3");
  fail_within(&err, "line %d", 7);
  assert_true(err.is_shortage);
  fail(&err, "%s", "file");
  assert_false(err.is_shortage);
  assert_false(fail_short(NULL, "%d", 1));
}

static void nobody_has_to_listen(void **state) {
  (void)state;
  assert_false(fail(NULL, "%d", 1));
  assert_false(fail_within(NULL, "%d", 1));
}

static void control_characters_do_not_reach_the_terminal(void **state) {
  (void)state;
  struct error err;
  fail(&err, "tensor %s", "a\nb\x1b[2J\x7f\tü");
  assert_string_equal(err.text, "tensor a?b?[2J??ü");
  fail_within(&err, "file\r%s", "\n");
  assert_string_equal(err.text, "file??: tensor a?b?[2J??ü");
}

static void long_lines_are_cut_and_end(void **state) {
  (void)state;
  char word[3000];
  memset(word, 'w', sizeof word - 1);
  word[sizeof word - 1] = 0;
  struct {
    struct error err;
    char guard[4096]; /* longer than the word: where an unchecked offset would write */
  } s;
  memset(&s, 'g', sizeof s);
  fail(&s.err, "%s", word);
  assert_int_equal(strlen(s.err.text), sizeof s.err.text - 1);
  fail_within(&s.err, "front");
  assert_true(strlen(s.err.text) < sizeof s.err.text && strncmp(s.err.text, "front: www", 10) == 0);
  fail_within(&s.err, "%s", word);
  assert_int_equal(strlen(s.err.text), sizeof s.err.text - 1);
  for (size_t i = 0; i < sizeof s.guard; i++) assert_int_equal(s.guard[i], 'g');
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(fail_fills_the_line_and_returns_false),
                                     cmocka_unit_test(a_shortage_is_told_from_other_failures), cmocka_unit_test(nobody_has_to_listen),
                                     cmocka_unit_test(control_characters_do_not_reach_the_terminal),
                                     cmocka_unit_test(long_lines_are_cut_and_end)};
  return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
