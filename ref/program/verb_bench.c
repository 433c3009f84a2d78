/* ediy bench: where the time of a training step goes, against what the machine can do. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "image/augment.h"
#include "image/image.h"
#include "program/bench.h"
#include "program/peak.h"
#include "program/verb.h"
#include "train/backends.h"
#include "train/dataset.h"

static const struct option keys[] = {
    {"backbone", OPTION_CHOICE, offsetof(struct bench, backbone), "resnet50", 0, 0, BACKBONE_CHOICES, "network"},
    {"size", OPTION_INT, offsetof(struct bench, size), "224", 32, 1024, NULL, "side of a view, pixels"},
    {"batch", OPTION_INT, offsetof(struct bench, batch), "16", 2, 65536, NULL, "source images a step (two views each)"},
    {"steps", OPTION_INT, offsetof(struct bench, steps), "5", 1, 1000, NULL, "timed steps; the median is reported"},
    {"warmup", OPTION_INT, offsetof(struct bench, warmup), "1", 0, 100, NULL, "steps before the timed ones"},
    {"method", OPTION_CHOICE, offsetof(struct bench, regions), "ediy", 0, 0, "byol | ediy", "plain BYOL, or all of E-DIY"},
    {"backend", OPTION_CHOICE, offsetof(struct bench, backend), "reference", 0, 0, BACKEND_CHOICES, "what computes the steps"},
    {"precision", OPTION_CHOICE, offsetof(struct bench, precision), "fp32", 0, 0, PRECISION_CHOICES, "with backend=cuda, of the products"},
    {"cuda.conv", OPTION_CHOICE, offsetof(struct bench, conv), "own", 0, 0, BACKEND_CONV_CHOICES,
     "with backend=cuda, what computes convolutions"},
    {"cuda.gemm", OPTION_CHOICE, offsetof(struct bench, gemm), "own", 0, 0, BACKEND_GEMM_CHOICES,
     "with backend=cuda, what computes linear layers"},
    {"cuda.graph", OPTION_BOOL, offsetof(struct bench, graph), "yes", 0, 0, NULL,
     "with backend=cuda, repeat the passes of whole steps as a graph"},
    {"projector.hidden", OPTION_INT, offsetof(struct bench, hidden), "4096", 1, 1e6, NULL, "hidden units of every head"},
    {"projector.out", OPTION_INT, offsetof(struct bench, out), "256", 1, 1e6, NULL, "outputs of every head"},
    {"what", OPTION_CHOICE, offsetof(struct bench, what), "step", 0, 0, "step | convolutions",
     "a training step; or each convolution of the backbone, by every cuda.conv"},
    {"by", OPTION_CHOICE, offsetof(struct bench, by), "all", 0, 0, "all | pipelined | own",
     "with what=convolutions, every cuda.conv; or own and wgmma alone; or own. A GPU's peak in products is the best of cuda.gemm's same "
     "ways"},
    {"times", OPTION_INT, offsetof(struct bench, times), "20", 1, 100, NULL,
     "timings of each convolution, and at most 10 of what measures a GPU's peaks; the median is reported"},
    {"product", OPTION_INT, offsetof(struct bench, product), "8192", 8, 32768, NULL, "side of the product that measures a GPU's FLOP/s"},
    {"copy", OPTION_INT, offsetof(struct bench, copy), "1024", 1, 65536, NULL, "MB of the copy that measures a GPU's bytes/s"},
    {"data", OPTION_TEXT, offsetof(struct bench, data), "", 0, 0, NULL,
     "folder of images: time the input as well (reading, decoding, two views)"},
    {"seed", OPTION_INT, offsetof(struct bench, seed), "1", 0, 1e15, NULL, "of weights and views"},
    {"json", OPTION_TEXT, offsetof(struct bench, json), "", 0, 0, NULL, "write the figures to this file as well"},
};

/* Reads, decodes and augments the images of a folder, each thread its own: source images a second, all threads together. */
static bool time_input(const struct bench *o, struct figures *f, struct error *err) {
  struct dataset d;
  if (!dataset_open(&d, o->data, err)) return false;
  verb_say_left_out(&d);
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

static bool run(int count, char *const *arguments, struct error *err) {
  struct bench o;
  if (!verb_options(&verb_bench, count, arguments, &o, err)) return false;
  if (*o.json && !(verb_replaces(&verb_bench, o.json, VERB_FIGURES, err) && file_writable(o.json, err))) return false;
  static struct figures f;
  if (o.what == BENCH_CONVOLUTIONS) return bench_convolutions(&o, err);
  if (o.backend == BACKEND_REFERENCE) f.peaks = (struct profile_peaks){peak_flops(), peak_bandwidth()};
  if (!bench_steps(&o, &f, err) || (*o.data && !time_input(&o, &f, err))) return false;
  bench_print(&o, &f);
  return !*o.json || bench_write(&o, &f, err);
}

const struct verb verb_bench = {
    .name = "bench",
    .summary = "time a training step part by part",
    .usage = "[key=value...]",
    .about = "Runs training steps on views of noise and reports, for each part of a step, milliseconds an image, the\n"
             "share of the step, GFLOP/s against the multiply-add peak measured on this machine, and GB/s with every\n"
             "operand counted once. Timings of one run are comparable; those of two machines or two days are not.\n"
             "With backend=cuda the parts are timed by the GPU's clock, whole steps apart from them, and the peaks are those of a\n"
             "large copy and a large product on that GPU. The floor of an operation is the longer of its arithmetic and its\n"
             "bytes at these peaks.",
    .example = "ediy bench backbone=resnet18 size=64 batch=16 steps=3",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .run = run,
};
