/* Options: what is set is printed, what is printed reads back to the last bit, and what cannot be set is answered with what could. */
#include "base/options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "support/cmocka.h"

enum { COSINE, DOT, GAUSS };

struct config {
  bool flip;
  int64_t epochs, seed;
  double lr, tau;
  char data[OPTION_TEXT_SIZE];
  int similarity;
};

static const struct option table[] = {
    {"train.epochs", OPTION_INT, offsetof(struct config, epochs), "100", 1, 1000, NULL, "passes over the data"},
    {"lars.lr", OPTION_REAL, offsetof(struct config, lr), "0.2", 0, INFINITY, NULL, "learning rate"},
    {"momentum", OPTION_REAL, offsetof(struct config, tau), "0.99", 0, 1, NULL, "of the target network"},
    {"data", OPTION_TEXT, offsetof(struct config, data), "", 0, 0, NULL, "folder of images"},
    {"similarity", OPTION_CHOICE, offsetof(struct config, similarity), "cosine", 0, 0, "cosine | dot|  gauss ", "of two regions"},
    {"flip", OPTION_BOOL, offsetof(struct config, flip), "yes", 0, 0, NULL, "mirror half of the views"},
    {"seed", OPTION_INT, offsetof(struct config, seed), "-1", -INFINITY, INFINITY, NULL, "of all random numbers"},
};
enum { COUNT = sizeof table / sizeof table[0] };

static struct config defaults(void) {
  struct config c;
  memset(&c, 0x55, sizeof c);
  options_default(table, COUNT, &c);
  return c;
}

static void defaults_are_as_written(void **state) {
  (void)state;
  struct config c = defaults();
  assert_true(c.flip && c.epochs == 100 && c.lr == 0.2 && c.tau == 0.99 && c.similarity == COSINE);
  assert_string_equal(c.data, "");
}

static void set_or_fail(struct config *c, const char *key, const char *value) {
  struct error err;
  if (!options_set(table, COUNT, c, key, value, &err)) fail_msg("%s", err.text);
}

static void every_form_of_a_value_is_read(void **state) {
  (void)state;
  static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {"no", "false", "off", "0"};
  struct config c = defaults();
  for (int i = 0; i < 4; i++) {
    set_or_fail(&c, "flip", no[i]);
    assert_false(c.flip);
    set_or_fail(&c, "flip", yes[i]);
    assert_true(c.flip);
  }
  set_or_fail(&c, "train.epochs", "1");
  assert_true(c.epochs == 1);
  set_or_fail(&c, "train.epochs", " 1000\t");
  assert_true(c.epochs == 1000);
  set_or_fail(&c, "seed", "-9223372036854775808");
  assert_true(c.seed == INT64_MIN);
  set_or_fail(&c, "seed", "9223372036854775807");
  assert_true(c.seed == INT64_MAX);
  set_or_fail(&c, "lars.lr", "1e-3");
  assert_true(c.lr == 1e-3);
  set_or_fail(&c, "lars.lr", "4.9e-324");
  assert_true(c.lr == 0x1p-1074);
  set_or_fail(&c, "lars.lr", "0");
  assert_true(c.lr == 0);
  set_or_fail(&c, "similarity", "dot");
  assert_int_equal(c.similarity, DOT);
  set_or_fail(&c, "similarity", "gauss");
  assert_int_equal(c.similarity, GAUSS);
  set_or_fail(&c, "data", " /a b/#c=d ");
  assert_string_equal(c.data, "/a b/#c=d");
}

static void what_cannot_be_set_is_answered_and_changes_nothing(void **state) {
  (void)state;
  static char long_text[OPTION_TEXT_SIZE + 1];
  memset(long_text, 'x', sizeof long_text - 1);
  const struct {
    const char *key, *value, *message;
  } bad[] = {
      {"train.epochs", "0", "train.epochs: '0' is not a whole number from 1 to 1000"},
      {"train.epochs", "1001", "train.epochs: '1001' is not a whole number from 1 to 1000"},
      {"train.epochs", "3.5", "'3.5' is not a whole number"},
      {"train.epochs", "10x", "'10x' is not a whole number"},
      {"train.epochs", "", "'' is not a whole number"},
      {"train.epochs", "99999999999999999999", "is not a whole number from 1 to 1000"},
      {"seed", "9223372036854775808", "seed: '9223372036854775808' is not a whole number of any size"}, /* 2^63 */
      {"seed", "-9223372036854775809", "is not a whole number"},
      {"train.epochs", "0x10", "is not a whole number"},
      {"lars.lr", "-0.1", "lars.lr: '-0.1' is not a number of at least 0"},
      {"lars.lr", "nan", "'nan' is not a number"},
      {"lars.lr", "inf", "'inf' is not a number"},
      {"lars.lr", "1e999", "'1e999' is not a number"},
      {"lars.lr", "0,2", "'0,2' is not a number"},
      {"lars.lr", "", "'' is not a number"},
      {"momentum", "1.01", "momentum: '1.01' is not a number from 0 to 1"},
      {"flip", "maybe", "flip: 'maybe' is neither yes nor no"},
      {"flip", "", "flip: '' is neither yes nor no"},
      {"similarity", "cosin", "similarity: 'cosin' is not one of: cosine | dot|  gauss"},
      {"similarity", "", "similarity: '' is not one of"},
      {"similarity", "cosine | dot", "similarity: 'cosine | dot' is not one of"},
      {"data", "a\nb", "data: 'a?b' has a control character"},
      {"data", long_text, "data: the value has 4096 bytes, more than 4095"},
      {"momentun", "1", "momentun: there is no such option; did you mean momentum?"},
      {"lr", "1", "lr: there is no such option; did you mean lars.lr?"},
      {"epochs", "1", "did you mean train.epochs?"},
      {"xyzzyxyzzy", "1", "nor one with a similar name"},
      {"", "1", "nor one with a similar name"},
      {long_text, "1", "nor one with a similar name"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct error err;
    struct config c = defaults(), before = c;
    assert_false(options_set(table, COUNT, &c, bad[i].key, bad[i].value, &err));
    if (!strstr(err.text, bad[i].message)) fail_msg("'%s' does not say '%s'", err.text, bad[i].message);
    assert_memory_equal(&c, &before, sizeof c);
  }
}

static void an_argument_is_key_equals_value(void **state) {
  (void)state;
  struct error err;
  struct config c = defaults();
  assert_true(options_argument(table, COUNT, &c, "train.epochs=7", &err) && c.epochs == 7);
  assert_true(options_argument(table, COUNT, &c, " train.epochs = 8 ", &err) && c.epochs == 8);
  assert_true(options_argument(table, COUNT, &c, "data=a=b", &err));
  assert_string_equal(c.data, "a=b");
  assert_true(options_argument(table, COUNT, &c, "data=", &err));
  assert_string_equal(c.data, "");
  static const struct {
    const char *argument, *message;
  } bad[] = {{"train.epochs", "'train.epochs' is not of the form key=value"},
             {"=7", "has no key"},
             {"", "not of the form"},
             {"epoch=7", "did you mean train.epochs?"}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    assert_false(options_argument(table, COUNT, &c, bad[i].argument, &err));
    if (!strstr(err.text, bad[i].message)) fail_msg("'%s' does not say '%s'", err.text, bad[i].message);
  }
}

static void a_file_of_lines_is_read(void **state) {
  (void)state;
  static const char text[] = "\xEF\xBB\xBF# a preset\r\n\r\n  train.epochs = 20\r\n\t# flip = no\n"
                             "lars.lr=0.5\nmomentum   =   0.5   \ndata = /x # y\nsimilarity = dot";
  struct error err;
  struct config c = defaults();
  if (!options_parse(table, COUNT, &c, text, strlen(text), "preset", &err)) fail_msg("%s", err.text);
  assert_true(c.epochs == 20 && c.lr == 0.5 && c.tau == 0.5 && c.similarity == DOT && c.flip);
  assert_string_equal(c.data, "/x # y");
  assert_true(options_parse(table, COUNT, &c, "", 0, "empty", &err));
  assert_true(options_parse(table, COUNT, &c, "flip = no and not this", 9, "part", &err)); /* size counts, not a zero */
  assert_false(c.flip);
}

static void messages_carry_the_line(void **state) {
  (void)state;
  static const struct {
    const char *text;
    size_t size; /* 0: to the end */
    const char *message;
  } bad[] = {{"flip = yes\n\nflop = yes\n", 0, "a.conf:3: flop: there is no such option; did you mean flip?"},
             {"# x\nflip\n", 0, "a.conf:2: 'flip' is not of the form key=value"},
             {"lars.lr = 0.2 # high", 0, "a.conf:1: lars.lr: '0.2 # high' is not a number"},
             {"flip = yes\0", 11, "a.conf:1: a zero byte"},
             {"[train]\n", 0, "a.conf:1: '[train]' is not of the form key=value"}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct error err;
    struct config c = defaults();
    assert_false(options_parse(table, COUNT, &c, bad[i].text, bad[i].size ? bad[i].size : strlen(bad[i].text), "a.conf", &err));
    if (strncmp(err.text, bad[i].message, strlen(bad[i].message)) != 0) fail_msg("'%s' is not '%s'", err.text, bad[i].message);
  }
}

static void what_is_printed_reads_back_exactly(void **state) {
  (void)state;
  struct philox g = philox_stream(3, PHILOX_TEST, 0, 0, 0);
  for (int i = 0; i < 3000; i++) {
    struct error err;
    struct config c = defaults(), back = defaults();
    /* any positive double; every third a short decimal */
    uint64_t bits = (uint64_t)philox_u32(&g) << 32 | philox_u32(&g);
    bits &= INT64_MAX;
    memcpy(&c.lr, &bits, sizeof c.lr);
    if (!isfinite(c.lr) || i % 3 == 0) c.lr = (double)philox_below(&g, 100000) / 1000;
    c.tau = philox_uniform(&g);
    c.epochs = 1 + philox_below(&g, 1000);
    c.seed = (int64_t)((uint64_t)philox_u32(&g) << 32 | philox_u32(&g));
    c.flip = philox_below(&g, 2) == 1;
    c.similarity = (int)philox_below(&g, 3);
    snprintf(c.data, sizeof c.data, "a # \"%u\" = \\n", philox_u32(&g));
    char *text = options_format(table, COUNT, &c);
    assert_non_null(text);
    if (!options_parse(table, COUNT, &back, text, strlen(text), "text", &err)) fail_msg("%s", err.text);
    assert_true(memcmp(&back.lr, &c.lr, sizeof c.lr) == 0 && back.tau == c.tau && back.epochs == c.epochs && back.seed == c.seed &&
                back.flip == c.flip && back.similarity == c.similarity);
    assert_string_equal(back.data, c.data);
    free(text);
  }
}

static void values_are_printed_as_people_write_them(void **state) {
  (void)state;
  struct config c = defaults();
  char *text = options_format(table, COUNT, &c);
  assert_string_equal(text, "train.epochs = 100\nlars.lr = 0.2\nmomentum = 0.99\ndata = \nsimilarity = cosine\nflip = yes\nseed = -1\n");
  free(text);
  static const struct {
    double value;
    const char *text;
  } known[] = {{0.1, "0.1"},
               {300, "300"},
               {1e-5, "1e-05"},
               {0.1 + 0.2, "0.30000000000000004"},
               {1.0 / 3, "0.3333333333333333"},
               {4096, "4096"},
               {0x1p-1074, "4.94065645841247e-324"},
               {1000000, "1000000"}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    char value[64];
    c.lr = known[i].value;
    options_value(&table[1], &c, value, sizeof value);
    assert_string_equal(value, known[i].text);
  }
  char little[3];
  options_value(&table[4], &c, little, sizeof little);
  assert_string_equal(little, "co");
}

static void the_nearest_word_is_the_one_meant(void **state) {
  (void)state;
  static const char *const words[] = {"lars.lr", "lars.momentum", "lars.weight_decay", "batch", "epochs", "loss.alpha", "loss.beta", "seed",
                                      "out"};
  enum { WORDS = sizeof words / sizeof words[0] };
  static const struct {
    const char *typed, *meant;
  } known[] = {{"lr", "lars.lr"},
               {"momentum", "lars.momentum"},
               {"momnetum", "lars.momentum"},
               {"lars.momentun", "lars.momentum"},
               {"weight_decay", "lars.weight_decay"},
               {"weigth_deacy", "lars.weight_decay"},
               {"decay", "lars.weight_decay"},
               {"bathc", "batch"},
               {"abthc", "batch"}, /* two swaps */
               {"BATCH", "batch"},
               {"epoch", "epochs"},
               {"epohcs", "epochs"},
               {"alpha", "loss.alpha"},
               {"ed", "seed"},
               {"see", "seed"},
               {"lars", "lars.lr"},
               {"zz", NULL},
               {"q", NULL},
               {"", NULL},
               {"completely.different", NULL}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    const char *nearest = nearest_word(known[i].typed, words, WORDS);
    if (known[i].meant ? !nearest || strcmp(nearest, known[i].meant) != 0 : nearest != NULL)
      fail_msg("'%s' gives %s, meant was %s", known[i].typed, nearest ? nearest : "nothing", known[i].meant ? known[i].meant : "nothing");
  }
  assert_null(nearest_word("x", NULL, 0));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(defaults_are_as_written),
                                     cmocka_unit_test(every_form_of_a_value_is_read),
                                     cmocka_unit_test(what_cannot_be_set_is_answered_and_changes_nothing),
                                     cmocka_unit_test(an_argument_is_key_equals_value),
                                     cmocka_unit_test(a_file_of_lines_is_read),
                                     cmocka_unit_test(messages_carry_the_line),
                                     cmocka_unit_test(what_is_printed_reads_back_exactly),
                                     cmocka_unit_test(values_are_printed_as_people_write_them),
                                     cmocka_unit_test(the_nearest_word_is_the_one_meant)};
  return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
