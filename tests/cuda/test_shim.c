/* The shim finds mistakes: kernels that are wrong on purpose come out wrong or are reported. The launches that fail say so on standard
 * error. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cuda/device.h"
#include "cuda/faulty.h"
#include "cuda/reported.h"

static void numbered(real x[FAULTY_SIZE]) {
  for (int i = 0; i < FAULTY_SIZE; i++) x[i] = (real)i;
}

/* What the kernel makes of 0, 1, ... 63. */
static real *run(void (*kernel)(float *)) {
  real x[FAULTY_SIZE];
  numbered(x);
  real *dev = device_from(x, FAULTY_SIZE);
  kernel(dev);
  return device_read(dev, FAULTY_SIZE);
}

static bool is_reversed(const real *x) {
  for (int i = 0; i < FAULTY_SIZE; i++)
    if (x[i] != (real)(FAULTY_SIZE - 1 - i)) return false;
  return true;
}

static void a_barrier_orders_and_its_absence_shows(void **state) {
  (void)state;
  int wrong = 0, drifted = 0;
  for (uint64_t seed = 0; seed < 8; seed++) {
    shim_seed(seed);
    real *sound = run(sound_reverse), *faulty = run(faulty_missing_barrier), *drifting = run(faulty_drifting_warps);
    assert_true(is_reversed(sound));
    wrong += !is_reversed(faulty), drifted += !is_reversed(drifting);
    free(sound), free(faulty), free(drifting);
    device_end();
  }
  assert_true(drifted > 0);
  assert_int_equal(wrong, 8); /* each time: some thread of 64 reads before another writes but once in 2^32 orders */
}

static void unwritten_shared_memory_is_not_a_number(void **state) {
  (void)state;
  real *x = run(faulty_unwritten_shared);
  assert_true(isnan(x[0]) && x[1] == 0);
  free(x);
  device_end();
}

static void blocks_come_in_no_order(void **state) {
  (void)state;
  real *x = run(faulty_order_of_blocks);
  int wrong = 0;
  for (int i = 0; i < FAULTY_SIZE; i++) wrong += x[i] != (real)(i + 1);
  assert_true(wrong > 0);
  free(x);
  device_end();
}

/* The device gets the first failure of the launch, as from a GPU; here it is only looked at, and cleared. */
static void is_reported(void (*kernel)(float *), const char *words) {
  real x[FAULTY_SIZE];
  numbered(x);
  kernel(device_from(x, FAULTY_SIZE));
  was_reported(words);
}

static void mistakes_are_reported(void **state) {
  (void)state;
  is_reported(faulty_partial_barrier, "is reached by 32 of 64 threads");
  is_reported(faulty_different_barriers, "wait at different barriers");
  is_reported(faulty_partial_shuffle, "is reached by lanes 0000ffff only");
  is_reported(faulty_host_pointer, "not to device memory");
  is_reported(faulty_grid, "cannot be launched");
  is_reported(faulty_assertion, "thread: [32,0,0] Assertion `at < FAULTY_SIZE` failed");
#if !defined __SANITIZE_ADDRESS__ /* which ends the program instead */
  is_reported(faulty_write_past_end, "wrote outside of an allocation of 256 bytes");
  is_reported(faulty_write_past_shared, "wrote outside of a shared array of 256 bytes");
#endif
}

/* After a failed launch the fibres start anew. */
static void a_sound_kernel_runs_after_a_failure(void **state) {
  (void)state;
  is_reported(faulty_partial_barrier, "is reached by");
  is_reported(faulty_assertion, "Assertion");
  real *x = run(sound_reverse);
  assert_true(is_reversed(x));
  free(x);
  device_end();
}

/* As the host of a real GPU must not: in a process of its own, which does not come to its end. */
static void a_host_that_touches_device_memory_ends(void **state) {
  (void)state;
  real x[FAULTY_SIZE];
  numbered(x);
  volatile real *dev = device_from(x, FAULTY_SIZE);
  for (int write = 0; write < 2; write++) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
      signal(SIGSEGV, SIG_DFL); /* not cmocka's */
      if (write)
        dev[1] = 5;
      else
        (void)dev[1];
      _exit(0);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  device_end();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_barrier_orders_and_its_absence_shows),
                                     cmocka_unit_test(unwritten_shared_memory_is_not_a_number),
                                     cmocka_unit_test(blocks_come_in_no_order),
                                     cmocka_unit_test(mistakes_are_reported),
                                     cmocka_unit_test(a_sound_kernel_runs_after_a_failure),
                                     cmocka_unit_test(a_host_that_touches_device_memory_ends)};
  return cmocka_run_group_tests_name("cuda shim", tests, NULL, NULL);
}
