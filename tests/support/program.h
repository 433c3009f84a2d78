/* Running the built program from a test: in a fresh folder, with its output and exit status looked at.
 *
 * The program is the one of the environment variable EDIY, else ediy in the folder that BUILD
 * names (tests/run.sh sets it), else build/ediy; oracle and oracle-mutants are in the same folder. */
#ifndef EDIY_TESTS_PROGRAM_H
#define EDIY_TESTS_PROGRAM_H

struct outcome {
  int status;                 /* exit status; 128 + number of a signal */
  char out[65536], err[8192]; /* what it printed, cut to this much */
};

/* A group's set-up and tear-down: enters a new empty folder below TMPDIR or /tmp; program_leave removes it with everything in it. Stops the
 * test when there is no program. state is not used. */
int program_enter(void **state);
int program_leave(void **state);

/* Runs a shell command in which `ediy` is the program under test, and `oracle` and `oracle-mutants` those beside it, if there are any. */
const struct outcome *program_run(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Stops the test unless the program ended with this status and printed the words. */
void program_expect(int status, const char *words, const struct outcome *o);

/* Lines in a text. */
int program_lines(const char *text);

/* The command must fail as bad input does: exit status 2, nothing on standard output, one line on standard error that begins with "ediy: "
 * and holds the words. */
#define assert_refused(words, ...) program_refused(words, __FILE__, __LINE__, __VA_ARGS__)
void program_refused(const char *words, const char *file, int line, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The command must succeed, with nothing but progress on standard error. */
#define assert_runs(...) program_runs(__FILE__, __LINE__, __VA_ARGS__)
const struct outcome *program_runs(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
