/* A checkpoint reads back to the bit; a damaged one is told from a good one, whatever the damage; the newest whole one is found. */
#include "train/checkpoint.h"

#include <math.h>
#include <string.h>
#include <sys/wait.h>

#include "model/init.h"
#include "support/cmocka.h"
#include "support/support.h"
#include "train/folder.h"

static char folder[FOLDER_PATH], path[CHECKPOINT_PATH];
static const char config_text[] = "lr = 0.3\nbatch = 8\n", data_text[] = "0123abcd";

static struct model_config small_config(bool teacher, ptrdiff_t hidden) {
  struct model_config c = {.batch = 2, .height = 16, .width = 16, .regions = teacher, .teacher = teacher, .lambda_byol = 1};
  if (!architecture_named("small", &c.arch)) abort();
  c.arch.base_width = 2, c.arch.stem = STEM_CIFAR, c.arch.hidden = hidden, c.arch.out = 4;
  return c;
}

/* A model whose every number is another one. */
static void make(struct model *m, bool teacher, ptrdiff_t hidden, uint32_t stream) {
  struct error err;
  struct model_config c = small_config(teacher, hidden);
  if (!model_create(m, &c, backend_reference(), &err) || !model_initialise(m, 1, &err)) fail_msg("%s", err.text);
  struct branch *b[] = {&m->online, &m->target, &m->teacher};
  for (int k = 0; k < (teacher ? 3 : 2); k++)
    for (int i = 0; i < b[k]->net.parameters; i++) {
      const struct parameter *p = &b[k]->net.parameter[i];
      test_fill_normal(b[k]->state + p->offset, p->size, stream + (uint32_t)(100 * k + i));
      for (ptrdiff_t j = 0; p->role == ROLE_STATISTIC && j < p->size; j++) /* no variance is negative */
        b[k]->state[p->offset + j] = (real)fabs(b[k]->state[p->offset + j]);
      if (k == 0 && p->role != ROLE_STATISTIC) test_fill_normal(m->momentum + p->offset, p->size, stream + (uint32_t)(300 + i));
    }
}

/* The lowest number that no open file has. */
static int free_descriptor(void) {
  int fd = dup(0);
  close(fd);
  return fd;
}
static int descriptor_before;

static int setup(void **state) {
  (void)state;
  folder_make(folder);
  descriptor_before = free_descriptor();
  checkpoint_path(folder, 7, path);
  return 0;
}
static int teardown(void **state) {
  (void)state;
  folder_remove(folder);
  return free_descriptor() == descriptor_before ? 0 : -1; /* a run that left one open at each checkpoint would soon have none */
}

static void save(struct model *m, int64_t step) {
  struct error err;
  char to[CHECKPOINT_PATH];
  checkpoint_path(folder, step, to);
  if (!checkpoint_save(to, m, step, config_text, data_text, &err)) fail_msg("%s", err.text);
}

static void a_model_reads_back_to_the_bit(void **state) {
  (void)state;
  for (int teacher = 0; teacher < 2; teacher++) {
    struct model m, n;
    make(&m, teacher, 6, 1);
    make(&n, teacher, 6, 5000);
    save(&m, 7);
    struct checkpoint c;
    struct error err;
    if (!checkpoint_open(&c, path, &err) || !checkpoint_load(&c, &n, &err)) fail_msg("%s", err.text);
    assert_int_equal(c.step, 7);
    assert_string_equal(c.config, config_text);
    assert_string_equal(c.data, data_text);
    assert_memory_equal(m.online.state, n.online.state, (size_t)m.online.net.state_size * sizeof(real));
    assert_memory_equal(m.target.state, n.target.state, (size_t)m.target.net.state_size * sizeof(real));
    assert_memory_equal(m.momentum, n.momentum, (size_t)m.online.net.state_size * sizeof(real));
    if (teacher) assert_memory_equal(m.teacher.state, n.teacher.state, (size_t)m.teacher.net.state_size * sizeof(real));
    checkpoint_close(&c);
    model_free(&m), model_free(&n);
  }
}

/* Names and shapes are PyTorch's. */
static void tensors_have_pytorch_names_and_order(void **state) {
  (void)state;
  struct model m;
  make(&m, true, 6, 1);
  save(&m, 7);
  struct safetensors f;
  struct error err;
  assert_true(safetensors_open(&f, path, &err));
  const struct tensor *t = safetensors_find(&f, "online.layer1.0.conv1.weight");
  assert_non_null(t);
  int i = net_find_parameter(&m.online.net, "layer1.0.conv1.weight");
  const real *w = m.online.state + m.online.net.parameter[i].offset; /* 2 x 3 x 3 x 2: K R S C */
  assert_int_equal(t->shape[1], 2);
  assert_int_equal(t->shape[2], 3);
  for (int o = 0; o < 2; o++)
    for (int c = 0; c < 2; c++)
      for (int rs = 0; rs < 9; rs++) assert_true(tensor_at(t, (o * 2 + c) * 9 + rs) == (double)w[(o * 9 + rs) * 2 + c]);
  assert_non_null(safetensors_find(&f, "target.bn1.running_var"));
  assert_non_null(safetensors_find(&f, "momentum.predictor.3.weight"));
  assert_null(safetensors_find(&f, "momentum.bn1.running_var"));
  assert_non_null(safetensors_find(&f, "teacher.layer4.0.bn2.running_mean"));
  safetensors_close(&f);
  model_free(&m);
}

static long file_size(const char *name) {
  struct stat s;
  assert_int_equal(stat(name, &s), 0);
  return s.st_size;
}
/* Returns what was there. */
static int set_byte(const char *name, long at, int value) {
  FILE *f = fopen(name, "r+b");
  fseek(f, at, SEEK_SET);
  int before = fgetc(f);
  fseek(f, at, SEEK_SET);
  fputc(value, f);
  fclose(f);
  return before;
}
static void flip_byte(const char *name, long at) {
  int c = set_byte(name, at, 0);
  set_byte(name, at, c ^ 1);
}
static void refused(const char *reason) {
  struct checkpoint c;
  struct error err = {.text = ""};
  if (checkpoint_open(&c, path, &err)) fail_msg("accepted, expected: %s", reason);
  if (!strstr(err.text, reason) || !strstr(err.text, path)) fail_msg("message: %s", err.text);
}

/* One bit anywhere in the data, one letter in the metadata or in what is said of a tensor, one byte less. */
static void damage_is_seen(void **state) {
  (void)state;
  struct model m;
  make(&m, false, 6, 1);
  save(&m, 7);
  long size = file_size(path);
  for (int i = 1; i <= 20; i++) {
    long at = size - size * i / 40 - 1; /* in the second half: data, not header */
    flip_byte(path, at);
    refused("damaged: SHA-256 of its content is");
    flip_byte(path, at);
  }
  char *text = calloc(1, (size_t)size + 1);
  FILE *f = fopen(path, "rb");
  assert_int_equal(fread(text, 1, (size_t)size, f), size);
  fclose(f);
  char *lr = NULL;
  for (long i = 8; i + 8 < size && !lr; i++)
    if (memcmp(text + i, "lr = 0.3", 8) == 0) lr = text + i;
  assert_non_null(lr);
  flip_byte(path, lr + 7 - text); /* lr = 0.2 */
  refused("damaged: SHA-256");
  flip_byte(path, lr + 7 - text);
  /* a name, a type of the same size, and a matrix transposed: each still a well-formed file */
  long name = 0, type = 0, shape = 0;
  for (long i = 8; i + 24 < size && !(name && type && shape); i++) {
    const char *t = text + i;
    if (!name && memcmp(t, "\"online.conv1.", 14) == 0) name = i + 8;
    if (!type && memcmp(t, "\"F32\"", 5) == 0) type = i + 1;
    if (!shape && memcmp(t, "\"shape\":[", 9) == 0 && t[10] == ',' && t[12] == ']' && t[9] != t[11]) shape = i + 9;
  }
  assert_true(name && type && shape);
  set_byte(path, name, 'k');
  refused("damaged: SHA-256");
  set_byte(path, name, 'c');
  set_byte(path, type, 'I');
  refused("damaged: SHA-256");
  set_byte(path, type, 'F');
  set_byte(path, shape, text[shape + 2]), set_byte(path, shape + 2, text[shape]);
  refused("damaged: SHA-256");
  set_byte(path, shape, text[shape]), set_byte(path, shape + 2, text[shape + 2]);
  struct checkpoint c;
  struct error err;
  assert_true(checkpoint_open(&c, path, &err)); /* every change was undone */
  checkpoint_close(&c);
  for (int i = 0; i < 10; i++) {
    assert_int_equal(truncate(path, size - 1 - (size - 1) * i / 10), 0);
    refused(path);
  }
  free(text);
  model_free(&m);
}

static void what_is_no_checkpoint_is_named(void **state) {
  (void)state;
  refused("no such file");
  struct tensor t = tensor_make(DTYPE_F32, (float[]){1}, 1, (ptrdiff_t[]){1}, "x");
  struct error err;
  assert_true(safetensors_write(path, &t, 1, NULL, &err));
  refused("no checkpoint of ediy");
}

static void load_refused(bool saved_teacher, ptrdiff_t saved_hidden, bool teacher, ptrdiff_t hidden, const char *reason) {
  struct model m, n;
  make(&m, saved_teacher, saved_hidden, 1);
  make(&n, teacher, hidden, 2);
  save(&m, 7);
  struct checkpoint c;
  struct error err;
  assert_true(checkpoint_open(&c, path, &err));
  assert_false(checkpoint_load(&c, &n, &err));
  if (!strstr(err.text, reason) || !strstr(err.text, path)) fail_msg("message: %s", err.text);
  checkpoint_close(&c);
  model_free(&m), model_free(&n);
}
static void another_architecture_is_named_by_its_tensor(void **state) {
  (void)state;
  load_refused(false, 6, false, 8, "online.projector.0.weight");
  load_refused(false, 6, true, 6, "online.local_projector.0.weight");
  load_refused(true, 6, false, 6, "online.local_projector.0.weight has no place");
}

static int reports;
static void count_report(void *context, const char *line) {
  (void)context;
  reports += strstr(line, "checkpoint-") != NULL;
}
static void the_newest_whole_one_is_found(void **state) {
  (void)state;
  struct checkpoint c;
  struct error err;
  bool found;
  char none[FOLDER_PATH + 8];
  snprintf(none, sizeof none, "%s/none", folder);
  assert_true(checkpoint_latest(none, &c, &found, NULL, NULL, &err) && !found);
  assert_true(checkpoint_latest(folder, &c, &found, NULL, NULL, &err) && !found);

  struct model m;
  make(&m, false, 6, 1);
  static const int64_t steps[] = {7, 99999999, 100000000, 20}; /* nine digits are more than eight: by number, not by name */
  for (int i = 0; i < 4; i++) save(&m, steps[i]);
  folder_file(folder, "checkpoint-999999999.safetensors.1.0.tmp", "x", 1);
  folder_file(folder, "checkpoint-x.safetensors", "x", 1);
  assert_true(checkpoint_latest(folder, &c, &found, NULL, NULL, &err) && found);
  assert_int_equal(c.step, 100000000);
  checkpoint_close(&c);

  checkpoint_path(folder, 100000000, path);
  assert_int_equal(truncate(path, file_size(path) - 3), 0);
  checkpoint_path(folder, 99999999, path);
  flip_byte(path, file_size(path) - 1);
  reports = 0;
  assert_true(checkpoint_latest(folder, &c, &found, count_report, NULL, &err) && found);
  assert_int_equal(c.step, 20);
  assert_int_equal(reports, 2);
  checkpoint_close(&c);

  checkpoint_prune(folder, 100000000, 20);
  checkpoint_path(folder, 7, path);
  assert_int_equal(access(path, F_OK), -1);
  snprintf(path, sizeof path, "%s/checkpoint-999999999.safetensors.1.0.tmp", folder);
  assert_int_equal(access(path, F_OK), -1);
  snprintf(path, sizeof path, "%s/checkpoint-x.safetensors", folder);
  assert_int_equal(access(path, F_OK), 0);
  checkpoint_path(folder, 99999999, path);
  assert_int_equal(access(path, F_OK), -1);
  checkpoint_path(folder, 20, path);
  assert_int_equal(access(path, F_OK), 0);
  assert_int_equal(truncate(path, 5), 0);
  assert_false(checkpoint_latest(folder, &c, &found, NULL, NULL, &err));
  if (!strstr(err.text, "none of its 2 checkpoints can be used")) fail_msg("%s", err.text);
  model_free(&m);
}

/* By step, and nothing but these: what stays are the two named, and what is newer than both. */
static void two_checkpoints_and_newer_ones_stay(void **state) {
  (void)state;
  static const int64_t steps[] = {3, 8, 9, 10, 11, 12};
  static const bool stays[] = {false, true, false, false, true, true};
  for (int only = 0; only < 2; only++) { /* and one alone, where there is no other */
    for (int i = 0; i < 6; i++) {
      checkpoint_path(folder, steps[i], path);
      folder_file(folder, strrchr(path, '/') + 1, "x", 1);
    }
    checkpoint_prune(folder, 11, only ? -1 : 8);
    for (int i = 0; i < 6; i++) {
      checkpoint_path(folder, steps[i], path);
      assert_int_equal(access(path, F_OK) == 0, stays[i] && !(only && steps[i] == 8));
    }
  }
}

/* The number of a process that is gone. */
static int gone(void) {
  pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, NULL, 0);
  return child;
}

/* By name, place and process, and nothing but these: process 1 lives on every machine. */
static void leftovers_are_what_nobody_will_finish(void **state) {
  (void)state;
  char mine[2][64], folder_like[IN_FOLDER_PATH], link_like[IN_FOLDER_PATH], name[IN_FOLDER_PATH];
  snprintf(mine[0], sizeof mine[0], "backbone.safetensors.%d.0.tmp", gone());
  snprintf(mine[1], sizeof mine[1], "config.txt.%d.3.tmp", (int)getpid());
  const char *const removed[] = {"checkpoint-00000007.safetensors.1.0.tmp", "checkpoint-999999999.safetensors.4194999.99.tmp", mine[0],
                                 mine[1]};
  static const char *const kept[] = {"backbone.safetensors.1.0.tmp",
                                     "config.txt.1.0.tmp",
                                     "config.txt",
                                     "log.jsonl.4194999.0.tmp",
                                     "checkpoint-00000007.safetensors.tmp",
                                     "checkpoint-00000007.safetensors.1.0.tmp.bak",
                                     "checkpoint-00000007.safetensors.x.0.tmp",
                                     "checkpoint-x.safetensors.4194999.0.tmp",
                                     "checkpoint-00000007.safetensors-old.4194999.0.tmp",
                                     "my-backbone.safetensors.4194999.0.tmp",
                                     "backbone.safetensors.old.4194999.0.tmp",
                                     "below/checkpoint-00000007.safetensors.1.0.tmp"};
  enum { REMOVED = sizeof removed / sizeof removed[0], KEPT = sizeof kept / sizeof kept[0] };
  for (int i = 0; i < REMOVED; i++) folder_file(folder, removed[i], "12345", 5);
  for (int i = 0; i < KEPT; i++) folder_file(folder, kept[i], "x", 1);
  snprintf(folder_like, sizeof folder_like, "%s/checkpoint-00000001.safetensors.1.0.tmp", folder);
  snprintf(link_like, sizeof link_like, "%s/checkpoint-00000002.safetensors.1.0.tmp", folder);
  assert_int_equal(mkdir(folder_like, 0777), 0);
  assert_int_equal(symlink("config.txt", link_like), 0);

  for (int remove = 0; remove < 2; remove++) {
    struct leftovers l = checkpoint_leftovers(folder, remove);
    assert_int_equal(l.count, REMOVED);
    assert_int_equal(l.bytes, 5 * REMOVED);
    bool known = false;
    for (int i = 0; i < REMOVED; i++) {
      known = known || strcmp(l.first, removed[i]) == 0;
      snprintf(name, sizeof name, "%s/%s", folder, removed[i]);
      assert_int_equal(access(name, F_OK), -remove);
    }
    assert_true(known);
  }
  assert_int_equal(checkpoint_leftovers(folder, true).count, 0);
  for (int i = 0; i < KEPT; i++) {
    snprintf(name, sizeof name, "%s/%s", folder, kept[i]);
    if (access(name, F_OK) != 0) fail_msg("%s is gone", kept[i]);
  }
  struct stat s;
  assert_true(stat(folder_like, &s) == 0 && lstat(link_like, &s) == 0);
  assert_int_equal(checkpoint_leftovers("/nowhere", true).count, 0);
}

/* Running statistics of any network, say, which no loss shows; the last number of a part as well as the first. */
static void a_state_that_is_no_number_is_not_written(void **state) {
  (void)state;
  struct model m;
  make(&m, false, 6, 1);
  struct error err;
  char to[CHECKPOINT_PATH], says[256];
  const struct net *online = &m.online.net, *target = &m.target.net;
  const struct parameter *last = &target->parameter[target->parameters - 1];
  const struct {
    const char *network, *name;
    real *at, value;
    ptrdiff_t element;
  } spoiled[] = {
      {"online", "bn1.running_var", m.online.state + online->parameter[net_find_parameter(online, "bn1.running_var")].offset, (real)NAN, 0},
      {"target", last->name, m.target.state + last->offset + last->size - 1, (real)INFINITY, last->size - 1},
      {"momentum", "bn1.bias", m.momentum + online->parameter[net_find_parameter(online, "bn1.bias")].offset, (real)-INFINITY, 0}};
  checkpoint_path(folder, 9, to);
  for (size_t i = 0; i < sizeof spoiled / sizeof spoiled[0]; i++) {
    real before = *spoiled[i].at;
    *spoiled[i].at = spoiled[i].value;
    snprintf(says, sizeof says, ": not written: tensor %s.%s holds %g at element %td: ", spoiled[i].network, spoiled[i].name,
             (double)spoiled[i].value, spoiled[i].element);
    assert_false(checkpoint_save(to, &m, 9, config_text, data_text, &err));
    if (!strstr(err.text, says)) fail_msg("%s", err.text);
    assert_int_equal(access(to, F_OK), -1);
    *spoiled[i].at = before;
  }
  assert_true(checkpoint_save(to, &m, 9, config_text, data_text, &err));
  model_free(&m);
}

/* A teacher comes from our checkpoint (its online network) or from torchvision's names. */
static void weights_come_from_either_kind_of_file(void **state) {
  (void)state;
  struct model m, n;
  make(&m, false, 6, 1);
  make(&n, true, 6, 2);
  save(&m, 7);
  struct error err;
  struct net *net = &n.teacher.net;
  real *state_block = test_reals(net->state_size);
  if (!weights_load(net, path, NULL, false, state_block, &err)) fail_msg("%s", err.text);
  for (int i = 0; i < net->parameters; i++) {
    const struct parameter *p = &net->parameter[i];
    int j = net_find_parameter(&m.online.net, p->name);
    assert_memory_equal(state_block + p->offset, m.online.state + m.online.net.parameter[j].offset, (size_t)p->size * sizeof(real));
  }
  flip_byte(path, file_size(path) - 1);
  assert_false(weights_load(net, path, NULL, false, state_block, &err));
  assert_non_null(strstr(err.text, "damaged"));
  free(state_block);
  model_free(&m), model_free(&n);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {TEST(a_model_reads_back_to_the_bit),
                                     TEST(tensors_have_pytorch_names_and_order),
                                     TEST(damage_is_seen),
                                     TEST(what_is_no_checkpoint_is_named),
                                     TEST(another_architecture_is_named_by_its_tensor),
                                     TEST(the_newest_whole_one_is_found),
                                     TEST(two_checkpoints_and_newer_ones_stay),
                                     TEST(leftovers_are_what_nobody_will_finish),
                                     TEST(a_state_that_is_no_number_is_not_written),
                                     TEST(weights_come_from_either_kind_of_file)};
  return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
