/* Weights to and from other frameworks: torchvision's state dict (names and O I H W order) and Detectron2's backbone names, as safetensors.
 *
 * Inside, convolution weights are K R S C; in every file they are O I H W, under PyTorch's names, so that
 *     m = torchvision.models.resnet50(); m.fc = torch.nn.Identity(); m.load_state_dict(safetensors.torch.load_file(path))
 * takes an exported backbone as it is (strict: num_batches_tracked is written too).
 */
#ifndef EDIY_MODEL_EXCHANGE_H
#define EDIY_MODEL_EXCHANGE_H

#include "base/error.h"
#include "base/safetensors.h"
#include "model/net.h"

#ifndef EDIY_MODEL_EXCHANGE_TYPES
#define EDIY_MODEL_EXCHANGE_TYPES
enum exchange_form { EXCHANGE_TORCHVISION, EXCHANGE_DETECTRON2 };

/* Shape of a parameter in a file; returns the number of dimensions. */
int exchange_shape(const struct parameter *p, ptrdiff_t shape[4]);

/* The name under which Detectron2's ResNet knows a torchvision key: "layer1.0.bn2.weight" -> "res2.0.conv2.norm.weight". */
void exchange_detectron2_name(const char *name, char out[NET_NAME]);
#endif

#define exchange_pack REAL_NAME(exchange_pack)
#define exchange_unpack REAL_NAME(exchange_unpack)
#define exchange_export REAL_NAME(exchange_export)
#define exchange_import REAL_NAME(exchange_import)
#define exchange_import_foreign REAL_NAME(exchange_import_foreign)

/* One parameter between the order inside (own) and the order in files. p->size reals each; must not overlap. */
void exchange_pack(const struct parameter *p, const real *own, real *file);
void exchange_unpack(const struct parameter *p, const real *file, real *own);

/* Writes every backbone parameter and statistic of the net (layers without a head's name) from a host state block. metadata: pairs, then
 * null. Fails, and writes nothing, where the import would refuse a number. */
MUST_CHECK bool exchange_export(const struct net *net, const real *state, enum exchange_form form, const char *const *metadata,
                                const char *path, struct error *err);

/* Fills the net's parameters and statistics in a host state block from an open file, whose names are prefix + PyTorch's. With heads_too,
 * the heads must be there as well; else only the backbone is read. num_batches_tracked and fc are ignored. Fails with the file, the first
 * missing tensor, or both shapes of one that does not fit. */
MUST_CHECK bool exchange_import(const struct net *net, const struct safetensors *file, const char *prefix, bool heads_too, real *state,
                                struct error *err);

/* The same from a file that others wrote, whose names may all have a prefix, which is found: "module." of DataParallel, "backbone." of a
 * larger network. prefix: gets it, empty where there is none; null where it is not wanted: such a file is then refused, with a line that
 * names `ediy import`, and so are two of them, and a file without the backbone, with its first name. */
MUST_CHECK bool exchange_import_foreign(const struct net *net, const struct safetensors *file, char prefix[TENSOR_MAX_NAME], bool heads_too,
                                        real *state, struct error *err);

#endif
