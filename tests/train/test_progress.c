/* What is shown fits the terminal, most important first, and not too often. */
#include "train/progress.h"

#include <string.h>

#include "support/cmocka.h"

static void durations_read_well(void **state) {
  (void)state;
  static const struct {
    double seconds;
    const char *text;
  } known[] = {{0, "0 s"},           {59.4, "59 s"}, {59.6, "1 min 00 s"}, {725, "12 min 05 s"}, {18420, "5 h 07 min"},
               {274000, "3 d 04 h"}, {-1, "?"},      {0.0 / 0.0, "?"}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    char text[32];
    duration_format(known[i].seconds, text, sizeof text);
    assert_string_equal(text, known[i].text);
  }
}

static struct progress sample(void) {
  return (struct progress){.now = {.step = 12,
                                   .epoch = 1,
                                   .lr = 0.25,
                                   .total = 5.4321,
                                   .rdem = 1.5,
                                   .riem = 0.25,
                                   .byol = 3.75,
                                   .regions = true,
                                   .std_global = 0.05,
                                   .std_local = 0.06,
                                   .region_cosine = 0.5,
                                   .entropy_rdem = 1.25,
                                   .entropy_riem = 2.5,
                                   .images_per_s = 12.34},
                           .steps = 400,
                           .epochs = 20,
                           .seconds = 30,
                           .seconds_left = 970};
}

static void a_line_holds_all_that_matters(void **state) {
  (void)state;
  struct progress p = sample();
  char text[400];
  progress_line(&p, 0, text, sizeof text);
  assert_string_equal(text, "step 12/400  loss 5.4321  (rdem 1.500 riem 0.250 byol 3.750)  16 min 10 s left  12.3 images/s  "
                            "std 0.050/0.060 cos 0.50 H 1.25/2.50  epoch 1/20  lr 0.25");
  p.now.regions = false; /* BYOL alone */
  progress_line(&p, 0, text, sizeof text);
  assert_string_equal(text, "step 12/400  loss 5.4321  16 min 10 s left  12.3 images/s  std 0.050  epoch 1/20  lr 0.25");
}

/* Nothing behind the buffer is written to, whatever its size; where it is what ends the line, that too is between parts. */
static void a_line_never_exceeds_its_buffer(void **state) {
  (void)state;
  struct progress p = sample();
  char whole[400];
  progress_line(&p, 0, whole, sizeof whole);
  for (size_t size = 1; size < 250; size++)
    for (int columns = 0; columns < 250; columns += 83) {
      char text[400];
      memset(text, 'x', sizeof text);
      progress_line(&p, columns, text, size);
      size_t n = strlen(text);
      assert_true(n < size && (columns == 0 || n <= (size_t)columns));
      for (size_t i = size; i < sizeof text; i++) assert_true(text[i] == 'x');
      assert_memory_equal(text, whole, n);
      assert_true(n == 0 || whole[n] == 0 || whole[n] == ' ');
    }
}

static void a_line_never_exceeds_the_terminal_and_is_cut_between_parts(void **state) {
  (void)state;
  struct progress p = sample();
  char whole[400];
  progress_line(&p, 0, whole, sizeof whole);
  for (int columns = 1; columns < 250; columns++) {
    char text[400];
    progress_line(&p, columns, text, sizeof text);
    size_t n = strlen(text);
    assert_true(n <= (size_t)columns);
    assert_memory_equal(text, whole, n);
    assert_true(n == 0 || whole[n] == 0 || whole[n] == ' ');
  }
}

static void plain_lines_come_every_five_seconds_live_ones_ten_times_a_second(void **state) {
  (void)state;
  for (int terminal = 0; terminal < 2; terminal++) {
    struct progress_pace pace = {0};
    struct progress p = sample();
    p.steps = 4000;
    int shown = 0;
    for (int i = 1; i <= 4000; i++) { /* 32 steps a second, from 64 s on, exact in binary */
      p.now.step = i, p.seconds = 64 + i * 0x1p-5;
      shown += progress_due(&pace, &p, terminal);
    }
    /* 125 s: the first, one every 5 s = 160 steps, the last (4000 = 1 + 24 * 160 + 159); every fourth step (0.125 s) */
    assert_int_equal(shown, terminal ? 1 + 999 + 1 : 1 + 24 + 1);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(durations_read_well), cmocka_unit_test(a_line_holds_all_that_matters),
                                     cmocka_unit_test(a_line_never_exceeds_its_buffer),
                                     cmocka_unit_test(a_line_never_exceeds_the_terminal_and_is_cut_between_parts),
                                     cmocka_unit_test(plain_lines_come_every_five_seconds_live_ones_ten_times_a_second)};
  return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
