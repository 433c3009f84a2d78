/* Which plans cuDNN makes for the convolutions of ResNet-50, in each direction and class of precision: by cuda/cudnn_graph.cu, asked
 * through deviceless.cpp. Exit status 1 when one is missing that should be there, or a call failed. */
#include <stdio.h>

#include "cuda/backend.h"
#include "model/net.h"

enum { BATCH = 64, SIDE = 224 };
static const char *const precision_name[CUDA_PRECISIONS] = {"fp32", "tf32", "bf16"}, *const direction_name[] = {"forward", "data",
                                                                                                                "weights"};

/* Tensor cores want channels in eights where operands are bf16 and dw is not. */
static bool is_expected(const struct conv *g, int direction, int precision) {
  return precision != CUDA_BF16 || direction < 2 || g->c % 8 == 0;
}

static int plan_all(const struct net *net, enum cuda_precision precision) {
  int missing = 0;
  for (int i = 0; i < net->layers; i++) {
    const struct conv *g = &net->layer[i].shape.conv;
    if (net->layer[i].kind != LAYER_CONV) continue;
    fprintf(stderr, "%s %-22s %tdx%td/%td %4td -> %4td at %3td:", precision_name[precision], net->layer[i].name, g->r, g->s, g->stride,
            g->c, g->k, g->h);
    for (int d = 0; d < 3; d++) {
      fprintf(stderr, " | %s", direction_name[d]);
      bool there = backend_cuda_conv_is_library(g, d, precision);
      if (!there) fprintf(stderr, " none");
      missing += !there && is_expected(g, d, precision);
    }
    fprintf(stderr, "\n");
  }
  return missing;
}

int main(void) {
  struct error err = {0};
  struct architecture arch;
  struct net net;
  int missing = 0;
  if (!architecture_named("resnet50", &arch) || !net_build(&net, &arch, BATCH, SIDE, SIDE, &err)) return 2;
  for (int p = 0; p < CUDA_PRECISIONS; p++) {
    const struct backend_cuda_options o = {.precision = (enum cuda_precision)p, .conv = CUDA_CONV_CUDNN};
    if (!backend_cuda(0, &o, &err)) {
      fprintf(stderr, "%s\n", err.text);
      return 2;
    }
    missing += plan_all(&net, (enum cuda_precision)p);
  }
  bool ok = backend_cuda_status(&err);
  if (!ok) fprintf(stderr, "%s\n", err.text);
  printf("cuDNN's plans for ResNet-50, batch %d, in 3 directions and 3 classes: %d missing\n", BATCH, missing);
  net_free(&net);
  return missing || !ok;
}
