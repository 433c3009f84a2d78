/* The number that most of many are, if there is one (Boyer and Moore's vote, 1981): every number is voted first, then counted. Equal terms
 * of a sum are rounded alike (gauge.h). */
#ifndef EDIY_ORACLE_USUAL_H
#define EDIY_ORACLE_USUAL_H

#include <math.h>

struct usual {
  double value, lead; /* of the vote */
  double same, others;
};

static inline void usual_vote(struct usual *u, double x) {
  if (u->lead == 0) u->value = x;
  u->lead += x == u->value ? 1 : -1;
}
static inline void usual_count(struct usual *u, double x) {
  u->same += x == u->value;
  u->others += x != u->value;
}
/* How many are that number, of L that are added up one after the other; 0 where most are not. */
static inline double usual_number(const struct usual *u, double L) { return u->same > u->others ? fmin(u->same, L) : 0; }

#endif
