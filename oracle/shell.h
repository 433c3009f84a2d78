/* Words of a command that is printed, to be given to a shell. */
#ifndef EDIY_ORACLE_SHELL_H
#define EDIY_ORACLE_SHELL_H

/* Prints the word on standard output so that a shell reads it back as it is: in quotes, unless all its bytes are letters, digits and such
 * signs as mean nothing to a shell. */
void shell_print(const char *word);

#endif
