/* A program of somebody else that loads the library while it runs, computes with several threads, and lets it go: a plugin.
 *
 *     unload LIBRARY      status 0 and no output, or what was wrong
 */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <ediy.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef bool conv_forward(const ediy_conv *shape, const float *x, const float *w, float *y, ediy_error *err);

int main(int argc, char **argv) {
  enum { SIDE = 32, CHANNELS = 16 };
  static float x[4 * SIDE * SIDE * CHANNELS], w[CHANNELS * 9 * CHANNELS], y[4 * SIDE * SIDE * CHANNELS];
  const ediy_conv conv = {4, SIDE, SIDE, CHANNELS, CHANNELS, 3, 3, 1, 1};
  const struct timespec moment = {0, 50000000};
  for (int turn = 0; argc == 2 && turn < 3; turn++) {
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL), *symbol = library ? dlsym(library, "ediy_conv_forward_f32") : NULL;
    conv_forward *forward;
    ediy_error err;
    memcpy(&forward, &symbol, sizeof forward);
    if (!symbol) return fprintf(stderr, "%s\n", dlerror()), 1;
    if (!forward(&conv, x, w, y, &err)) return fprintf(stderr, "%s\n", err.text), 1;
    if (dlclose(library) != 0) return fprintf(stderr, "%s\n", dlerror()), 1;
    nanosleep(&moment, NULL); /* threads that wait would now wake up in code that is gone */
  }
  return argc != 2;
}
