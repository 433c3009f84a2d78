/* Convolutions by cuDNN and linear layers by cuBLASLt against the plain forms, in each precision: under the shim the libraries are the
 * stand-ins of tests/cuda/libraries, on a GPU NVIDIA's.
 *
 * Integers up to 3 are exact in every format, and so are their sums below 2^24: such a result is the plain form's, rounded once to what is
 * stored. Other numbers are held to the bound of a sum in float (products.h); in tf32 and bf16 they are rounded to the format first, and
 * then their products are exact in float. A tensor core may cut a sum off where float arithmetic rounds it, which is off by twice as much:
 * there the bound is doubled. A result that is stored as bf16 is off by half a unit more. */
#include <stdlib.h>
#include <unistd.h>

#include "cuda/conv_fixture.h"

static const char *const precision_name[CUDA_PRECISIONS] = {"fp32", "tf32", "bf16"}, *const direction_name[] = {"forward", "backward data",
                                                                                                                "backward weights"};

/* The stand-ins, where they were built and nothing else is named; else what the loader finds. Whether cuDNN is the stand-in. */
static bool name_libraries(void) {
  const char *build = getenv("BUILD");
  char folder[4096], file[4200];
  snprintf(folder, sizeof folder, "%s/shim/lib", build ? build : "build");
  snprintf(file, sizeof file, "%s/libcudnn.so.9", folder);
  if (access(file, R_OK) != 0) return false;
  setenv("EDIY_CUDNN", folder, 0);
  setenv("EDIY_CUBLAS", folder, 0);
  return strcmp(getenv("EDIY_CUDNN"), folder) == 0;
}

/* The table of both libraries, or the test is skipped. */
static const struct backend *table_of(enum cuda_precision precision) {
  struct backend_cuda_options o = {.precision = precision, .conv = CUDA_CONV_CUDNN, .gemm = CUDA_GEMM_CUBLAS};
  struct error err = {0};
  device_backend();
  name_libraries();
  const struct backend *b = backend_cuda(0, &o, &err);
  if (!b) skip_because("%s", err.text);
  return b;
}

/* ---- numbers ------------------------------------------------------------------------------------------------------------------------- */

static real *operands(const struct backend *b, bool ints, ptrdiff_t n, uint32_t stream) {
  real *x = fixture_numbers(n, ints, stream), *y = test_operand(b, x, n);
  free(x);
  return y;
}

/* What is on the device against the plain form: an activation, or a float of either table. */
static void check(const struct backend *b, bool is_activation, const real *device, const real *expected, const real *magnitude, ptrdiff_t n,
                  ptrdiff_t length, bool ints) {
  if (ints) {
    if (is_activation)
      assert_same_activations(b, device, expected, n);
    else
      assert_same_bits(device, expected, n);
    return;
  }
  bool half = is_activation && stores_bf16(b);
  double cut = strcmp(b->name, "cuda") == 0 ? 1 : 2;
  real *got = half ? device_read_activations(b, device, n) : device_read(device, n);
  double *bound = test_product_bound(magnitude, n, length);
  for (ptrdiff_t i = 0; i < n; i++) {
    double e = fabs((double)got[i] - (double)expected[i]), allowed = cut * bound[i];
    if (half) allowed += 0x1p-8 * (fabs((double)expected[i]) + cut * bound[i]);
    if (!(e <= allowed))
      fail_msg("[%td] is %.9g, expected %.9g: off by %.3g, allowed %.3g", i, (double)got[i], (double)expected[i], e, allowed);
  }
  free(got), free(bound);
}

/* ---- convolution --------------------------------------------------------------------------------------------------------------------- */

/* In bf16 the channels of the first shapes are multiples of 8, as tensor cores want them; the others show what happens without. */
static const struct conv_shape shapes[] = {
    {2, 7, 5, 8, 16, 3, 3, 1, 1, "3x3"},
    {2, 6, 6, 24, 8, 1, 1, 1, 0, "1x1"},
    {2, 8, 7, 8, 8, 3, 3, 2, 1, "3x3/2"},
    {1, 8, 7, 16, 8, 1, 1, 2, 0, "1x1/2"},
    {2, 9, 8, 3, 4, 7, 7, 2, 3, "the stem"},
    {1, 5, 6, 2, 3, 3, 2, 3, 1, "a kernel that is not square, stride 3"},
    {1, 1, 1, 1, 1, 1, 1, 1, 0, "one of everything"},
    {2, 4, 3, 17, 9, 3, 3, 1, 2, "more padding than the kernel needs"},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void make(struct fixture *f, enum cuda_precision precision, int i, bool ints) {
  fixture_make(f, table_of(precision), &shapes[i], ints, true);
}

static void forward(enum cuda_precision precision, int i, bool ints) {
  struct fixture f;
  make(&f, precision, i, ints);
  struct result y = result_y(&f);
  f.b->conv_forward(&f.g, f.dev_x, f.dev_w, y.device, f.scratch);
  check(f.b, true, y.device, y.expected, y.magnitude, y.size, y.length, ints);
  result_free(&y);
  fixture_free(&f);
}

static void backward_data(enum cuda_precision precision, int i, bool ints, bool accumulate) {
  struct fixture f;
  make(&f, precision, i, ints);
  struct result dx = result_dx(&f, ints, accumulate);
  f.b->conv_backward_data(&f.g, f.dev_dy, f.dev_w, dx.device, accumulate, f.scratch);
  check(f.b, true, dx.device, dx.expected, dx.magnitude, dx.size, dx.length, ints);
  result_free(&dx);
  fixture_free(&f);
}

static void backward_weights(enum cuda_precision precision, int i, bool ints) {
  struct fixture f;
  make(&f, precision, i, ints);
  struct result dw = result_dw(&f, ints);
  f.b->conv_backward_weights(&f.g, f.dev_x, f.dev_dy, dw.device, f.scratch);
  check(f.b, false, dw.device, dw.expected, dw.magnitude, dw.size, dw.length + 1, ints);
  result_free(&dw);
  fixture_free(&f);
}

static void convolutions_are_the_sums(enum cuda_precision precision) {
  print_message("%s\n", precision_name[precision]);
  for (int i = 0; i < 2 * SHAPES; i++) {
    forward(precision, i / 2, i % 2);
    backward_data(precision, i / 2, i % 2, false);
    backward_data(precision, i / 2, i % 2, true);
    backward_weights(precision, i / 2, i % 2);
  }
}

static void convolutions_are_the_sums_in_fp32(void **state) { (void)state, convolutions_are_the_sums(CUDA_FP32); }
static void convolutions_are_the_sums_in_tf32(void **state) { (void)state, convolutions_are_the_sums(CUDA_TF32); }
static void convolutions_are_the_sums_in_bf16(void **state) { (void)state, convolutions_are_the_sums(CUDA_BF16); }

/* ---- linear -------------------------------------------------------------------------------------------------------------------------- */

static const struct linear layers[] = {{1, 1, 1}, {3, 5, 7}, {2, 70, 3}, {66, 3, 65}, {5, 1, 130}, {40, 24, 16}};
enum { LAYERS = sizeof layers / sizeof layers[0] };

static void linear_layer(enum cuda_precision precision, const struct linear *g, bool ints, bool bias) {
  const struct backend *b = table_of(precision);
  const struct conv conv = {.n = g->m, .h = 1, .w = 1, .c = g->i, .k = g->o, .r = 1, .s = 1, .stride = 1, .pad = 0, .p = 1, .q = 1};
  ptrdiff_t xs = g->m * g->i, ws = g->o * g->i, ys = g->m * g->o;
  real *x = operands(b, ints, xs, 1), *w = operands(b, ints, ws, 2), *v = operands(b, ints, g->o, 3), *dy = operands(b, ints, ys, 4),
       *before = operands(b, ints, xs, 5);
  real *ax = test_magnitudes(x, xs), *aw = test_magnitudes(w, ws), *ady = test_magnitudes(dy, ys);
  real *dev_x = device_activations_from(b, x, xs), *dev_dy = device_activations_from(b, dy, ys), *dev_w = device_activations_from(b, w, ws);
  void *scratch = device_scratch(b->linear_scratch(g));

  real *y = device_activations(b, ys), *expected = test_reals(ys), *magnitude = test_reals(ys);
  conv_forward_plain(&conv, x, w, expected), conv_forward_plain(&conv, ax, aw, magnitude);
  for (ptrdiff_t i = 0; bias && i < ys; i++) expected[i] += v[i % g->o], magnitude[i] += (real)fabs((double)v[i % g->o]);
  b->linear_forward(g, dev_x, dev_w, bias ? device_from(v, g->o) : NULL, y);
  check(b, true, y, expected, magnitude, ys, g->i + 1, ints); /* one more term, as in test_linear.c */
  free(expected), free(magnitude);

  for (int accumulate = 0; accumulate < 2; accumulate++) {
    real *dx = accumulate ? device_activations_from(b, before, xs) : device_activations(b, xs);
    expected = test_copy(before, xs), magnitude = test_magnitudes(before, xs);
    conv_backward_data_plain(&conv, dy, w, expected, accumulate), conv_backward_data_plain(&conv, ady, aw, magnitude, accumulate);
    b->linear_backward_data(g, dev_dy, dev_w, dx, accumulate);
    check(b, true, dx, expected, magnitude, xs, g->o, ints);
    free(expected), free(magnitude);
  }

  real *dw = ints ? test_ints(ws, INT_RANGE, 6) : test_normal(ws, 6), *db = test_normal(g->o, 7), *dev_dw = device_from(dw, ws),
       *dev_db = device_from(db, g->o);
  expected = test_copy(dw, ws), magnitude = test_magnitudes(dw, ws);
  conv_backward_weights_plain(&conv, x, dy, expected), conv_backward_weights_plain(&conv, ax, ady, magnitude);
  b->linear_backward_weights(g, dev_x, dev_dy, dev_dw, bias ? dev_db : NULL, scratch);
  check(b, false, dev_dw, expected, magnitude, ws, g->m + 1, ints);
  void *host = malloc(backend_reference()->linear_scratch(g) + 1);
  backend_reference()->linear_backward_weights(g, x, dy, dw, bias ? db : NULL, host);
  assert_same_bits(dev_db, db, g->o); /* the twin's: in double and in order */

  free(x), free(w), free(v), free(dy), free(before), free(ax), free(aw), free(ady), free(expected), free(magnitude), free(dw), free(db);
  free(host);
  device_end();
}

static void linear_layers_are_the_sums(void **state) {
  (void)state;
  for (int p = 0; p < CUDA_PRECISIONS; p++) {
    print_message("%s\n", precision_name[p]);
    for (int i = 0; i < 4 * LAYERS; i++) linear_layer((enum cuda_precision)p, &layers[i / 4], i % 2, i / 2 % 2);
  }
}

/* ---- what runs, and that it repeats -------------------------------------------------------------------------------------------------- */

/* Every product goes through them, and none past them by a pass that the twins alone have. */
static void products_are_the_libraries(void **state) {
  (void)state;
  for (int p = 0; p < CUDA_PRECISIONS; p++) {
    const struct backend *b = table_of((enum cuda_precision)p), *own = device_backend_in((enum cuda_precision)p);
    assert_true(!b->conv_norm_forward_eval && !b->conv_moments && !b->conv_forward_moments);
    assert_true(b->conv_forward != own->conv_forward && b->conv_backward_data != own->conv_backward_data);
    assert_true(b->conv_backward_weights != own->conv_backward_weights && b->conv_scratch != own->conv_scratch);
    assert_true(b->conv_scratch_least == own->conv_scratch && b->linear_scratch != own->linear_scratch);
    assert_true(b->linear_forward != own->linear_forward && b->linear_backward_data != own->linear_backward_data);
    assert_true(b->linear_backward_weights != own->linear_backward_weights);
  }
}

/* The shapes with channels in eights are the library's in every direction: nothing falls to the twins unseen. What NVIDIA's has depends on
 * its version and on the GPU, and is no fault of ours: there it is said. The stand-in has the other shapes, too, some of them in its second
 * list alone, but for dw in bf16, where the twins take over. */
static void the_library_has_what_networks_need(void **state) {
  (void)state;
  bool is_standin = name_libraries();
  for (int p = 0; p < CUDA_PRECISIONS; p++)
    for (int i = 0; i < SHAPES; i++) {
      struct fixture f;
      make(&f, (enum cuda_precision)p, i, true);
      for (int d = 0; d < 3; d++) {
        bool by_eights = f.g.c % 8 == 0 && f.g.k % 8 == 0, has = backend_cuda_conv_is_library(&f.g, d, (enum cuda_precision)p);
        if (by_eights && !has)
          print_message("%s: cuDNN has no plan for %s, %s: the kernel here takes its place\n", precision_name[p], f.what,
                        direction_name[d]);
        if (is_standin) assert_int_equal(has, by_eights || p != CUDA_BF16 || d != 2);
      }
      fixture_free(&f);
    }
}

/* ---- addresses ----------------------------------------------------------------------------------------------------------------------- */

/* Moved by an element, so that it begins at no multiple of 16: activations of the table, or floats. */
static real *moved(const struct backend *b, const real *device, ptrdiff_t n, bool activations) {
  size_t element = activations ? b->activation_size : sizeof(real);
  char *to = device_poisoned((size_t)(n + 1) * element);
  b->copy(to + element, device, (size_t)n * element);
  return (real *)(void *)(to + element);
}

/* A tensor that is not aligned as the libraries ask, each in turn: the twins compute, of integers the same. */
static void tensors_may_begin_anywhere(void **state) {
  (void)state;
  for (int i = 0; i < 3 * CUDA_PRECISIONS; i++) {
    struct fixture f;
    int which = i % 3; /* x, w or y, and their gradients */
    make(&f, (enum cuda_precision)(i / 3), 0, true);
    real *x = which == 0 ? moved(f.b, f.dev_x, f.xs, true) : f.dev_x, *w = which == 1 ? moved(f.b, f.dev_w, f.ws, true) : f.dev_w,
         *dy = which == 2 ? moved(f.b, f.dev_dy, f.ys, true) : f.dev_dy;
    struct result y = result_y(&f), dx = result_dx(&f, true, true), dw = result_dw(&f, true);
    if (which == 0) dx.device = moved(f.b, dx.device, f.xs, true);
    if (which == 1) dw.device = moved(f.b, dw.device, f.ws, false);
    if (which == 2) y.device = moved(f.b, y.device, f.ys, true);
    f.b->conv_forward(&f.g, x, w, y.device, f.scratch);
    f.b->conv_backward_data(&f.g, dy, w, dx.device, true, f.scratch);
    f.b->conv_backward_weights(&f.g, x, dy, dw.device, f.scratch);
    check(f.b, true, y.device, y.expected, y.magnitude, y.size, y.length, true);
    check(f.b, true, dx.device, dx.expected, dx.magnitude, dx.size, dx.length, true);
    check(f.b, false, dw.device, dw.expected, dw.magnitude, dw.size, dw.length, true);
    result_free(&y), result_free(&dx), result_free(&dw);
    fixture_free(&f);
  }
}

/* The same of a linear layer, whose bias is a tensor more. Each number is 1, and a sum their count. */
static void tensors_of_a_layer_may_begin_anywhere(void **state) {
  (void)state;
  const struct linear g = {16, 8, 24};
  enum { MOST = 24 * 16 };
  real ones[MOST];
  for (int i = 0; i < MOST; i++) ones[i] = 1;
  for (int i = 0; i < 4 * CUDA_PRECISIONS; i++) {
    int which = i % 4; /* x, w, y or b, and their gradients */
    const struct backend *b = table_of((enum cuda_precision)(i / 4));
    const struct {
      ptrdiff_t size;
      bool activations;
      int moved;
      real value; /* of what is computed; 0: an operand */
    } kinds[] = {{g.m * g.i, true, 0, 0},
                 {g.o * g.i, true, 1, 0},
                 {g.m * g.o, true, 2, 0},
                 {g.o, false, 3, 0},
                 {g.m * g.o, true, 2, (real)g.i + 1},
                 {g.m * g.i, true, 0, (real)g.o},
                 {g.o * g.i, false, 1, (real)g.m + 1},
                 {g.o, false, 3, (real)g.m + 1}};
    enum { X, W, DY, B, Y, DX, DW, DB, KINDS };
    real *p[KINDS];
    for (int k = 0; k < KINDS; k++) {
      p[k] = kinds[k].activations ? device_activations_from(b, ones, kinds[k].size) : device_from(ones, kinds[k].size);
      if (kinds[k].moved == which) p[k] = moved(b, p[k], kinds[k].size, kinds[k].activations);
    }
    b->linear_forward(&g, p[X], p[W], p[B], p[Y]);
    b->linear_backward_data(&g, p[DY], p[W], p[DX], false);
    b->linear_backward_weights(&g, p[X], p[DY], p[DW], p[DB], device_scratch(b->linear_scratch(&g)));
    for (int k = Y; k < KINDS; k++) {
      real *got = kinds[k].activations ? device_read_activations(b, p[k], kinds[k].size) : device_read(p[k], kinds[k].size);
      for (ptrdiff_t e = 0; e < kinds[k].size; e++) assert_true(got[e] == kinds[k].value);
      free(got);
    }
    device_end();
  }
}

static void results_repeat(void **state) {
  (void)state;
  for (int p = 0; p < CUDA_PRECISIONS; p++) {
    struct fixture f;
    make(&f, (enum cuda_precision)p, 2, false);
    fixture_dw_repeats(&f);
    fixture_free(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(convolutions_are_the_sums_in_fp32),
                                     cmocka_unit_test(convolutions_are_the_sums_in_tf32),
                                     cmocka_unit_test(convolutions_are_the_sums_in_bf16),
                                     cmocka_unit_test(linear_layers_are_the_sums),
                                     cmocka_unit_test(products_are_the_libraries),
                                     cmocka_unit_test(the_library_has_what_networks_need),
                                     cmocka_unit_test(tensors_may_begin_anywhere),
                                     cmocka_unit_test(tensors_of_a_layer_may_begin_anywhere),
                                     cmocka_unit_test(results_repeat)};
  return cmocka_run_group_tests_name("cuda libraries", tests, NULL, NULL);
}
