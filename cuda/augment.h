/* Augmentation on the device: the second half of ref/image/augment.h, of many views at once. For C and C++.
 *
 * The first half, augment_draw, stays on the host: a view is drawn from its Philox stream in a microsecond, with the C library's functions.
 * What is drawn is applied here with the reference's bits.
 */
#ifndef EDIY_CUDA_AUGMENT_H
#define EDIY_CUDA_AUGMENT_H

#ifdef __cplusplus
extern "C" {
#endif

#include "image/augment.h"

/* Bytes of scratch for these views, and for any so many views with windows of at most AUGMENT_WINDOW; of one size, at most
 * CUDA_AUGMENT_SIZE pixels. */
enum { CUDA_AUGMENT_SIZE = 4096 };
size_t cuda_augment_scratch(ptrdiff_t count, const struct augment_item *item);
size_t cuda_augment_most_scratch(ptrdiff_t count, int size);

/* augment_apply of each item; rgb and y: device memory. item is host memory and may be reused at once. */
void cuda_augment_apply(ptrdiff_t count, const struct augment_item *item, void *scratch);

#ifdef __cplusplus
}
#endif

#endif
