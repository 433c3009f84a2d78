#include "oracle/backends.h"

#include <stdio.h>
#include <string.h>

#include "oracle/mutants/plain.h"
#include "train/backends.h"

static const struct backend *cuda; /* of the process, which has one GPU */
static bool start_cuda(struct error *err) {
  cuda = backend_open(&(struct backend_options){.backend = BACKEND_CUDA}, err);
  return cuda != NULL;
}
static const struct backend *backend_of_gpu(void) { return cuda; }

const struct backend_entry backend_entries[] = {
    {"reference", backend_reference, NULL}, {"plain", backend_plain, NULL}, {"cuda", backend_of_gpu, start_cuda}};
const int backend_entry_count = sizeof backend_entries / sizeof *backend_entries;

/* "plain:WORDS": the plain backend in one of its right variants. */
static const struct backend *plain_named(const char *words, struct error *err) {
  struct plain_choice choice;
  if (!plain_parse(words, &choice, err)) return NULL;
  plain_choose(&choice);
  return backend_plain();
}

const struct backend *backend_named(const char *name, struct error *err) {
  char names[256] = "ref32, ref64";
  static const char variant[] = "plain:";
  if (strncmp(name, variant, strlen(variant)) == 0) return plain_named(name + strlen(variant), err);
  for (int i = 0; i < backend_entry_count; i++) {
    const struct backend_entry *e = &backend_entries[i];
    size_t used = strlen(names);
    if (strcmp(e->name, name) == 0) return !e->start || e->start(err) ? e->table() : NULL;
    snprintf(names + used, sizeof names - used, ", %s", e->name);
  }
  fail(err, "there is no backend '%s'; there are %s", name, names);
  return NULL;
}
