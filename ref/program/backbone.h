/* Which frozen backbone a verb looks at: keys shared by eval, embed, export and show saliency; show matches fills them in. */
#ifndef EDIY_PROGRAM_BACKBONE_H
#define EDIY_PROGRAM_BACKBONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/options.h"
#include "model/net.h"
#include "train/backends.h"
#include "train/config.h"
#include "train/features.h"

/* What the command line says. */
struct backbone_choice {
  char weights[OPTION_TEXT_SIZE]; /* a checkpoint, a backbone file, or "random" */
  int backbone;                   /* 0: as the file says; else 1 + the place in backbone_names */
  int stem;                       /* 0: as the file says; else 1 + enum stem */
  int64_t size;                   /* pixels; 0: as the file says */
  int64_t batch;
  int backend;         /* enum backend_choice */
  bool prefix_allowed; /* in front of every name in the file; no key, import's alone */
};

/* Rows of an option table for the member `choice` of a configuration. */
#define BACKBONE_OPTIONS(type, choice)                                                                                                     \
  {"weights", OPTION_TEXT, offsetof(type, choice.weights), "", 0, 0, NULL, "checkpoint or backbone file, or random"},                      \
      {"backbone",                                                                                                                         \
       OPTION_CHOICE,                                                                                                                      \
       offsetof(type, choice.backbone),                                                                                                    \
       "auto",                                                                                                                             \
       0,                                                                                                                                  \
       0,                                                                                                                                  \
       "auto | " BACKBONE_CHOICES,                                                                                                         \
       "architecture; auto: as the file says"},                                                                                            \
      {"stem",                                                                                                                             \
       OPTION_CHOICE,                                                                                                                      \
       offsetof(type, choice.stem),                                                                                                        \
       "auto",                                                                                                                             \
       0,                                                                                                                                  \
       0,                                                                                                                                  \
       "auto | imagenet | cifar",                                                                                                          \
       "first layers: 7x7/2 and max pool, or 3x3/1; auto: as the file says"},                                                              \
  {                                                                                                                                        \
    "size", OPTION_INT, offsetof(type, choice.size), "0", 0, 4096, NULL, "side of the network's input, pixels; 0: as the file says"        \
  }

/* Rows more, for verbs that run many images through the backbone. */
#define BATCH_OPTIONS(type, choice)                                                                                                        \
  {"batch", OPTION_INT, offsetof(type, choice.batch), "64", 1, 65536, NULL, "images that go through the network together"}, {              \
    "backend", OPTION_CHOICE, offsetof(type, choice.backend), "reference", 0, 0, BACKEND_CHOICES, "what computes the features"             \
  }

struct backbone {
  struct architecture arch;
  int size;                     /* of the input, pixels */
  char stem_name[16], name[16]; /* as the keys have them */
  char prefix[TENSOR_MAX_NAME]; /* what was in front of every name; empty but for prefix_allowed */
};

/* What the choice comes to: keys first, then the configuration that the file carries. Fails where neither says what the architecture is. */
MUST_CHECK bool backbone_resolve(const struct backbone_choice *choice, struct backbone *b, struct error *err);

/* Resolves, and makes an extractor on the backend with the weights in it, for inputs of height x width (0: size x size). On failure nothing
 * is left to free. */
MUST_CHECK bool backbone_open(const struct backbone_choice *choice, int height, int width, struct backbone *b, struct extractor *e,
                              struct error *err);

#endif
