/* cmocka with the headers it wants before it. */
#ifndef EDIY_TESTS_CMOCKA_H
#define EDIY_TESTS_CMOCKA_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The test is not run, with the reason, as for printf. */
#define skip_because(...) (print_message("skipped: " __VA_ARGS__), print_message("\n"), skip())
#endif
