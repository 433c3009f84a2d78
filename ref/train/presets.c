/* Presets: settings by name. The paper's and BYOL's are those of the paper (Sec. 4.2, Tables 1, 2 and 6) and of the official BYOL code; the
 * others are small runs for a CPU. lr is the base rate: the published peaks 3.2 (E-DIY; BYOL 1000 epochs), 4.8 (BYOL 300) and 7.2 (BYOL
 * 100) are lr * 4096 / 256. */
#include "train/config.h"

/* E-DIY on ImageNet. The paper has 16 GPUs x 128 = 2048 images an iteration and accumulates gradients, without saying how often: twice
 * makes BYOL's batch of 4096. Its one rate, 3.2, is of 1000 epochs; for 300 and 100 it states none, and they have the same here. What is
 * not here is the default: heads 4096-256. */
#define EDIY(epochs)                                                                                                                       \
  "epochs = " epochs "\nwarmup = 10\nbatch = 4096\naccumulate = 2\nlr = 0.2\nweight_decay = 1.5e-6\ntau0 = 0.996\n"                        \
  "backbone = resnet50\nsize = 224\nlambda1 = 1\nlambda2 = 1\nlambda3 = 1\n"

/* BYOL alone, as its own code: how a teacher is trained. */
#define BYOL(epochs, lr, decay, tau0)                                                                                                      \
  "epochs = " epochs "\nwarmup = 10\nbatch = 4096\naccumulate = 1\nlr = " lr "\nweight_decay = " decay "\ntau0 = " tau0 "\n"               \
  "backbone = resnet50\nsize = 224\nlambda1 = 0\nlambda2 = 0\nlambda3 = 1\n"

const struct preset presets[] = {
    {"ediy-1000",
     "E-DIY on ImageNet: the paper's 1000 epochs and 2048 images, accumulated twice to BYOL's batch of 4096; needs teacher=FILE",
     EDIY("1000")},
    {"ediy-300", "the same for 300 epochs (Table 1)", EDIY("300")},
    {"ediy-100", "the same for 100 epochs (Table 2)", EDIY("100")},
    {"byol-1000", "BYOL on ImageNet as in its official code: 1000 epochs, batch 4096; trains a teacher",
     BYOL("1000", "0.2", "1.5e-6", "0.996")},
    {"byol-300", "the same for 300 epochs", BYOL("300", "0.3", "1e-6", "0.99")},
    {"byol-100", "the same for 100 epochs", BYOL("100", "0.45", "1e-6", "0.99")},
    {"tiny64", "ResNet-18 on 64-pixel images (Tiny-ImageNet), 20 epochs: an hour or so on a small CPU",
     "epochs = 20\nwarmup = 2\nbatch = 128\nlr = 1\nweight_decay = 1e-6\ntau0 = 0.99\n"
     "backbone = resnet18\nstem = imagenet\nsize = 64\nprojector.hidden = 1024\nprojector.out = 128\n"},
    {"demo", "a small network on 96-pixel views with 3 x 3 regions, as in ediy demo: minutes on a thousand images",
     /* Small batches give more steps, and need the larger rate and the quicker target; crops of at least 0.3 show the object. */
     "epochs = 16\nwarmup = 1\nbatch = 32\nlr = 4\nweight_decay = 1e-6\ntau0 = 0.99\naugment.area = 0.3\n"
     "backbone = small\nstem = imagenet\nsize = 96\nprojector.hidden = 256\nprojector.out = 64\n"},
    {"sanity", "a small network on 32-pixel views, 5 epochs: does everything work? About a minute on 2,000 images",
     "epochs = 5\nwarmup = 1\nbatch = 32\nlr = 0.5\nweight_decay = 1e-6\ntau0 = 0.99\n"
     "backbone = small\nstem = cifar\nsize = 32\nprojector.hidden = 128\nprojector.out = 32\nlog.every = 5\n"},
};
const int preset_count = sizeof presets / sizeof presets[0];
