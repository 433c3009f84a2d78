/* ediy export and ediy import: weights to and from torchvision and Detectron2. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "model/exchange.h"
#include "program/backbone.h"
#include "program/verb.h"

struct exchange {
  struct backbone_choice choice;
  char out[OPTION_TEXT_SIZE];
  int form;
};

static const struct option export_keys[] = {
    BACKBONE_OPTIONS(struct exchange, choice),
    {"out", OPTION_TEXT, offsetof(struct exchange, out), "", 0, 0, NULL, "file to write, safetensors"},
    {"format", OPTION_CHOICE, offsetof(struct exchange, form), "torchvision", 0, 0, "torchvision | detectron2", "names of the tensors"},
};

static const struct option import_keys[] = {
    BACKBONE_OPTIONS(struct exchange, choice),
    {"out", OPTION_TEXT, offsetof(struct exchange, out), "", 0, 0, NULL, "file to write, safetensors"},
};

/* Both verbs: read a backbone from any file we know, check it against its architecture, write it. */
static bool convert(const struct verb *verb, int count, char *const *arguments, struct error *err) {
  struct exchange *x = malloc(sizeof *x);
  struct backbone b;
  struct extractor e;
  if (!x) return fail(err, "%s: no memory", verb->name);
  memset(x, 0, sizeof *x);
  bool good = verb_options(verb, count, arguments, x, err) && verb_require(verb, "weights", x->choice.weights, err) &&
              verb_require(verb, "out", x->out, err) && verb_replaces(verb, x->out, VERB_BACKBONE, err);
  if (good && verb == &verb_import && !strcmp(x->choice.weights, "random"))
    good = fail(err, "import: weights=random is no file to take over; ediy export weights=random writes one");
  x->choice.batch = 1;
  x->choice.prefix_allowed = verb == &verb_import;
  good = good && backbone_open(&x->choice, 0, 0, &b, &e, err);
  if (good) {
    size_t bytes = (size_t)e.net.state_size * sizeof(float);
    float *state = malloc(bytes);
    char config[128]; /* what a reader needs to know of it (weights_config) */
    snprintf(config, sizeof config, "backbone = %s\nstem = %s\nsize = %d\n", b.name, b.stem_name, b.size);
    good = state || fail(err, "%s: no memory", verb->name);
    if (good) {
      const char *metadata[] = {"format", "pt", "source", x->choice.weights, "config", config, NULL};
      e.backend->download(state, e.state, bytes);
      good = exchange_export(&e.net, state, (enum exchange_form)x->form, metadata, x->out, err);
    }
    if (good && b.prefix[0]) printf("%s: its names begin with %s, which is left out\n", x->choice.weights, b.prefix);
    if (good) printf("%s: %s, %s stem, %td channels\n", x->out, b.name, b.stem_name, e.channels);
    free(state);
    extractor_free(&e);
  }
  free(x);
  return good;
}

static bool run_export(int count, char *const *arguments, struct error *err) { return convert(&verb_export, count, arguments, err); }
static bool run_import(int count, char *const *arguments, struct error *err) { return convert(&verb_import, count, arguments, err); }

#define COUNT(keys) (sizeof keys / sizeof keys[0])

const struct verb verb_export = {
    .name = "export",
    .summary = "write a backbone for torchvision or Detectron2",
    .usage = "weights=FILE out=FILE [format=torchvision | detectron2]",
    .about = "The online backbone of a checkpoint (or any backbone file) under the names of another program.\n"
             "In Python: model.load_state_dict(safetensors.torch.load_file(FILE)), with model.fc = Identity().\n"
             "In Detectron2: RGB input, PIXEL_MEAN [123.675, 116.28, 103.53], PIXEL_STD [58.395, 57.12, 57.375],\n"
             "STRIDE_IN_1X1 False.",
    .example = "ediy scenes out=scenes images=64 val=16\n"
               "ediy train preset=demo lambda1=0 lambda2=0 data=scenes/train out=teacher epochs=1 warmup=0 batch=16\n"
               "ediy export weights=teacher/backbone.safetensors out=detectron2.safetensors format=detectron2",
    .keys = export_keys,
    .key_count = COUNT(export_keys),
    .run = run_export,
};

const struct verb verb_import = {
    .name = "import",
    .summary = "check and take over a backbone from torchvision",
    .usage = "weights=FILE backbone=NAME out=FILE [stem=NAME] [size=N]",
    .about = "Reads a safetensors file with torchvision's names (fc and num_batches_tracked are passed over), checks\n"
             "every tensor against the architecture, and writes a backbone file that says what it is: for teacher=\n"
             "and weights=. In Python: safetensors.torch.save_file(model.state_dict(), FILE). Half precision (F16, BF16)\n"
             "becomes F32. What stands in front of all names, such as the module. of DataParallel, is left out.",
    .example = "ediy export weights=random backbone=resnet18 out=resnet18.safetensors\n"
               "ediy import weights=resnet18.safetensors backbone=resnet18 out=teacher.safetensors",
    .keys = import_keys,
    .key_count = COUNT(import_keys),
    .run = run_import,
};
