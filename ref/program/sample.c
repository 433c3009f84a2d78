#include "program/sample.h"

#include <stdlib.h>

#include "program/picture.h"

ptrdiff_t sample_spread(int i, int rows, ptrdiff_t count) { return (ptrdiff_t)((2 * (int64_t)i + 1) * count / (2 * (int64_t)rows)); }

bool sample_read(struct sample *s, const struct dataset *data, ptrdiff_t index, const struct config *config, uint64_t seed, uint32_t epoch,
                 struct error *err) {
  *s = (struct sample){0};
  if (!image_read(data->path[index], &s->source, err)) return false;
  int size = (int)config->size, height = s->source.height, width = s->source.width;
  size_t bytes = (size_t)size * (size_t)size * 3;
  float *scratch = malloc((size_t)augment_scratch(height, width, size) * sizeof *scratch);
  bool good = scratch != NULL;
  for (int k = 0; good && k < 2; k++) {
    struct augmentation a = config_augmentation(config, k);
    s->draw[k] = augment_draw(&a, height, width, seed, epoch, (uint32_t)index, k);
    s->view[k] = malloc(bytes * sizeof(float));
    s->rgb[k] = malloc(bytes);
    good = s->view[k] && s->rgb[k];
    if (!good) break;
    augment_apply(&s->draw[k], s->source.rgb, height, width, s->view[k], scratch);
    picture_bytes(s->view[k], size, s->rgb[k]);
  }
  free(scratch);
  if (good) return true;
  sample_free(s);
  return fail(err, "%s: no memory for its views", data->path[index]);
}

void sample_free(struct sample *s) {
  image_free(&s->source);
  for (int k = 0; k < 2; k++) {
    free(s->view[k]);
    free(s->rgb[k]);
  }
  *s = (struct sample){0};
}
