/* Between the public interface (ediy.h) and the rooms behind it: errors out, arguments in. */
#ifndef EDIY_API_OUTSIDE_H
#define EDIY_API_OUTSIDE_H

#include "base/error.h"
#include "ediy.h"

/* The last line of every public function: passes `inner` on to err (may be null) where ok is false, empties err where it is true;
 * returns ok. */
static inline bool outside(bool ok, const struct error *inner, ediy_error *err) {
  _Static_assert(sizeof err->text == sizeof inner->text, "a message fits as it is");
  if (err && ok) err->text[0] = 0;
  if (err && !ok)
    for (size_t i = 0; i < sizeof err->text && (err->text[i] = inner->text[i]); i++) continue;
  return ok;
}

#endif
