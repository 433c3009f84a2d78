#include "oracle/shell.h"

#include <stdio.h>
#include <string.h>

static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-+=:@%,";

/* Between single quotes nothing is special, and they cannot hold one of themselves: it stands outside them. */
void shell_print(const char *word) {
  if (word[0] && !word[strspn(word, plain)]) {
    fputs(word, stdout);
    return;
  }
  putchar('\'');
  for (; *word; word++) {
    if (*word == '\'') fputs("'\\''", stdout);
    if (*word != '\'') putchar(*word);
  }
  putchar('\'');
}
