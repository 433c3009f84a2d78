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

MUST_CHECK bool replay_augment(struct replay *r, const struct unit *at, struct error *err);
MUST_CHECK bool replay_work(struct replay *r, const struct unit *at, struct error *err);

#endif
