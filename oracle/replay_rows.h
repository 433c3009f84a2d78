/* What the parts of replay share: replay.c (order, what is given, rates), replay_augment.c (views), replay_work.c (what is computed). */
#ifndef EDIY_ORACLE_REPLAY_ROWS_H
#define EDIY_ORACLE_REPLAY_ROWS_H

#include "oracle/replay.h"

bool replay_wants(const struct replay *r, const char *name);
void replay_know(struct replay *r, const struct dump_entry *e);

/* A row that is INCOMPLETE until it is judged; and on its way to who looks, under this name. */
struct replay_row replay_row_of(const struct unit *at, const char *op);
void replay_show(struct replay *r, struct replay_row *row, const char *name);

/* Whether the dump has this tensor, with numbers (or indices) of this shape; else j says what is the matter. */
bool replay_has_form(const struct dump_entry *e, int ndim, const ptrdiff_t *shape, bool index, struct judged *j);

/* What is declared of a tensor. */
const struct precision_class *replay_class(const struct replay *r, const struct dump_entry *e);

/* Replay on a backend: the outputs of a work that its cases make stand for those of the dump. replay_backend_free in any case. */
struct replay_backend {
  struct dump_entry entry[WORK_OUTPUTS]; /* their data are owned */
  int count;
  char misconduct[256]; /* empty, or how it behaved: wrote outside its outputs, ... */
};
MUST_CHECK bool replay_on_backend(const struct replay *r, struct unit_work *w, struct replay_backend *b, struct error *err);
void replay_backend_free(struct replay_backend *b);

MUST_CHECK bool replay_augment(struct replay *r, const struct unit *at, struct error *err);
MUST_CHECK bool replay_work(struct replay *r, const struct unit *at, struct error *err);

#endif
