/* The heads of E-DIY on the last feature map (paper Fig. 2; BYOL, section 3.3): projector and predictor of the whole image, projector of
 * every region. All have BYOL's form: linear with bias, batch norm, ReLU, linear without bias. */
#include <stdio.h>

#include "model/net.h"

/* Names as in a PyTorch Sequential: NAME.0 linear, NAME.1 norm (and ReLU, NAME.2), NAME.3 linear. On a map every cell is a row, so that
 * the norm's statistics are over batch x regions: a 1x1 convolution in other words. */
int net_add_mlp(struct net *net, const char *name, int x, ptrdiff_t hidden, ptrdiff_t out, bool *ok, struct error *err) {
  char layer[NET_NAME];
  snprintf(layer, sizeof layer, "%s%s0", name, *name ? "." : "");
  int y = net_add_linear(net, layer, x, hidden, true, ok, err);
  snprintf(layer, sizeof layer, "%s%s1", name, *name ? "." : "");
  y = net_add_norm(net, layer, y, -1, true, ok, err);
  snprintf(layer, sizeof layer, "%s%s3", name, *name ? "." : "");
  return net_add_linear(net, layer, y, out, false, ok, err);
}

void net_add_heads(struct net *net, bool *ok, struct error *err) {
  const struct architecture *a = &net->arch;
  net->pooled = net_add_avgpool(net, "avgpool", net->map, ok, err);
  if (a->projector) net->projection = net_add_mlp(net, "projector", net->pooled, a->hidden, a->out, ok, err);
  if (a->predictor) net->prediction = net_add_mlp(net, "predictor", net->projection, a->hidden, a->out, ok, err);
  if (a->local_projector) net->regions = net_add_mlp(net, "local_projector", net->map, a->hidden, a->out, ok, err);
  if (a->local_predictor) net->region_prediction = net_add_mlp(net, "local_predictor", net->regions, a->hidden, a->out, ok, err);
}
