/* ediy bench: its tables and its JSON. */
#include <inttypes.h>
#include <jansson.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/plural.h"
#include "program/bench.h"

static const char *const backend_names[] = {[BACKEND_REFERENCE] = "reference", [BACKEND_CUDA] = "cuda"};
static const char *const precision_names[] = {[BACKEND_FP32] = "fp32", [BACKEND_TF32] = "tf32", [BACKEND_BF16] = "bf16"};
static const char *const conv_names[] = {"own", "cudnn", "plain", "wgmma"}, *const gemm_names[] = {"own", "cublas", "wgmma"};

const char *bench_backbone(const struct bench *o) { return backbone_names[o->backbone]; }

struct backend_options bench_backend(const struct bench *o) {
  return (struct backend_options){
      .backend = (enum backend_choice)o->backend, .precision = (enum backend_precision)o->precision, .conv = o->conv, .gemm = o->gemm};
}

void bench_describe(const struct bench *o, char *text, size_t size) {
  if (o->backend == BACKEND_CUDA)
    snprintf(text, size, "backend cuda, %s, cuda.conv=%s, cuda.gemm=%s", precision_names[o->precision], conv_names[o->conv],
             gemm_names[o->gemm]);
  else
    snprintf(text, size, "%d thread%s", omp_get_max_threads(), plural(omp_get_max_threads()));
}

/* ---- tables -------------------------------------------------------------------------------------------------------------------------- */

static void print_share(double part, double of) {
  if (part > 0 && of > 0)
    printf(" %7.1f%%", 100 * part / of);
  else
    printf(" %8s", "");
}

static void print_sums(const char *what, const char *const *name, const struct profile_sum *sum, int count, const struct bench *o,
                       const struct figures *f) {
  double total = 0;
  for (int i = 0; i < count; i++) total += sum[i].seconds;
  printf("%-24s %10s %10s %7s %10s %8s %8s %8s\n", what, "ms", "ms/image", "share", "GFLOP/s", "of peak", "GB/s", "of floor");
  for (int i = 0; i < count; i++) {
    const struct profile_sum *s = &sum[i];
    if (s->calls == 0) continue;
    printf("%-24s %10.3f %10.3f %6.1f%%", name[i], 1e3 * s->seconds, 1e3 * s->seconds / (double)o->batch, 100 * s->seconds / total);
    if (s->flops > 0)
      printf(" %10.1f", s->flops / s->seconds / 1e9);
    else
      printf(" %10s", "");
    print_share(s->flops / s->seconds, f->peaks.flops);
    printf(" %8.1f", s->bytes / s->seconds / 1e9);
    print_share(s->floor, s->seconds);
    printf("\n");
  }
  printf("\n");
}

void bench_print(const struct bench *o, const struct figures *f) {
  char by[128];
  bench_describe(o, by, sizeof by);
  printf("%s, %" PRId64 " x %" PRId64 " pixels, batch %" PRId64 ", %s, %s\n", bench_backbone(o), o->size, o->size, o->batch,
         o->regions ? "E-DIY" : "BYOL", by);
  if (o->backend == BACKEND_REFERENCE)
    printf("this machine: %.1f GFLOP/s multiply-add, %.1f GB/s read\n\n", f->peaks.flops / 1e9, f->peaks.bytes / 1e9);
  else
    printf("this GPU: %.1f TFLOP/s in a product of side %" PRId64 ", %.1f GB/s in a copy (read and written)\n\n", f->peaks.flops / 1e12,
           o->product, f->peaks.bytes / 1e9);
  print_sums("part", part_name, f->profile.part, PARTS, o, f);
  print_sums("stage", stage_name, f->profile.stage, STAGES, o, f);
  printf("%-24s %10.3f %10.3f\n\n", "step, median", 1e3 * (double)o->batch / f->images, 1e3 / f->images);
  printf("%.3f images/s (%.3f to %.3f over %" PRId64 " step%s), peak memory %.2f GB%s\n", f->images,
         (double)o->batch / f->step[o->steps - 1], (double)o->batch / f->step[0], o->steps, plural(o->steps), f->memory / 1e9,
         f->graph ? ", as a graph" : "");
  if (o->backend != BACKEND_REFERENCE) printf("planned in %.1f s\n", f->planning);
  if (f->input > 0)
    printf("input: %.1f source images/s (read, decode, two views), %.1f a thread\n", f->input, f->input / omp_get_max_threads());
}

/* ---- JSON ---------------------------------------------------------------------------------------------------------------------------- */

static json_t *sums_as_json(const char *const *name, const struct profile_sum *sum, int count, const struct bench *o) {
  json_t *all = json_object();
  for (int i = 0; i < count; i++) {
    const struct profile_sum *s = &sum[i];
    if (s->calls > 0)
      json_object_set_new(all, name[i],
                          json_pack("{s:f, s:f, s:f, s:f, s:f}", "ms", 1e3 * s->seconds, "ms_per_image",
                                    1e3 * s->seconds / (double)o->batch, "gflops_per_s", s->flops / s->seconds / 1e9, "gbytes_per_s",
                                    s->bytes / s->seconds / 1e9, "floor_ms", 1e3 * s->floor));
  }
  return all;
}

bool bench_write(const struct bench *o, const struct figures *f, struct error *err) {
  json_t *all = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:i}", "backend", backend_names[o->backend], "precision",
                          precision_names[o->precision], "conv", conv_names[o->conv], "gemm", gemm_names[o->gemm], "backbone",
                          bench_backbone(o), "size", (json_int_t)o->size, "batch", (json_int_t)o->batch, "method",
                          o->regions ? "ediy" : "byol", "threads", omp_get_max_threads());
  json_t *figures = json_pack(
      "{s:b, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:o}", "graph", f->graph, "peak_gflops", f->peaks.flops / 1e9,
      "peak_gbytes_per_s", f->peaks.bytes / 1e9, "images_per_s", f->images, "images_per_s_min", (double)o->batch / f->step[o->steps - 1],
      "images_per_s_max", (double)o->batch / f->step[0], "ms_per_step", 1e3 * (double)o->batch / f->images, "peak_memory_bytes", f->memory,
      "input_images_per_s", f->input, "planning_s", f->planning, "parts", sums_as_json(part_name, f->profile.part, PARTS, o), "stages",
      sums_as_json(stage_name, f->profile.stage, STAGES, o));
  char *text = all && figures && json_object_update(all, figures) == 0 ? json_dumps(all, JSON_INDENT(2)) : NULL;
  size_t size = text ? strlen(text) + 1 : 0;
  if (text) text[size - 1] = '\n'; /* the zero becomes the end of the last line */
  bool ok = text ? file_replace(o->json, text, size, err) : fail(err, "%s: out of memory for the figures", o->json);
  free(text);
  json_decref(all), json_decref(figures);
  return ok;
}
