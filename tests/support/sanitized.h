/* SANITIZED: 1 where a sanitizer's run-time is in the program, so that a library cannot be loaded in front of it, nor it by a program
 * without. */
#ifndef EDIY_TESTS_SANITIZED_H
#define EDIY_TESTS_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#endif
