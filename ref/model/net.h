/* A network as data: an array of layer records, run forward by one loop and backward by another (net_run.c).
 *
 * resnet.c and heads.c append records; nothing else knows what a ResNet is. A record names its layer as PyTorch does, the values it reads
 * and writes, and its parameters. A value is an activation: N H W C, or rows x C. From the same array memory is planned (plan.h), and the
 * trace sees every tensor of every layer from the loops, without a word in what appends records.
 *
 * A net belongs to one input shape; its state (parameters and running statistics) does not: two nets of one architecture and different
 * batch sizes share one state block, whose layout depends on the architecture alone.
 */
#ifndef EDIY_MODEL_NET_H
#define EDIY_MODEL_NET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/real.h"
#include "op/backend.h"

#ifndef EDIY_MODEL_NET_TYPES
#define EDIY_MODEL_NET_TYPES

enum { NET_NAME = 64 };

enum block { BLOCK_BASIC, BLOCK_BOTTLENECK };
enum stem { STEM_IMAGENET /* 7x7/2 and max pool */, STEM_CIFAR /* 3x3/1, none */ };

/* What determines a network up to its input shape. */
struct architecture {
  enum block block;
  int blocks[4];        /* residual blocks a stage: 3 4 6 3 for ResNet-50 */
  ptrdiff_t base_width; /* planes of the first stage; doubles each stage. 64 in every torchvision ResNet */
  enum stem stem;
  ptrdiff_t hidden, out;                                       /* of every head: 4096, 256 in BYOL */
  bool projector, predictor, local_projector, local_predictor; /* heads on the backbone */
  double bn_eps, bn_momentum;
};

enum layer_kind { LAYER_CONV, LAYER_NORM, LAYER_MAXPOOL, LAYER_AVGPOOL, LAYER_LINEAR };

struct layer {
  enum layer_kind kind;
  char name[NET_NAME]; /* PyTorch's module name: "layer1.0.conv1" */
  int x, residual, y;  /* values read and written; residual -1 if there is none */
  int weight, bias;    /* parameters: weight or gamma, bias or beta; -1 if there is none */
  int mean, var;       /* running statistics of a norm, else -1 */
  union {
    struct conv conv;
    struct norm norm;
    struct pool pool;
    struct linear linear;
  } shape;
};

struct value {
  char name[NET_NAME]; /* of the layer that writes it; "input" for value 0 */
  ptrdiff_t n, h, w, c;
  ptrdiff_t size; /* n h w c */
  int writer;     /* layer; -1 for the input */
};

enum role {
  ROLE_WEIGHT /* decayed and adapted by LARS */,
  ROLE_VECTOR /* bias, gamma, beta: neither */,
  ROLE_STATISTIC /* running mean or var */
};

struct parameter {
  char name[NET_NAME]; /* PyTorch's: "layer1.0.conv1.weight" */
  enum role role;
  int ndim;
  ptrdiff_t shape[4]; /* K R S C, out x in, or C */
  ptrdiff_t size;
  ptrdiff_t offset; /* of its first element in the state block, in reals */
};

struct net {
  struct architecture arch;
  struct layer *layer;
  struct value *value;
  struct parameter *parameter; /* in the order of the layers */
  int layers, values, parameters;
  ptrdiff_t state_size; /* reals, every parameter at a multiple of ARENA_ALIGN bytes */

  /* Values of interest; -1 where the architecture has none. */
  int map;        /* last feature map: N h w C, regions are its cells */
  int pooled;     /* N x C */
  int projection; /* N x out */
  int prediction; /* N x out */
  int regions;    /* local projection of every cell: N h w out */
  int region_prediction;
};
#endif

#define net_build REAL_NAME(net_build)
#define net_free REAL_NAME(net_free)
#define net_find_parameter REAL_NAME(net_find_parameter)
#define net_find_layer REAL_NAME(net_find_layer)
#define architecture_named REAL_NAME(architecture_named)
#define net_add_conv REAL_NAME(net_add_conv)
#define net_add_norm REAL_NAME(net_add_norm)
#define net_add_maxpool REAL_NAME(net_add_maxpool)
#define net_add_avgpool REAL_NAME(net_add_avgpool)
#define net_add_linear REAL_NAME(net_add_linear)
#define net_add_resnet REAL_NAME(net_add_resnet)
#define net_add_block REAL_NAME(net_add_block)
#define net_add_heads REAL_NAME(net_add_heads)
#define net_begin REAL_NAME(net_begin)
#define net_add_mlp REAL_NAME(net_add_mlp)

/* "resnet18" | "resnet34" | "resnet50" (torchvision's) | "small" (one basic block a stage, width 16: for tests and sanity runs), with
 * BYOL's head sizes, every head off, eps 1e-5 and momentum 0.1. False for another name. */
bool architecture_named(const char *name, struct architecture *arch);

/* The network of this architecture for batch x height x width x 3 inputs. Fails when the images are too small for the strides or a size
 * overflows. */
MUST_CHECK bool net_build(struct net *net, const struct architecture *arch, ptrdiff_t batch, ptrdiff_t height, ptrdiff_t width,
                          struct error *err);
void net_free(struct net *net);

int net_find_parameter(const struct net *net, const char *name); /* -1 if there is none */
int net_find_layer(const struct net *net, const char *name);     /* -1 if there is none */

/* For those who build other networks (a single block, a single head, another backbone): begin with the input value, then append records.
 * Each returns the value it writes. A failed append leaves *ok false and the net consistent for net_free. */
MUST_CHECK bool net_begin(struct net *net, const struct architecture *arch, ptrdiff_t n, ptrdiff_t h, ptrdiff_t w, ptrdiff_t c,
                          struct error *err);
int net_add_conv(struct net *net, const char *name, int x, ptrdiff_t k, ptrdiff_t kernel, ptrdiff_t stride, bool *ok, struct error *err);
int net_add_norm(struct net *net, const char *name, int x, int residual, bool relu, bool *ok, struct error *err);
int net_add_maxpool(struct net *net, const char *name, int x, bool *ok, struct error *err);
int net_add_avgpool(struct net *net, const char *name, int x, bool *ok, struct error *err);
int net_add_linear(struct net *net, const char *name, int x, ptrdiff_t out, bool bias, bool *ok, struct error *err);
/* The ResNet up to its last map (resnet.c), one residual block of it, the heads on it (heads.c), one head. */
int net_add_resnet(struct net *net, int x, bool *ok, struct error *err);
int net_add_block(struct net *net, const char *name, int x, enum block block, ptrdiff_t planes, ptrdiff_t stride, bool *ok,
                  struct error *err);
int net_add_mlp(struct net *net, const char *name, int x, ptrdiff_t hidden, ptrdiff_t out, bool *ok, struct error *err);
void net_add_heads(struct net *net, bool *ok, struct error *err);

#endif
