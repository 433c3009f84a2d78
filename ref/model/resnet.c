/* ResNet v1.5 (He et al. 2015; stride on the 3x3, as torchvision and most others have it) as layer records. */
#include <stdio.h>
#include <string.h>

#include "model/net.h"

bool architecture_named(const char *name, struct architecture *arch) {
  static const struct {
    const char *name;
    enum block block;
    int blocks[4];
    ptrdiff_t base_width;
  } known[] = {{"resnet18", BLOCK_BASIC, {2, 2, 2, 2}, 64},
               {"resnet34", BLOCK_BASIC, {3, 4, 6, 3}, 64},
               {"resnet50", BLOCK_BOTTLENECK, {3, 4, 6, 3}, 64},
               {"small", BLOCK_BASIC, {1, 1, 1, 1}, 16}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (strcmp(name, known[i].name) != 0) continue;
    *arch = (struct architecture){.block = known[i].block,
                                  .base_width = known[i].base_width,
                                  .stem = STEM_IMAGENET,
                                  .hidden = 4096,
                                  .out = 256,
                                  .bn_eps = 1e-5,
                                  .bn_momentum = 0.1};
    memcpy(arch->blocks, known[i].blocks, sizeof arch->blocks);
    return true;
  }
  return false;
}

static ptrdiff_t expansion(enum block block) { return block == BLOCK_BOTTLENECK ? 4 : 1; }

/* conv, norm and, if asked, ReLU: the pair every ResNet is made of. "layer1.0" + ".conv" "1" -> "layer1.0.conv1", "layer1.0.bn1". */
static int conv_norm(struct net *net, const char *prefix, int number, int x, ptrdiff_t k, ptrdiff_t kernel, ptrdiff_t stride, int residual,
                     bool relu, bool *ok, struct error *err) {
  char name[NET_NAME];
  snprintf(name, sizeof name, "%sconv%d", prefix, number);
  int y = net_add_conv(net, name, x, k, kernel, stride, ok, err);
  snprintf(name, sizeof name, "%sbn%d", prefix, number);
  return net_add_norm(net, name, y, residual, relu, ok, err);
}

/* y = relu(F(x) + shortcut(x)); the sum and the ReLU are part of the last norm (norm.h). The shortcut is the identity, or a 1x1
 * convolution and norm where stride or channels change ("downsample.0", "downsample.1"). name: "layer1.0", or "" for a block alone. */
int net_add_block(struct net *net, const char *name, int x, enum block block, ptrdiff_t planes, ptrdiff_t stride, bool *ok,
                  struct error *err) {
  char prefix[NET_NAME - 16], layer[NET_NAME];
  snprintf(prefix, sizeof prefix, "%s%s", name, *name ? "." : "");
  ptrdiff_t out = planes * expansion(block);
  bool project = stride != 1 || net->value[x].c != out;

  int last = block == BLOCK_BOTTLENECK ? 3 : 2, y = x;
  if (block == BLOCK_BOTTLENECK) {
    y = conv_norm(net, prefix, 1, y, planes, 1, 1, -1, true, ok, err);
    y = conv_norm(net, prefix, 2, y, planes, 3, stride, -1, true, ok, err);
  } else {
    y = conv_norm(net, prefix, 1, y, planes, 3, stride, -1, true, ok, err);
  }

  snprintf(layer, sizeof layer, "%sconv%d", prefix, last);
  int body = net_add_conv(net, layer, y, out, block == BLOCK_BOTTLENECK ? 1 : 3, 1, ok, err);
  int shortcut = x;
  if (project) {
    snprintf(layer, sizeof layer, "%sdownsample.0", prefix);
    shortcut = net_add_conv(net, layer, x, out, 1, stride, ok, err);
    snprintf(layer, sizeof layer, "%sdownsample.1", prefix);
    shortcut = net_add_norm(net, layer, shortcut, -1, false, ok, err);
  }
  snprintf(layer, sizeof layer, "%sbn%d", prefix, last);
  return net_add_norm(net, layer, body, shortcut, true, ok, err);
}

int net_add_resnet(struct net *net, int x, bool *ok, struct error *err) {
  const struct architecture *arch = &net->arch;
  bool imagenet = arch->stem == STEM_IMAGENET;
  int y = conv_norm(net, "", 1, x, arch->base_width, imagenet ? 7 : 3, imagenet ? 2 : 1, -1, true, ok, err);
  if (imagenet) y = net_add_maxpool(net, "maxpool", y, ok, err);
  for (int stage = 0; stage < 4; stage++)
    for (int i = 0; i < arch->blocks[stage] && *ok; i++) {
      char name[NET_NAME];
      snprintf(name, sizeof name, "layer%d.%d", stage + 1, i);
      y = net_add_block(net, name, y, arch->block, arch->base_width << stage, i == 0 && stage > 0 ? 2 : 1, ok, err);
    }
  return y;
}
