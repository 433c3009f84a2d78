/* Any bytes at all, read as the manifest of a dump: refused with one line, or every tensor in it can be found, stands in order and has a
 * shape with elements. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/dump.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
  if (!condition) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct dump d;
  struct error err = {.text = ""};
  if (!dump_parse(&d, (const char *)data, size, "input", &err)) {
    require(strncmp(err.text, "input/manifest.json: ", 21) == 0 && !strchr(err.text, '\n'));
    require(!d.entry && !d.manifest && !d.path && d.count == 0);
    return 0;
  }
  require(d.count > 0 && d.parts > 0);
  for (int i = 0; i < d.count; i++) {
    const struct dump_entry *e = &d.entry[i];
    struct dump_entry again = {.part = 0};
    struct tensor t = {.ndim = e->ndim};
    memcpy(t.shape, e->shape, sizeof t.shape);
    require(dump_find(&d, "%s", e->name) == e);
    require(dump_name_parse(e->name, &again, &err) && again.step == e->step && again.view == e->view);
    require(i == 0 || dump_name_rank(e) >= dump_name_rank(e - 1));
    require(tensor_count(&t) > 0 && e->part < d.parts && e->chain >= 1 && !(e->drift != e->drift));
    require(strlen(e->sha256) == SHA256_HEX_SIZE - 1);
  }
  struct model_config c;
  int micro_batches = 0;
  if (dump_model_config(&d, &c, &micro_batches, &err)) {
    require(micro_batches > 0 && c.batch > 0 && c.arch.blocks[3] > 0);
    json_t *attrs = dump_attributes(&c, micro_batches);
    require(attrs != NULL);
    json_decref(attrs);
  } else {
    require(strncmp(err.text, "input/manifest.json: ", 21) == 0);
  }
  dump_close(&d);
  return 0;
}
