/* Weights that others have written: in half precision, under names of their own. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "base/f16.h"
#include "base/safetensors.h"
#include "support/cmocka.h"
#include "support/program.h"

#define SMALL "backbone=small stem=cifar size=16"

static int enter(void **state) {
  program_enter(state);
  assert_runs("ediy export weights=random " SMALL " out=w.safetensors");
  return 0;
}

static void open_or_fail(struct safetensors *f, const char *path) {
  struct error err;
  if (!safetensors_open(f, path, &err)) fail_msg("%s", err.text);
}

enum { MOST = 400 };

/* Adds the tensors of w.safetensors under another name. */
static int add(const struct safetensors *f, const char *prefix, struct tensor *t, int count) {
  for (int i = 0; i < f->count; i++) {
    assert_true(count < MOST);
    const struct tensor *from = &f->tensor[i];
    t[count++] = tensor_make(from->dtype, from->data, from->ndim, from->shape, "%s%s", prefix, from->name);
  }
  return count;
}

/* Writes them under one prefix, and under the other if there is one. */
static void write_renamed(const char *to, const char *one, const char *other) {
  struct safetensors f;
  struct error err;
  static struct tensor t[MOST];
  open_or_fail(&f, "w.safetensors");
  int count = add(&f, one, t, 0);
  if (other) count = add(&f, other, t, count);
  if (!safetensors_write(to, t, count, NULL, &err)) fail_msg("%s", err.text);
  safetensors_close(&f);
}

static void assert_same_tensors(const char *a, const char *b) {
  struct safetensors x, y;
  open_or_fail(&x, a), open_or_fail(&y, b);
  assert_int_equal(x.count, y.count);
  for (int i = 0; i < x.count; i++) {
    const struct tensor *t = &x.tensor[i], *u = safetensors_find(&y, t->name);
    assert_true(u && u->dtype == t->dtype && tensor_count(u) == tensor_count(t));
    assert_memory_equal(t->data, u->data, (size_t)tensor_count(t) * dtype_size(t->dtype));
  }
  safetensors_close(&x), safetensors_close(&y);
}

static void a_prefix_of_all_names_is_left_out_and_said(void **state) {
  (void)state;
  static const char *const prefixes[] = {"module.", "backbone.", "module.encoder_q."};
  for (int i = 0; i < 3; i++) {
    char said[128];
    snprintf(said, sizeof said, "p.safetensors: its names begin with %s, which is left out\n", prefixes[i]);
    write_renamed("p.safetensors", prefixes[i], NULL);
    assert_non_null(strstr(assert_runs("ediy import weights=p.safetensors " SMALL " out=q.safetensors")->out, said));
    assert_same_tensors("q.safetensors", "w.safetensors");
  }
  const struct outcome *o = assert_runs("ediy import weights=w.safetensors out=q.safetensors");
  assert_string_equal(o->out, "q.safetensors: small, cifar stem, 128 channels\n");
  /* names as they should be come first: what else is in the file is passed over, as fc is */
  write_renamed("p.safetensors", "", "momentum_encoder.");
  assert_null(strstr(assert_runs("ediy import weights=p.safetensors " SMALL " out=q.safetensors")->out, "left out"));
  assert_same_tensors("q.safetensors", "w.safetensors");
}

static void other_verbs_name_import(void **state) {
  (void)state;
  write_renamed("p.safetensors", "module.", NULL);
  assert_runs("ediy scenes out=s images=16 val=4 classes=2 size=24");
  const char *said = "p.safetensors: its names begin with module.; ediy import weights=p.safetensors backbone=NAME out=FILE takes it over";
  assert_refused(said, "ediy embed weights=p.safetensors " SMALL " data=s/val out=f");
  assert_refused(said, "ediy export weights=p.safetensors " SMALL " out=f");
  const struct outcome *o = program_run("ediy train preset=demo data=s/train out=r batch=8 " SMALL " teacher=p.safetensors");
  assert_int_equal(o->status, 2);
  assert_non_null(strstr(o->err, said));
  assert_runs("test ! -e f -a ! -e r");
}

static void what_is_in_the_file_is_said(void **state) {
  (void)state;
  const char *keys = "ediy import weights=p.safetensors " SMALL " out=none";
  write_renamed("p.safetensors", "online.", "target.");
  assert_refused("p.safetensors: holds several backbones, under online. and target.; write one of them alone, in Python: "
                 "save_file({k[7:]: v for k, v in load_file(FILE).items() if k.startswith('online.')}, OUT)",
                 "%s", keys);
  write_renamed("p.safetensors", "module.", NULL);
  assert_refused("p.safetensors: tensor module.conv1.weight has shape [16, 3, 3, 3] where [64, 3, 3, 3]",
                 "ediy import weights=p.safetensors backbone=resnet50 "
                 "stem=cifar out=none");
  assert_runs("rm p.safetensors && ediy export weights=w.safetensors out=p.safetensors format=detectron2");
  assert_refused("p.safetensors: has no tensor conv1.weight, and the first that it has is stem.conv1.weight", "%s", keys);
  write_renamed("p.safetensors", "layer1.0.", NULL);
  assert_runs("%s", keys); /* a prefix as good as any, though a block has that name, too */
  write_renamed("p.safetensors", "\033[31m.", NULL);
  assert_refused("has no tensor conv1.weight, and the first that it has is ?[31m.", "%s",
                 "rm none; ediy import weights=p.safetensors " SMALL " out=none");
  assert_runs("test ! -e none");
}

/* Every number that a half can have and a weight may: finite, and no variance below zero. */
static void half_precision_is_read_exactly(void **state) {
  (void)state;
  for (int k = 0; k < 2; k++) {
    struct safetensors f;
    struct error err;
    static struct tensor t[MOST];
    open_or_fail(&f, "w.safetensors");
    const int count = add(&f, "", t, 0);
    const uint32_t finite = k ? 0x7c00 : 0x7f80; /* the halves below it */
    for (int i = 0; i < count; i++) {
      if (t[i].dtype != DTYPE_F32) continue;
      uint16_t *half = malloc((size_t)tensor_count(&t[i]) * sizeof *half);
      assert_non_null(half);
      for (ptrdiff_t j = 0; j < tensor_count(&t[i]); j++) half[j] = (uint16_t)((uint32_t)(i + 7 * j) % finite);
      t[i].data = half, t[i].dtype = k ? DTYPE_F16 : DTYPE_BF16;
    }
    if (!safetensors_write("half.safetensors", t, count, NULL, &err)) fail_msg("%s", err.text);
    for (int i = 0; i < count; i++)
      if (t[i].dtype != DTYPE_I64) free(t[i].data);
    safetensors_close(&f);
    assert_runs("ediy import weights=half.safetensors " SMALL " out=full.safetensors");
    struct safetensors half, full;
    open_or_fail(&half, "half.safetensors"), open_or_fail(&full, "full.safetensors");
    for (int i = 0; i < half.count; i++) {
      const struct tensor *u = safetensors_find(&full, half.tensor[i].name);
      if (half.tensor[i].dtype == DTYPE_I64) continue;
      assert_true(u && u->dtype == DTYPE_F32 && tensor_count(u) == tensor_count(&half.tensor[i]));
      for (ptrdiff_t j = 0; j < tensor_count(u); j++) {
        uint16_t h;
        memcpy(&h, (const char *)half.tensor[i].data + 2 * j, sizeof h);
        assert_true((float)tensor_at(u, j) == (k ? f16_widen(h) : bf16_widen(h)));
      }
    }
    safetensors_close(&half), safetensors_close(&full);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_prefix_of_all_names_is_left_out_and_said),
                                     cmocka_unit_test(other_verbs_name_import), cmocka_unit_test(what_is_in_the_file_is_said),
                                     cmocka_unit_test(half_precision_is_read_exactly)};
  return cmocka_run_group_tests_name("weights of others", tests, enter, program_leave);
}
