/* Any bytes at all, read as a file of options: refused with a line number, or a configuration within its ranges whose printed form reads
 * back as the same configuration. The input is also one key=value argument, one value for every key, and one misspelt key. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct config {
  bool flip;
  int64_t epochs;
  double lr, momentum;
  char data[OPTION_TEXT_SIZE];
  int similarity;
};

static const struct option table[] = {
    {"train.epochs", OPTION_INT, offsetof(struct config, epochs), "100", -5, 1000, NULL, ""},
    {"lars.lr", OPTION_REAL, offsetof(struct config, lr), "0.2", -INFINITY, INFINITY, NULL, ""},
    {"momentum", OPTION_REAL, offsetof(struct config, momentum), "0.99", 0, 1, NULL, ""},
    {"data", OPTION_TEXT, offsetof(struct config, data), "", 0, 0, NULL, ""},
    {"similarity", OPTION_CHOICE, offsetof(struct config, similarity), "cosine", 0, 0, "cosine | dot", ""},
    {"flip", OPTION_BOOL, offsetof(struct config, flip), "yes", 0, 0, NULL, ""},
};
enum { COUNT = sizeof table / sizeof table[0] };

static void require(bool condition) {
  if (!condition) abort();
}

static void check(const struct config *c) {
  require(c->epochs >= -5 && c->epochs <= 1000 && isfinite(c->lr) && c->momentum >= 0 && c->momentum <= 1);
  require(c->similarity == 0 || c->similarity == 1);
  require(memchr(c->data, 0, sizeof c->data) != NULL);
  struct config back;
  struct error err;
  options_default(table, COUNT, &back);
  char *text = options_format(table, COUNT, c);
  require(text != NULL);
  require(options_parse(table, COUNT, &back, text, strlen(text), "printed", &err));
  free(text);
  require(back.flip == c->flip && back.epochs == c->epochs && back.similarity == c->similarity);
  require(memcmp(&back.lr, &c->lr, sizeof c->lr) == 0 && memcmp(&back.momentum, &c->momentum, sizeof c->momentum) == 0);
  require(strcmp(back.data, c->data) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct config c;
  struct error err = {.text = ""};
  options_default(table, COUNT, &c);
  if (!options_parse(table, COUNT, &c, (const char *)data, size, "input", &err))
    require(strncmp(err.text, "input:", 6) == 0 && !strchr(err.text, '\n'));
  check(&c);

  char *text = malloc(size + 1);
  require(text != NULL);
  if (size > 0) memcpy(text, data, size);
  text[size] = 0;
  bool ok = options_argument(table, COUNT, &c, text, &err);
  for (int i = 0; i < COUNT; i++) ok = options_set(table, COUNT, &c, table[i].key, text, &err) || ok;
  ok = options_set(table, COUNT, &c, text, "1", &err) || ok;
  require(ok || err.text[0]);
  check(&c);
  free(text);
  return 0;
}
