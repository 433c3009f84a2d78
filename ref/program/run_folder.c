#include "program/run_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/safetensors.h"

enum { CONFIG_LIMIT = 1 << 20 }; /* bytes: a configuration has two thousand */

bool run_config(const char *run, struct config *c, struct error *err) {
  char path[OPTION_TEXT_SIZE + 16], *text;
  size_t size;
  snprintf(path, sizeof path, "%s/config.txt", run);
  if (!file_read(path, CONFIG_LIMIT, &text, &size, err)) return fail_within(err, "run=%s is not the folder of a training run", run);
  options_default(config_options, config_option_count, c);
  bool good = options_parse(config_options, config_option_count, c, text, size, path, err);
  free(text);
  return good;
}

bool weights_config(const char *path, struct config *c, bool *found, struct error *err) {
  struct safetensors file;
  if (!safetensors_open(&file, path, err)) return false;
  const char *text = safetensors_metadata(&file, "config");
  *found = text != NULL;
  options_default(config_options, config_option_count, c);
  bool good = !text || options_parse(config_options, config_option_count, c, text, strlen(text), path, err);
  safetensors_close(&file);
  return good;
}
