/* The decimal point while a library is at work. A program may have called setlocale, and then strtod and printf want a comma where
 * options, configurations and logs have a point. What is entered from outside begins with numerals_own and ends with numerals_give_back,
 * which hold for the calling thread alone; around what it calls of the program's, the program's own are in force again. */
#ifndef EDIY_BASE_NUMERALS_H
#define EDIY_BASE_NUMERALS_H

#include <locale.h>

struct numerals {
  locale_t own, before; /* null: none could be had, and all is left as it is */
};

static inline struct numerals numerals_own(void) {
  struct numerals n = {newlocale(LC_ALL_MASK, "C", (locale_t)0), (locale_t)0};
  if (n.own) n.before = uselocale(n.own);
  return n;
}

static inline void numerals_of_program(const struct numerals *n) {
  if (n->own) uselocale(n->before);
}

static inline void numerals_own_again(const struct numerals *n) {
  if (n->own) uselocale(n->own);
}

static inline void numerals_give_back(struct numerals *n) {
  numerals_of_program(n);
  if (n->own) freelocale(n->own);
  n->own = (locale_t)0;
}

#endif
