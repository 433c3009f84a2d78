/* How things fail here.
 *
 * A function that can fail because of the world (a file, a key, memory) returns bool, true for success, and takes a
 * struct error * as its last argument, which it fills on failure with one line for the user: what is wrong, where (file, key,
 * tensor), and what to do. The library never prints and never exits; a program prints the line and exits with EXIT_BAD_INPUT.
 * A programming error (shapes that cannot fit) is an assertion.
 *
 *     if (!safetensors_open(&file, path, err)) return false;      // err is already filled
 *     return fail(err, "%s: not a PNG file (starts with %02x); remove it or convert it to PNG", path, byte);
 */
#ifndef EDIY_BASE_ERROR_H
#define EDIY_BASE_ERROR_H

#include <stdbool.h>

enum { EXIT_MISMATCH = 1, EXIT_BAD_INPUT = 2 }; /* as diff: 0 same, 1 different, 2 trouble */

struct error {
  char text[1024];  /* one line, no newline at the end; empty: no error */
  bool is_shortage; /* the machine is short of memory or of open files: a file that was to be read may be well */
};

/* A result that must be looked at. */
#define MUST_CHECK __attribute__((warn_unused_result))

/* Formats the line and returns false, so that a caller can write: return fail(err, ...). A null err is allowed. Keeps the
 * first 1023 bytes. Control characters (a file's own text may be quoted) become '?', so that the message stays one line. */
bool fail(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* The same of a shortage. */
bool fail_short(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* Puts "what: " in front of the line already there (a file name in front of what a parser said). Returns false. */
bool fail_within(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

#endif
