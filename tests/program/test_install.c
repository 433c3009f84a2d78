/* What `make install` leaves is all that another program needs: it compiles, in C and in C++, links and runs against the installed header,
 * library and pkg-config file alone. Runs in the root of the source tree, with what BUILD holds; a sanitizer's run-time cannot be loaded by
 * programs that were built without it, so the programs are not run there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ediy.h"
#include "support/cmocka.h"
#include "support/folder.h"
#include "support/sanitized.h"

static char folder[FOLDER_PATH]; /* also PREFIX */
static bool installed;

/* Runs a shell command with what it prints in FOLDER/output; returns its status. */
static int shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int shell(const char *format, ...) {
  char command[4096], redirected[4096 + IN_FOLDER_PATH];
  va_list arguments;
  va_start(arguments, format);
  int n = vsnprintf(command, sizeof command, format, arguments);
  va_end(arguments);
  assert_true(n > 0 && n < (int)sizeof command);
  snprintf(redirected, sizeof redirected, "{ %s; } >'%s/output' 2>&1", command, folder);
  return system(redirected);
}

static const char *output(void) {
  static char text[1 << 16];
  char path[IN_FOLDER_PATH];
  snprintf(path, sizeof path, "%s/output", folder);
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
  return text;
}

#define assert_runs(...)                                                                                                                   \
  do {                                                                                                                                     \
    if (shell(__VA_ARGS__) != 0) fail_msg("%s", output());                                                                                 \
  } while (0)

static int install(void **state) {
  (void)state;
  const char *build = getenv("BUILD");
  /* What a make around this test was told is not for the one inside; all is built already. */
  unsetenv("MAKEFLAGS");
  unsetenv("MFLAGS");
  folder_make(folder);
  if (SANITIZED || strchr(folder, ' ') || system("pkg-config --version >/dev/null 2>&1") != 0) return 0;
  if (shell("make --no-print-directory BUILD='%s' PREFIX='%s' install", build ? build : "build", folder) != 0) {
    print_error("%s", output());
    return -1;
  }
  char path[IN_FOLDER_PATH];
  snprintf(path, sizeof path, "%s/lib/pkgconfig", folder);
  setenv("PKG_CONFIG_PATH", path, 1);
  snprintf(path, sizeof path, "%s/lib", folder);
  setenv("LD_LIBRARY_PATH", path, 1);
  installed = true;
  return 0;
}

static int clean(void **state) {
  (void)state;
  folder_remove(folder);
  return 0;
}

static void need_installation(void) {
  if (installed) return;
  skip_because("%s", SANITIZED             ? "built with a sanitizer"
                     : strchr(folder, ' ') ? "TMPDIR has a blank, and the shell divides pkg-config's flags there"
                                           : "pkg-config is missing");
}

static void versions_agree(void **state) {
  (void)state;
  need_installation();
  assert_runs("pkg-config --modversion ediy");
  assert_string_equal(output(), EDIY_VERSION "\n");
  assert_runs("'%s/bin/ediy' --version", folder);
  assert_non_null(strstr(output(), EDIY_VERSION));
}

static void only_its_own_names_are_exported(void **state) {
  (void)state;
  need_installation();
  assert_runs("nm -D --defined-only '%s/lib/libediy.so' | awk '{print $NF}' | grep -v '^ediy_' || true", folder);
  assert_string_equal(output(), "");
  /* Nor fewer: every name that the header declares is there. */
  assert_runs("nm -D --defined-only '%s/lib/libediy.so' | awk '{print $NF}' | sort >'%s/have'", folder, folder);
  assert_runs("grep '^EDIY_API' '%s/include/ediy.h' | sed 's/.*[ *]\\(ediy_[a-z0-9_]*\\)(.*/\\1/' | sort >'%s/want'", folder, folder);
  assert_runs("test -s '%s/want' && diff '%s/want' '%s/have'", folder, folder, folder);
}

static void the_header_stands_alone(void **state) {
  (void)state;
  need_installation();
  assert_runs(
      "echo '#include <ediy.h>' | cc -std=c99 -Wall -Wextra -Wpedantic -Wstrict-prototypes -Werror -I'%s/include' -fsyntax-only -x c -",
      folder);
}

/* The judge's library: the two functions of its header, and nothing of the reference inside. */
static void the_judge_exports_its_own_names_alone(void **state) {
  (void)state;
  need_installation();
  assert_runs("pkg-config --modversion ediy-oracle");
  assert_string_equal(output(), EDIY_VERSION "\n");
  assert_runs("nm -D --defined-only '%s/lib/libediy_oracle.so' | awk '{print $NF}' | sort", folder);
  assert_string_equal(output(), "ediy_oracle_judge\nediy_oracle_version\n");
  assert_runs("for language in 'c -std=c99' 'c++ -std=c++11'; do echo '#include <ediy_oracle.h>' | "
              "cc -Wall -Wextra -Wpedantic -Werror -I'%s/include' -fsyntax-only -x $language -; done",
              folder);
}

/* The block of C in docs/verify-your-kernel.md, against what is installed; then one that reads a row too many, and one that forgets the
 * border. */
static void the_c_of_the_document_works(void **state) {
  (void)state;
  static const char *const faults[] = {"s/h >= g->h ||/h > g->h ||/", "s/v < 0/v < 1/", "s/sum = 0/sum = 1e-4f/"};
  need_installation();
  assert_runs("sed -n '/^```c$/,/^```$/p' docs/verify-your-kernel.md | sed '/^```/d' >'%s/kernel.c'; test -s '%s/kernel.c'", folder,
              folder);
  assert_runs(
      "cd '%s' && cc -std=c11 -pedantic -Wall -Wextra -Werror kernel.c $(pkg-config --cflags --libs ediy-oracle) -o kernel && ./kernel",
      folder);
  assert_non_null(strstr(output(), "conv: pass, 48 tensors of 24 cases as fp32"));
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
    assert_runs(
        "cd '%s' && sed '%s' kernel.c >wrong.c && ! cmp -s kernel.c wrong.c && cc wrong.c $(pkg-config --cflags --libs ediy-oracle) "
        "-o wrong && { ./wrong; test $? = 1; }",
        folder, faults[i]);
    assert_non_null(strstr(output(), "conv: out.y["));
    assert_non_null(strstr(output(), "oracle case make op=conv"));
  }
}

/* compiler: with its language. */
static void outside(const char *compiler) {
  assert_runs("%s -Wall -Wextra -Werror tests/install/outside.c $(pkg-config --cflags --libs ediy) -lm -o '%s/outside'", compiler, folder);
  assert_runs("rm -rf '%s/files' && mkdir '%s/files' && '%s/outside' '%s/files'", folder, folder, folder, folder);
  assert_string_equal(output(), ""); /* the library prints nothing */
}

static void a_c_program_runs(void **state) {
  (void)state;
  need_installation();
  outside("cc -std=c11 -pedantic");
}

static void a_cxx_program_runs(void **state) {
  (void)state;
  need_installation();
  if (system("c++ --version >/dev/null 2>&1") != 0) skip_because("no C++ compiler");
  outside("c++ -std=c++11 -pedantic -x c++");
}

static void a_program_may_let_the_library_go(void **state) {
  (void)state;
  need_installation();
  assert_runs("cc -std=c11 -pedantic -Wall -Wextra -Werror tests/install/unload.c $(pkg-config --cflags ediy) -ldl -o '%s/unload'", folder);
  for (int i = 0; i < 2; i++) { /* on an idle machine threads have not always gone to sleep */
    assert_runs("OMP_NUM_THREADS=4 OMP_WAIT_POLICY=passive '%s/unload' '%s/lib/libediy.so'", folder, folder);
    assert_string_equal(output(), "");
  }
}

static void a_staged_installation_names_its_final_place(void **state) {
  (void)state;
  need_installation();
  const char *build = getenv("BUILD");
  assert_runs("make --no-print-directory BUILD='%s' PREFIX=/opt/ediy LIBDIR=/opt/ediy/lib/some-linux DESTDIR='%s/the stage' install",
              build ? build : "build", folder);
  for (int i = 0; i < 2; i++) {
    assert_runs("cd '%s/the stage/opt/ediy/lib/some-linux' && grep -x prefix=/opt/ediy pkgconfig/%s.pc && "
                "grep -x 'libdir=${prefix}/lib/some-linux' pkgconfig/%s.pc && test -e lib%s.so",
                folder, i == 0 ? "ediy" : "ediy-oracle", i == 0 ? "ediy" : "ediy-oracle", i == 0 ? "ediy" : "ediy_oracle");
  }
  assert_runs("make --no-print-directory BUILD='%s' PREFIX=/opt/ediy LIBDIR=/opt/ediy/lib/some-linux DESTDIR='%s/the stage' uninstall",
              build ? build : "build", folder);
  assert_runs("find '%s/the stage' ! -type d", folder);
  assert_string_equal(output(), "");
}

/* A change that programs may see is one of the second number while the first is 0 (ediy.h): by both a program asks for the library. */
static void the_soname_changes_with_what_programs_see(void **state) {
  (void)state;
  char abi[32] = EDIY_VERSION;
  need_installation();
  abi[strncmp(abi, "0.", 2) == 0 ? 2 + strcspn(abi + 2, ".") : strcspn(abi, ".")] = 0;
  for (int i = 0; i < 2; i++) {
    const char *name = i == 0 ? "ediy" : "ediy_oracle";
    assert_runs("readelf -d '%s/lib/lib%s.so' | grep -F '[lib%s.so.%s]' && test -e '%s/lib/lib%s.so.%s'", folder, name, name, abi, folder,
                name, abi);
  }
}

/* What a distribution gives is added to what the code cannot be without, behind make as in the environment, and the code has the last
 * word. */
static void given_flags_are_added(void **state) {
  (void)state;
  static const char flags[] = "CFLAGS=-ffp-contract=on CPPFLAGS=-D_FORTIFY_SOURCE=2 LDFLAGS=-Wl,-z,now", build[] = "/tmp/ediy-flags";
  need_installation();
  for (int i = 0; i < 2; i++) {
    assert_runs("%s make --no-print-directory %s V=1 ARCH= BUILD=%s -n %s/libediy.so.%s >'%s/said'", i == 0 ? flags : "",
                i == 1 ? flags : "", build, build, EDIY_VERSION, folder);
    assert_runs("grep -q -e '-c ref/op/panel.c' '%s/said' && grep -q -e -shared '%s/said'", folder, folder);
    assert_runs("grep -e ' -c ' '%s/said' | grep -v -e 'FORTIFY_SOURCE=2.* -Iref.* -ffp-contract=on -std=c17.* -ffp-contract=off' || true",
                folder);
    assert_string_equal(output(), "");
    assert_runs("grep -e ' -c ' '%s/said' | grep -e -ffp-contract=fast -e -march || true", folder);
    assert_string_equal(output(), "");
    assert_runs("! grep -e ' -shared ' '%s/said' | grep -v -e '-Wl,-z,now -fopenmp'", folder);
  }
}

/* The folder in which it is compiled is not in what is compiled. */
static void every_folder_makes_the_same_bytes(void **state) {
  (void)state;
  need_installation();
  assert_runs("cd '%s' && mkdir -p one 'the other/deeper'", folder);
  for (int i = 0; i < 2; i++) {
    assert_runs("cp -r Makefile ref '%s/%s' && make --no-print-directory BUILD=build -C '%s/%s' build/f32/ref/base/philox.o", folder,
                i == 0 ? "one" : "the other/deeper", folder, i == 0 ? "one" : "the other/deeper");
  }
  assert_runs("cd '%s' && cmp one/build/f32/ref/base/philox.o 'the other/deeper/build/f32/ref/base/philox.o'", folder);
}

static void a_folder_with_blanks_is_refused(void **state) {
  (void)state;
  need_installation();
  assert_runs("! make --no-print-directory BUILD='a b' all");
  assert_non_null(strstr(output(), "BUILD=a b: make takes no name with blanks"));
}

/* Its pkg-config files would be of no use, or in one folder alone. */
static void a_prefix_that_cannot_be_named_is_refused(void **state) {
  (void)state;
  static const char *const prefix[] = {"/tmp/a b", "relative/place"};
  static const char *const says[] = {"PREFIX=/tmp/a b: pkg-config files take no name with blanks",
                                     "PREFIX=relative/place: is not a whole path"};
  need_installation();
  for (int i = 0; i < 2; i++) {
    assert_runs("! make --no-print-directory PREFIX='%s' DESTDIR='%s/stage' -n install", prefix[i], folder);
    if (!strstr(output(), says[i])) fail_msg("%s", output());
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(versions_agree),
      cmocka_unit_test(only_its_own_names_are_exported),
      cmocka_unit_test(the_header_stands_alone),
      cmocka_unit_test(the_judge_exports_its_own_names_alone),
      cmocka_unit_test(the_c_of_the_document_works),
      cmocka_unit_test(a_c_program_runs),
      cmocka_unit_test(a_cxx_program_runs),
      cmocka_unit_test(a_program_may_let_the_library_go),
      cmocka_unit_test(a_staged_installation_names_its_final_place),
      cmocka_unit_test(the_soname_changes_with_what_programs_see),
      cmocka_unit_test(given_flags_are_added),
      cmocka_unit_test(every_folder_makes_the_same_bytes),
      cmocka_unit_test(a_folder_with_blanks_is_refused),
      cmocka_unit_test(a_prefix_that_cannot_be_named_is_refused),
  };
  return cmocka_run_group_tests(tests, install, clean);
}
