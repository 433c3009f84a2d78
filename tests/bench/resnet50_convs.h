/* The convolutions of ResNet-50 (v1.5: stride on the 3x3) at 224 x 224, each distinct shape once with how often it occurs. Maps are
 * square, padding is kernel / 2. */
#ifndef EDIY_TESTS_BENCH_RESNET50_CONVS_H
#define EDIY_TESTS_BENCH_RESNET50_CONVS_H

static const struct resnet50_conv {
  int c, k, kernel, stride, size, count;
} resnet50_convs[] = {
    {3, 64, 7, 2, 224, 1},   {64, 64, 1, 1, 56, 1},    {256, 64, 1, 1, 56, 2},   {64, 64, 3, 1, 56, 3},    {64, 256, 1, 1, 56, 4},
    {256, 128, 1, 1, 56, 1}, {128, 128, 3, 2, 56, 1},  {256, 512, 1, 2, 56, 1},  {512, 128, 1, 1, 28, 3},  {128, 128, 3, 1, 28, 3},
    {128, 512, 1, 1, 28, 4}, {512, 256, 1, 1, 28, 1},  {256, 256, 3, 2, 28, 1},  {512, 1024, 1, 2, 28, 1}, {1024, 256, 1, 1, 14, 5},
    {256, 256, 3, 1, 14, 5}, {256, 1024, 1, 1, 14, 6}, {1024, 512, 1, 1, 14, 1}, {512, 512, 3, 2, 14, 1},  {1024, 2048, 1, 2, 14, 1},
    {2048, 512, 1, 1, 7, 2}, {512, 512, 3, 1, 7, 2},   {512, 2048, 1, 1, 7, 3},
};
enum { RESNET50_CONVS = sizeof resnet50_convs / sizeof resnet50_convs[0] };

#endif
