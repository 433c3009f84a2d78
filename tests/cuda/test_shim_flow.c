/* How a training run goes on a GPU whose copies come as late, and as early, as events allow; what it waits for; and what a graph
 * refuses. */
#include "cuda/runs.h"
#include "cuda/shim_control.h"

/* ---- the pipeline alone -------------------------------------------------------------------------------------------------------------- */

enum { ROUNDS = 9, NUMBERS = 100 };
enum omission { NOTHING, ARRIVE, LEAVE, SENT, STATUS };

/* Rounds in which numbers go up through the lanes, are copied to a place of the round's, and come back; with one call left out. Whether all
 * came back. */
static bool rounds(enum shim_order order, enum omission without) {
  const struct backend *b = device_backend();
  const struct pipeline *p = b->pipeline;
  struct error err = {0};
  enum { BYTES = NUMBERS * sizeof(int32_t) };
  void *pinned[PIPELINE_LANES], *back, *lane[PIPELINE_LANES] = {device_poisoned(BYTES), device_poisoned(BYTES)};
  char *all = device_poisoned((size_t)ROUNDS * BYTES);
  for (int l = 0; l < PIPELINE_LANES; l++)
    if (!p->pin(BYTES, &pinned[l], &err)) fail_msg("%s", err.text);
  if (!p->pin((size_t)ROUNDS * BYTES, &back, &err)) fail_msg("%s", err.text);
  shim_order = order;
  for (int r = 0; r < ROUNDS; r++) {
    int l = r % PIPELINE_LANES;
    if (r >= PIPELINE_LANES && without != SENT) p->sent(l);
    for (int i = 0; i < NUMBERS; i++) ((int32_t *)pinned[l])[i] = r;
    p->send(l, lane[l], pinned[l], BYTES);
    if (without != ARRIVE) p->arrive(l);
    b->copy(all + (size_t)r * BYTES, lane[l], BYTES);
    if (without != LEAVE) p->leave(l);
  }
  p->fetch(back, all, (size_t)ROUNDS * BYTES);
  if (without != STATUS) assert_true(b->status(&err));
  bool right = true;
  for (int r = 0; r < ROUNDS; r++)
    for (int i = 0; i < NUMBERS; i++) right &= ((int32_t *)back)[r * NUMBERS + i] == r;
  shim_order = SHIM_AT_ONCE;
  assert_true(b->status(&err));
  for (int l = 0; l < PIPELINE_LANES; l++) p->unpin(pinned[l]);
  p->unpin(back);
  device_end();
  return right;
}

static void every_wait_is_needed(void **state) {
  (void)state;
  for (int order = SHIM_AT_ONCE; order < SHIM_ORDERS; order++) assert_true(rounds((enum shim_order)order, NOTHING));
  assert_false(rounds(SHIM_COPIES_LATE, ARRIVE));
  assert_false(rounds(SHIM_ALL_LATE, SENT));
  assert_false(rounds(SHIM_COPIES_EARLY, LEAVE));
  assert_false(rounds(SHIM_COPIES_EARLY, STATUS));
}

/* The memory of the host that is uploaded may be used again at once, and what is downloaded is there: also where it is page-locked, so that
 * the runtime itself does not wait. */
static void up_and_down_are_done_when_they_return(void **state) {
  (void)state;
  const struct backend *b = device_backend();
  struct error err = {0};
  void *pinned;
  const int32_t before[] = {1, 2}, after[] = {3, 4};
  int32_t *dev = device_poisoned(sizeof before);
  if (!b->pipeline->pin(sizeof before, &pinned, &err)) fail_msg("%s", err.text);
  shim_order = SHIM_ALL_LATE;
  memcpy(pinned, before, sizeof before);
  b->upload(dev, pinned, sizeof before);
  memcpy(pinned, after, sizeof after);
  b->download(pinned, dev, sizeof before);
  assert_memory_equal(pinned, before, sizeof before);
  shim_order = SHIM_AT_ONCE;
  b->pipeline->unpin(pinned);
  device_end();
}

/* ---- recording ----------------------------------------------------------------------------------------------------------------------- */

static double tau_now;
static real *theta, *xi;
static void average(void *context) {
  (void)context;
  device_backend()->ema_update(4, tau_now, theta, xi);
}
static void average_and_upload(void *context) {
  average(context);
  const real x = 1;
  device_backend()->upload(theta, &x, sizeof x);
}
static void average_and_reserve(void *context) {
  void *p;
  struct error err;
  average(context);
  (void)device_backend()->reserve(8, &p, &err);
}
static void average_and_wait(void *context) {
  struct error err;
  average(context);
  (void)device_backend()->status(&err);
}

/* Nothing is done while it is recorded; a replay repeats the arguments of then. A section that waits, reserves or copies from the host's
 * own memory is refused, as is any where no graph can be made, and the device is as before. */
static void a_recording_repeats_and_refuses(void **state) {
  (void)state;
  const struct backend *b = device_backend();
  const struct pipeline *p = b->pipeline;
  const real ones[] = {1, 1, 1, 1}, zeros[4] = {0}, half[] = {0.5f, 0.5f, 0.5f, 0.5f}, more[] = {0.75f, 0.75f, 0.75f, 0.75f};
  struct error err = {0};
  theta = device_from(ones, 4), xi = device_from(zeros, 4);
  tau_now = 0.5;
  struct recording *r = p->record(average, NULL, &err);
  if (!r) fail_msg("%s", err.text);
  assert_same_bits(xi, zeros, 4);
  tau_now = 0;
  p->replay(r);
  assert_same_bits(xi, half, 4);
  p->replay(r);
  assert_same_bits(xi, more, 4); /* not 1: 0.5 was recorded */
  p->forget(r), p->forget(NULL);

  void (*const sections[])(void *) = {average_and_upload, average_and_reserve, average_and_wait};
  for (int i = 0; i < 3; i++) {
    assert_null(p->record(sections[i], NULL, &err));
    if (!strstr(err.text, "operation not permitted when stream is capturing")) fail_msg("%s", err.text);
    assert_same_bits(xi, more, 4);
    assert_true(b->status(&err));
  }
  shim_machine.refuse = "graph";
  assert_null(p->record(average, NULL, &err));
  shim_machine.refuse = NULL;
  assert_string_equal(err.text, "invalid argument");
  average(NULL);
  assert_same_bits(xi, ones, 4);
  device_end();
}

/* ---- whole runs ---------------------------------------------------------------------------------------------------------------------- */

#define KEYS "backend=cuda size=8 epochs=2 warmup=1 sampler=random rdem.negative=instance "

/* Only the first and last step are logged and saved, so that runs of two and of three steps differ by one that has neither. */
static struct shim_counts one_step(const char *extra) {
  struct shim_counts at[3] = {shim_counts};
  static int runs;
  char keys[256];
  for (int k = 1; k < 3; k++) {
    snprintf(keys, sizeof keys, KEYS "log.every=100 checkpoint.every=100 stop=%d %s", k + 1, extra);
    char out[32];
    snprintf(out, sizeof out, "run%d", runs++);
    runs_on(NULL, out, keys);
    at[k] = shim_counts;
  }
#define OF_STEP(field) .field = at[2].field - at[1].field - (at[1].field - at[0].field)
  return (struct shim_counts){OF_STEP(stream_waits), OF_STEP(event_waits), OF_STEP(pageable), OF_STEP(allocations), OF_STEP(graphs)};
}

/* At its end; beyond one micro-batch, for copies of those before the last too. */
static void a_step_waits_once(void **state) {
  (void)state;
  struct shim_counts d = one_step("");
  assert_int_equal(d.stream_waits, 1);
  assert_int_equal(d.event_waits + d.pageable + d.allocations, 0);
  assert_int_equal(d.graphs, 1);
  d = one_step("cuda.graph=no");
  assert_int_equal(d.stream_waits, 1);
  assert_int_equal(d.event_waits + d.pageable + d.allocations + d.graphs, 0);
  d = one_step("accumulate=2");
  assert_int_equal(d.stream_waits, 1);
  assert_int_equal(d.pageable + d.allocations, 0);
  assert_true(d.event_waits <= 2);
  assert_int_equal(d.graphs, 2);
}

/* Also where the host may run far ahead, with four micro-batches a step. */
static void bits_hold_whenever_copies_run(void **state) {
  (void)state;
  static const char *const kinds[] = {"stop=4", "stop=2 batch=8 accumulate=4 data.ahead=1"};
  for (int i = 0; i < 2; i++) {
    char keys[256], out[SHIM_ORDERS][32];
    for (int order = SHIM_AT_ONCE; order < SHIM_ORDERS; order++) {
      snprintf(keys, sizeof keys, KEYS "epochs=3 %s", kinds[i]);
      snprintf(out[order], sizeof out[order], "o%d%d", i, order);
      shim_order = (enum shim_order)order;
      runs_on(NULL, out[order], keys);
      shim_order = SHIM_AT_ONCE;
      if (order > 0) runs_agree(out[0], out[order], i == 0 ? 4 : 2);
    }
  }
}

/* One line, and the bits of a run without. */
static void a_run_goes_on_without_a_graph(void **state) {
  (void)state;
  runs_on(NULL, "with", KEYS "stop=3");
  assert_null(strstr(runs_said, "cuda.graph"));
  shim_machine.refuse = "graph";
  runs_on(NULL, "without", KEYS "stop=3");
  shim_machine.refuse = NULL;
  assert_non_null(strstr(runs_said, "cuda.graph: a step cannot be recorded (invalid argument); its operations are enqueued one by one\n"));
  runs_agree("with", "without", 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_wait_is_needed),
                                     cmocka_unit_test(up_and_down_are_done_when_they_return),
                                     cmocka_unit_test(a_recording_repeats_and_refuses),
                                     cmocka_unit_test(a_step_waits_once),
                                     cmocka_unit_test(bits_hold_whenever_copies_run),
                                     cmocka_unit_test(a_run_goes_on_without_a_graph)};
  return cmocka_run_group_tests_name("cuda flow on the shim", tests, runs_setup, runs_teardown);
}
