/* What this machine's arithmetic units can do, measured: the yardstick of the benchmark. */
#ifndef EDIY_PROGRAM_PEAK_H
#define EDIY_PROGRAM_PEAK_H

/* Float multiply-adds of all OpenMP threads together, in FLOP/s (two per multiply-add): independent fused accumulators in registers, the
 * best of several runs of a tenth of a second. */
double peak_flops(void);

/* Bytes per second that all threads together read from memory far larger than the caches. */
double peak_bandwidth(void);

#endif
