#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/dump.h"

static const char *const phases[] = {"state", "augment", "input", "forward", "match", "loss", "backward", "optimiser", "ema"};
enum { STATE, AUGMENT, INPUT, FORWARD, MATCH, LOSS, BACKWARD, OPTIMISER, EMA, PHASES };

static const char *const networks[] = {"-", "online", "target", "teacher"};
enum { NOBODY, ONLINE, TARGET, TEACHER, NETWORKS };

enum { NUMBER_LIMIT = 1 << 20 }; /* of steps, micro-batches */

static int index_of(const char *word, const char *const *words, int count) {
  for (int i = 0; i < count; i++)
    if (strcmp(word, words[i]) == 0) return i;
  return -1;
}

/* The next part of the name up to the given end, copied; *at moves behind the end. */
static bool take(const char **at, char end, char *text, size_t size) {
  const char *stop = strchr(*at, end);
  size_t length = stop ? (size_t)(stop - *at) : 0;
  if (!stop || length == 0 || length >= size) return false;
  memcpy(text, *at, length);
  text[length] = 0;
  *at = stop + (end != 0);
  return true;
}

/* Digits and nothing else, without leading zeros. */
static bool number(const char *text, int *value) {
  size_t digits = strspn(text, "0123456789");
  if (digits == 0 || digits > 7 || text[digits] || (text[0] == '0' && digits > 1)) return false;
  *value = atoi(text);
  return *value < NUMBER_LIMIT;
}

bool dump_name_parse(const char *name, struct dump_entry *e, struct error *err) {
  char step[16], micro[16], view[16];
  const char *at = name;
  for (const char *c = name; *c; c++)
    if (*c <= ' ' || *c > '~' || *c == '"' || *c == '\\') return fail(err, "tensor %.80s: names are of plain characters", name);
  bool ok = strlen(name) < TENSOR_MAX_NAME && take(&at, '.', step, sizeof step) && take(&at, '/', micro, sizeof micro) &&
            take(&at, '/', e->phase, sizeof e->phase) && take(&at, '/', e->network, sizeof e->network) &&
            take(&at, '/', view, sizeof view) && take(&at, '/', e->layer, sizeof e->layer) && take(&at, 0, e->tensor, sizeof e->tensor) &&
            !strchr(e->tensor, '/') && number(step, &e->step) && number(micro, &e->micro) && number(view, &e->view) && e->view <= 2;
  if (!ok) return fail(err, "tensor %.80s: a name is STEP.MICRO/PHASE/NETWORK/VIEW/LAYER/TENSOR", name);
  if (index_of(e->phase, phases, PHASES) < 0) return fail(err, "tensor %.80s: there is no phase %s", name, e->phase);
  if (index_of(e->network, networks, NETWORKS) < 0) return fail(err, "tensor %.80s: there is no network %s", name, e->network);
  memcpy(e->name, name, strlen(name) + 1);
  return true;
}

/* As in ref/model/step.c: the states, then for each micro-batch inputs, teacher, match, target, and for each view the online network
 * forward, its losses, and back; then LARS and the moving average. */
long dump_name_rank(const struct dump_entry *e) {
  enum { OF_TEACHER = 2, OF_MATCH, OF_TARGET, OF_VIEW_1, OF_VIEW_2 = OF_VIEW_1 + 3, MICRO = OF_VIEW_2 + 3 };
  const long step = (long)e->step * ((long)NUMBER_LIMIT * MICRO + 4);
  const long micro = step + 1 + (long)e->micro * MICRO, view = e->view == 2 ? OF_VIEW_2 : OF_VIEW_1;
  switch (index_of(e->phase, phases, PHASES)) {
  case STATE: return step;
  case AUGMENT: return micro;
  case INPUT: return micro + 1;
  case FORWARD:
    if (strcmp(e->network, networks[TEACHER]) == 0) return micro + OF_TEACHER;
    return strcmp(e->network, networks[TARGET]) == 0 ? micro + OF_TARGET : micro + view;
  case MATCH: return micro + OF_MATCH;
  case LOSS: return micro + view + 1;
  case BACKWARD: return micro + view + 2;
  case OPTIMISER: return step + 1 + (long)NUMBER_LIMIT * MICRO;
  default: return step + 2 + (long)NUMBER_LIMIT * MICRO;
  }
}
