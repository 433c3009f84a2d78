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

/* One view of one decoded image. */
struct augment_item {
  struct view view;
  const uint8_t *rgb; /* height x width x 3, device memory */
  int height, width;
};

/* Bytes of scratch for these views, all of one size, at most CUDA_AUGMENT_SIZE pixels. */
enum { CUDA_AUGMENT_SIZE = 4096 };
size_t cuda_augment_scratch(ptrdiff_t count, const struct augment_item *item);

/* y (device memory, count x size x size x 3) = augment_apply of each item: overwritten. item is host memory and may be reused at once. */
void cuda_augment_apply(ptrdiff_t count, const struct augment_item *item, float *y, void *scratch);

#ifdef __cplusplus
}
#endif

#endif
