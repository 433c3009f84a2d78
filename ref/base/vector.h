/* Bytes of a vector register of the processor that is compiled for. Larger ones the compiler would take apart, through memory. */
#ifndef EDIY_BASE_VECTOR_H
#define EDIY_BASE_VECTOR_H

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64 };
#elif defined(__AVX__)
enum { VECTOR_BYTES = 32 };
#else
enum { VECTOR_BYTES = 16 };
#endif

#endif
