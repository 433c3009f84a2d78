#include "oracle/dump_window.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void dump_side_close(struct dump_side *s) {
  for (int p = 0; s->fd && p < s->d->parts; p++)
    if (s->fd[p] >= 0) close(s->fd[p]);
  free(s->fd);
}

bool dump_side_open(struct dump_side *s, const struct dump *d, struct error *err) {
  s->d = d;
  if (!(s->fd = malloc((size_t)d->parts * sizeof *s->fd))) return fail(err, "out of memory");
  for (int p = 0; p < d->parts; p++) s->fd[p] = -1;
  for (int p = 0; p < d->parts; p++)
    if ((s->fd[p] = open(d->part[p].path, O_RDONLY | O_CLOEXEC)) < 0)
      return fail(err, "%s: cannot be opened: %s", d->part[p].path, strerror(errno));
  return true;
}

bool dump_side_read(const struct dump_side *s, const struct dump_entry *e, ptrdiff_t first, ptrdiff_t n, void *to, struct error *err) {
  size_t element = dtype_size(e->data.dtype), size = (size_t)n * element;
  const struct safetensors *part = &s->d->part[e->part];
  off_t offset = (off_t)((const char *)e->data.data - (const char *)part->map) + (off_t)((size_t)first * element);
  for (char *p = to; size > 0;) {
    ssize_t got = pread(s->fd[e->part], p, size, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(err, "%s: %s: %s", part->path, e->name, got < 0 ? strerror(errno) : "the file became shorter");
    p += got, size -= (size_t)got, offset += got;
  }
  return true;
}

ptrdiff_t dump_elements(const struct dump_entry *e) {
  struct tensor t = {.ndim = e->ndim};
  memcpy(t.shape, e->shape, sizeof t.shape);
  return tensor_count(&t);
}
