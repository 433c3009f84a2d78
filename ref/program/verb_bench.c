/* ediy bench: where the time of a training step goes, against what the machine can do. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/file.h"
#include "base/philox.h"
#include "image/augment.h"
#include "image/image.h"
#include "model/step.h"
#include "program/peak.h"
#include "program/profile.h"
#include "program/verb.h"
#include "train/backends.h"
#include "train/dataset.h"

struct bench {
  int backbone;
  int64_t size, batch, steps, warmup, seed;
  int regions, backend, conv, gemm;
  char data[OPTION_TEXT_SIZE], json[OPTION_TEXT_SIZE];
};

static const char *const backend_names[] = {[BACKEND_REFERENCE] = "reference", [BACKEND_CUDA] = "cuda"};
static const char *const backbones[] = {"resnet18", "resnet34", "resnet50", "small"};

static const struct option keys[] = {
    {"backbone", OPTION_CHOICE, offsetof(struct bench, backbone), "resnet50", 0, 0, "resnet18 | resnet34 | resnet50 | small", "network"},
    {"size", OPTION_INT, offsetof(struct bench, size), "224", 32, 1024, NULL, "side of a view, pixels"},
    {"batch", OPTION_INT, offsetof(struct bench, batch), "16", 2, 65536, NULL, "source images a step (two views each)"},
    {"steps", OPTION_INT, offsetof(struct bench, steps), "5", 1, 1000, NULL, "timed steps; the median is reported"},
    {"warmup", OPTION_INT, offsetof(struct bench, warmup), "1", 0, 100, NULL, "steps before the timed ones"},
    {"method", OPTION_CHOICE, offsetof(struct bench, regions), "ediy", 0, 0, "byol | ediy", "plain BYOL, or all of E-DIY"},
    {"backend", OPTION_CHOICE, offsetof(struct bench, backend), "reference", 0, 0, BACKEND_CHOICES, "what computes the steps"},
    {"cuda.conv", OPTION_CHOICE, offsetof(struct bench, conv), "own", 0, 0, BACKEND_CONV_CHOICES,
     "with backend=cuda, what computes convolutions"},
    {"cuda.gemm", OPTION_CHOICE, offsetof(struct bench, gemm), "own", 0, 0, BACKEND_GEMM_CHOICES,
     "with backend=cuda, what computes linear layers"},
    {"data", OPTION_TEXT, offsetof(struct bench, data), "", 0, 0, NULL,
     "folder of images: time the input as well (reading, decoding, two views)"},
    {"seed", OPTION_INT, offsetof(struct bench, seed), "1", 0, 1e15, NULL, "of weights and views"},
    {"json", OPTION_TEXT, offsetof(struct bench, json), "", 0, 0, NULL, "write the figures to this file as well"},
};

struct figures {
  double peak, bandwidth; /* FLOP/s, bytes/s; 0 where they were not measured */
  double step[1000];      /* seconds, sorted */
  double images, input;   /* a second; input 0 where it was not timed */
  double memory;          /* bytes: largest resident size; on a GPU, of networks and views */
  struct profile profile; /* of all timed steps */
};

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Elements of one view. */
static ptrdiff_t view_size(const struct bench *o) { return (ptrdiff_t)(o->batch * o->size * o->size * 3); }

/* Views of normal noise in the backend's memory: arithmetic does not care what it computes. */
static bool make_views(const struct bench *o, const struct backend *b, void *view[2], struct error *err) {
  ptrdiff_t n = view_size(o);
  float *host = malloc((size_t)n * sizeof *host);
  bool ok = host || fail(err, "bench: out of memory: two views of %.2f GB each; choose a smaller batch", (double)n * sizeof *host / 1e9);
  for (int v = 0; ok && v < 2; v++) {
#pragma omp parallel for schedule(static)
    for (ptrdiff_t i = 0; i < n; i += 4096) {
      struct philox g = philox_stream((uint64_t)o->seed, PHILOX_TEST, (uint32_t)v, (uint32_t)(i / 4096), 0);
      for (ptrdiff_t j = i; j < n && j < i + 4096; j++) host[j] = (float)philox_normal(&g);
    }
    ok = b->reserve((size_t)n * sizeof *host, &view[v], err);
    if (ok) b->upload(view[v], host, (size_t)n * sizeof *host);
  }
  free(host);
  return ok;
}

/* One step; its seconds, of which the last wait is part. */
static bool time_step(struct model *m, const float *const views[2], double *seconds, struct error *err) {
  double start = omp_get_wtime();
  model_zero_gradient(m);
  model_accumulate(m, views, 1, NULL);
  model_update(m, 0.2, 0.996, NULL);
  double total = model_sums(m).sum.total;
  if (!m->backend->status(err)) return false;
  *seconds = omp_get_wtime() - start;
  return isfinite(total) || fail(err, "bench: the loss is not finite");
}

static bool time_steps(const struct bench *o, struct figures *f, struct error *err) {
  struct model_config c = {.batch = o->batch,
                           .height = o->size,
                           .width = o->size,
                           .regions = o->regions,
                           .teacher = o->regions,
                           .lambda_rdem = 1,
                           .lambda_riem = 1,
                           .lambda_byol = 1,
                           .lars = {.trust = 1e-3, .momentum = 0.9, .weight_decay = 1.5e-6}};
  if (!architecture_named(backbones[o->backbone], &c.arch)) return fail(err, "bench: no backbone of that name");
  void *view[2] = {0};
  struct model m = {0};
  const struct backend *b =
      backend_open(&(struct backend_options){.backend = (enum backend_choice)o->backend, .conv = o->conv, .gemm = o->gemm}, err);
  if (!b) return false;
  bool whole = b != backend_reference(); /* waiting after every operation costs time there: whole steps are timed without */
  const struct backend *timed = profile_backend(b);
  bool ok = make_views(o, b, view, err) && model_create(&m, &c, timed, err) && model_initialise(&m, (uint64_t)o->seed, err);
  const float *const views[2] = {view[0], view[1]};
  double seconds;
  for (int64_t i = 0; ok && i < o->warmup; i++) ok = time_step(&m, views, &seconds, err);
  profile_reset();
  for (int64_t i = 0; ok && i < o->steps; i++) ok = time_step(&m, views, &f->step[i], err);
  f->profile = profile_read();
  m.backend = b;
  for (int64_t i = 0; ok && whole && i < o->steps; i++) ok = time_step(&m, views, &f->step[i], err);
  qsort(f->step, (size_t)o->steps, sizeof f->step[0], by_value);
  f->images = (double)o->batch / f->step[o->steps / 2];
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  size_t view_bytes = (size_t)view_size(o) * sizeof(float);
  f->memory = whole ? (double)m.bytes + 2.0 * (double)view_bytes : 1024.0 * (double)usage.ru_maxrss;
  model_free(&m);
  for (int v = 0; v < 2; v++)
    if (view[v]) b->release(view[v], view_bytes);
  return ok;
}

/* Reads, decodes and augments the images of a folder, each thread its own: source images a second, all threads together. */
static bool time_input(const struct bench *o, struct figures *f, struct error *err) {
  struct dataset d;
  if (!dataset_open(&d, o->data, err)) return false;
  struct augmentation t[2] = {augmentation_byol(0, (int)o->size), augmentation_byol(1, (int)o->size)};
  ptrdiff_t count = d.count < 400 ? d.count : 400, bad = 0;
  double start = omp_get_wtime();
#pragma omp parallel for schedule(dynamic) reduction(+ : bad)
  for (ptrdiff_t i = 0; i < count; i++) {
    struct image image = {0};
    float *y = malloc((size_t)(o->size * o->size * 3) * sizeof *y), *scratch = NULL;
    if (!y || !image_read(d.path[i], &image, NULL))
      bad++;
    else if (!(scratch = malloc((size_t)augment_scratch(image.height, image.width, (int)o->size) * sizeof *scratch)))
      bad++;
    for (int v = 0; v < 2 && scratch; v++) {
      struct view view = augment_draw(&t[v], image.height, image.width, (uint64_t)o->seed, 0, (uint32_t)i, v);
      augment_apply(&view, image.rgb, image.height, image.width, y, scratch);
    }
    image_free(&image);
    free(y), free(scratch);
  }
  f->input = (double)(count - bad) / (omp_get_wtime() - start);
  dataset_close(&d);
  return bad < count || fail(err, "%s: none of the first %td images could be read", o->data, count);
}

static void print_figures(const struct bench *o, const struct figures *f) {
  double images = (double)(o->batch * o->steps), total = 0;
  for (int p = 0; p < PARTS; p++) total += f->profile.seconds[p];
  printf("%s, %" PRId64 " x %" PRId64 " pixels, batch %" PRId64 ", %s, float, ", backbones[o->backbone], o->size, o->size, o->batch,
         o->regions ? "E-DIY" : "BYOL");
  if (o->backend == BACKEND_REFERENCE)
    printf("%d threads\nthis machine: %.1f GFLOP/s multiply-add, %.1f GB/s read\n\n", omp_get_max_threads(), f->peak / 1e9,
           f->bandwidth / 1e9);
  else
    printf("backend %s; the parts, each waited for, then as many whole steps\n\n", backend_names[o->backend]);
  printf("%-24s %10s %7s %10s %8s %8s\n", "part", "ms/image", "share", "GFLOP/s", "of peak", "GB/s");
  for (int p = 0; p < PARTS; p++) {
    double s = f->profile.seconds[p];
    if (f->profile.calls[p] == 0) continue;
    printf("%-24s %10.2f %6.1f%%", part_name[p], 1e3 * s / images, 100 * s / total);
    if (f->profile.flops[p] > 0)
      printf(" %10.1f", f->profile.flops[p] / s / 1e9);
    else
      printf(" %10s", "");
    if (f->profile.flops[p] > 0 && f->peak > 0)
      printf(" %7.1f%%", 100 * f->profile.flops[p] / s / f->peak);
    else
      printf(" %8s", "");
    printf(" %8.1f\n", f->profile.bytes[p] / s / 1e9);
  }
  printf("%-24s %10.2f\n\n", "step, median", 1e3 / f->images);
  printf("%.3f images/s (%.3f to %.3f over %" PRId64 " steps), peak memory %.2f GB\n", f->images, (double)o->batch / f->step[o->steps - 1],
         (double)o->batch / f->step[0], o->steps, f->memory / 1e9);
  if (f->input > 0)
    printf("input: %.1f source images/s (read, decode, two views), %.1f a thread\n", f->input, f->input / omp_get_max_threads());
}

static bool write_json(const struct bench *o, const struct figures *f, struct error *err) {
  json_t *parts = json_object();
  double images = (double)(o->batch * o->steps);
  for (int p = 0; p < PARTS; p++)
    if (f->profile.calls[p] > 0)
      json_object_set_new(parts, part_name[p],
                          json_pack("{s:f, s:f, s:f}", "ms_per_image", 1e3 * f->profile.seconds[p] / images, "gflops_per_s",
                                    f->profile.flops[p] / f->profile.seconds[p] / 1e9, "gbytes_per_s",
                                    f->profile.bytes[p] / f->profile.seconds[p] / 1e9));
  json_t *all =
      json_pack("{s:s, s:s, s:I, s:I, s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "backend", backend_names[o->backend], "backbone",
                backbones[o->backbone], "size", (json_int_t)o->size, "batch", (json_int_t)o->batch, "method", o->regions ? "ediy" : "byol",
                "threads", omp_get_max_threads(), "peak_gflops", f->peak / 1e9, "read_gbytes_per_s", f->bandwidth / 1e9, "images_per_s",
                f->images, "images_per_s_min", (double)o->batch / f->step[o->steps - 1], "images_per_s_max", (double)o->batch / f->step[0],
                "peak_memory_bytes", f->memory, "input_images_per_s", f->input, "parts", parts);
  char *text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
  size_t size = text ? strlen(text) + 1 : 0;
  if (text) text[size - 1] = '\n'; /* the zero becomes the end of the last line */
  bool ok = text ? file_replace(o->json, text, size, err) : fail(err, "%s: out of memory for the figures", o->json);
  free(text);
  json_decref(all);
  return ok;
}

static bool run(int count, char *const *arguments, struct error *err) {
  struct bench o;
  if (!verb_options(&verb_bench, count, arguments, &o, err)) return false;
  static struct figures f;
  if (o.backend == BACKEND_REFERENCE) f.peak = peak_flops(), f.bandwidth = peak_bandwidth();
  if (!time_steps(&o, &f, err) || (*o.data && !time_input(&o, &f, err))) return false;
  print_figures(&o, &f);
  return !*o.json || write_json(&o, &f, err);
}

const struct verb verb_bench = {
    .name = "bench",
    .summary = "time a training step part by part",
    .usage = "[key=value...]",
    .about = "Runs training steps on views of noise and reports, for each part of a step, milliseconds an image, the\n"
             "share of the step, GFLOP/s against the multiply-add peak measured on this machine, and GB/s with every\n"
             "operand counted once. Timings of one run are comparable; those of two machines or two days are not.\n"
             "With backend=cuda the parts are timed with a wait after each operation, and then whole steps without.",
    .example = "ediy bench backbone=resnet18 size=64 batch=16 steps=3",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .run = run,
};
