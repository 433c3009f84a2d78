/* real: the scalar type of the arithmetic, chosen when a source file is compiled.
 *
 * Every file of op/, model/, eval/ and the augmentation of image/ that computes (TWICE in the Makefile) is one ordinary source, compiled
 * twice: with -DEDIY_REAL_BITS=32 (float) and with -DEDIY_REAL_BITS=64 (double). The same function then exists under two names,
 * conv_forward_f32 and conv_forward_f64. Its header says so with one line,
 *
 *     #define conv_forward REAL_NAME(conv_forward)
 *
 * so that the code reads, and can be searched for, as conv_forward. Types whose layout depends on real get the same line.
 */
#ifndef EDIY_BASE_REAL_H
#define EDIY_BASE_REAL_H

#if EDIY_REAL_BITS == 32
typedef float real;
#define REAL_NAME(name) name##_f32
#define REAL_SUFFIX "f32"
#define REAL_DTYPE DTYPE_F32
#define REAL_MAX_EXACT_INT 16777216 /* 2^24: integers up to here are exact */
#define REAL_ROUNDOFF 0x1p-24
#elif EDIY_REAL_BITS == 64
typedef double real;
#define REAL_NAME(name) name##_f64
#define REAL_SUFFIX "f64"
#define REAL_DTYPE DTYPE_F64
#define REAL_MAX_EXACT_INT 9007199254740992
#define REAL_ROUNDOFF 0x1p-53
#else
#error "compile with -DEDIY_REAL_BITS=32 or -DEDIY_REAL_BITS=64 (the Makefile does)"
#endif

#endif
