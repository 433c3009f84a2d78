/* Whether the reference's products are fused multiply-adds (op/panel.c): not as compiled for processors that have none, where its bits are
 * others (docs/numerics.md). */
#ifndef EDIY_TESTS_FUSED_H
#define EDIY_TESTS_FUSED_H

#if defined(__FMA__) || defined(__AVX512F__) || defined(__aarch64__)
#define TEST_FUSED 1
#else
#define TEST_FUSED 0
#endif

#endif
