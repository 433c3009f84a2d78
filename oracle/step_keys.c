#include "oracle/step_keys.h"

#include <stdlib.h>
#include <string.h>

static bool in_table(const struct option *table, int keys, const char *argument) {
  size_t length = strcspn(argument, "=");
  for (int i = 0; i < keys; i++)
    if (strlen(table[i].key) == length && strncmp(table[i].key, argument, length) == 0) return true;
  return false;
}

bool step_keys_read(const struct option *table, int keys, void *config, const struct step_keys *step, int count, char *const *arguments,
                    bool (*check)(void *config, struct error *err), struct step_source *source, struct error *err) {
  char **others = calloc((size_t)count + 1, sizeof *others);
  int rest = 0;
  bool ok = others != NULL || fail(err, "out of memory");
  options_default(table, keys, config);
  for (int i = 0; ok && i < count; i++) {
    if (!strchr(arguments[i], '='))
      ok = fail(err, "'%s' is not of the form key=value", arguments[i]);
    else if (in_table(table, keys, arguments[i]))
      ok = options_argument(table, keys, config, arguments[i], err);
    else
      others[rest++] = arguments[i];
  }
  ok = ok && check(config, err) && step_source_open(source, rest, others, (enum step_weights)step->weights, step->first, err);
  free(others);
  return ok;
}
