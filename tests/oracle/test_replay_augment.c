/* oracle replay of views: what was drawn is a file of numbers that anybody may have written. */
#include <math.h>
#include <string.h>

#include "support/recorded.h"

#include "support/cmocka.h"
#include "support/program.h"

#define SMALL "preset=sanity batch=2 size=16 projector.hidden=8 projector.out=8"
#define DRAW "0.0/augment/-/1/1/draw"

enum { MISMATCH = 1, BAD_INPUT = 2, DRAWS = 20 };

/* A dump of one step with views, of which draws are overwritten. */
static struct dump step;
static double right[DRAWS], draws[DRAWS];

static int enter(void **state) {
  struct error err;
  program_enter(state);
  program_expect(0, "full dump", program_run("oracle dump out=right " SMALL));
  if (!dump_open(&step, "right", &err)) fail_msg("%s", err.text);
  struct tensor *t = &recorded_entry(&step, DRAW)->data;
  assert_true(t->dtype == DTYPE_F64 && tensor_count(t) == DRAWS);
  memcpy(right, t->data, sizeof right);
  t->data = draws;
  return 0;
}

static int leave(void **state) {
  dump_close(&step);
  return program_leave(state);
}

static const struct outcome *replayed_with(int place, double value) {
  memcpy(draws, right, sizeof draws);
  draws[place] = value;
  program_run("rm -rf d");
  recorded_write(&step, "d");
  return program_run("oracle replay d only='0.0/augment/*'");
}

/* Places are those of docs/golden-format.md. A size is refused before anything of it is computed: 16384 would be 3 GB. */
static void numbers_that_mean_nothing_are_refused(void **state) {
  (void)state;
  static const char jitter[] = "attribute \"jitter\" is \"?\", expected none | byol | torchvision";
  static const char order[] = "attribute \"order\" is not the four jitter steps in some order";
  static const char infinite[] = "a number among the attributes is not finite";
  static const struct {
    int place;
    double value;
    const char *says;
  } hostile[] = {
      {0, -1, "attribute \"top\" is -1"},
      {2, 0, "attribute \"height\" is 0"},
      {3, 1e300, "attribute \"width\" is -1"},
      {1, 1e5, "attribute \"left\" is 100000"},
      {4, NAN, "drawn for nan x nan pixels; the views of this batch have 16 x 16"},
      {4, 16384, "drawn for 16384 x 16384 pixels"},
      {7, 3, jitter},
      {7, -1, jitter},
      {7, 0.5, jitter},
      {7, NAN, jitter},
      {7, 1e18, jitter},
      {8, 4, order},
      {9, INFINITY, order},
      {12, NAN, infinite},
      {17, INFINITY, infinite},
      {18, 4, "blur needs odd taps"},
  };
  for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
    const struct outcome *o = replayed_with(hostile[i].place, hostile[i].value);
    if (o->status != BAD_INPUT || o->out[0] || program_lines(o->err) != 1 || !strstr(o->err, "oracle: 0.0/augment/-/1/1/view: ") ||
        !strstr(o->err, hostile[i].says))
      fail_msg("%d is %g: exit %d, expected 2 and \"%s\":\n%s%s", hostile[i].place, hostile[i].value, o->status, hostile[i].says, o->out,
               o->err);
  }
}

/* Possible ones, however far off, are computed with, and the view is a mismatch. */
static void numbers_of_any_size_are_a_mismatch(void **state) {
  (void)state;
  static const struct {
    int place;
    double value;
  } wrong[] = {{12, -1e308}, {13, 1e308}, {14, -1e308}, {15, 1e300}, {17, 1e-320}, {18, 16383}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    program_expect(MISMATCH, "0.0/augment/-/1/1/view[", replayed_with(wrong[i].place, wrong[i].value));
}

static void what_was_drawn_passes(void **state) {
  (void)state;
  program_expect(0, "4 tensors judged as fp32, 6 given: pass", replayed_with(7, right[7]));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(what_was_drawn_passes), cmocka_unit_test(numbers_that_mean_nothing_are_refused),
                                     cmocka_unit_test(numbers_of_any_size_are_a_mismatch)};
  return cmocka_run_group_tests(tests, enter, leave);
}
