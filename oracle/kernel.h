/* Behind ediy_oracle.h: the memory in which somebody's kernel runs, and how each operation is called in it. */
#ifndef EDIY_ORACLE_KERNEL_H
#define EDIY_ORACLE_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/tensor.h"
#include "oracle/ediy_oracle.h"
#include "oracle/make_case.h"

/* ---- memory (kernel_memory.c) -------------------------------------------------------------------------------------------------------- */

enum { KERNEL_BUFFERS = 32 };

/* Buffers by name, each between guards. They stay where they are from call to call of one shape, so that a kernel that keeps something by
 * address is found out. */
struct kernel_buffer {
  struct tensor t;            /* name, F32 or I32, shape; data between the guards */
  const struct tensor *given; /* what it was filled from; null: an output */
  bool updated;               /* given, and then changed by the kernel */
  bool result;                /* to be judged */
  unsigned char *base;
};

struct kernel_memory {
  const struct made_case *inputs; /* of this call */
  int calls;                      /* this one included */
  struct kernel_buffer buffer[KERNEL_BUFFERS];
  int count;
  struct error *err;
  bool failed; /* no memory: *err says so */
};

/* Before each call: the inputs of it, and new guards. */
void kernel_memory_begin(struct kernel_memory *m, const struct made_case *inputs);

/* Each returns null on failure. A name that is there already keeps its memory: given anew, poisoned anew. */
const float *kernel_given(struct kernel_memory *m, const char *name);
const int32_t *kernel_given_index(struct kernel_memory *m, const char *name);
float *kernel_result(struct kernel_memory *m, const char *name, int ndim, const ptrdiff_t *shape);
int32_t *kernel_result_index(struct kernel_memory *m, const char *name, int ndim, const ptrdiff_t *shape);
float *kernel_updated(struct kernel_memory *m, const char *from, const char *name); /* a result that starts as the input `from` */
float *kernel_kept(struct kernel_memory *m, const char *name); /* given where a function could also update, but must not */
float *kernel_scratch(struct kernel_memory *m, const char *name, ptrdiff_t size); /* poisoned; no result */

/* Guards and inputs are as they were; else *what says what is not. */
bool kernel_memory_intact(const struct kernel_memory *m, char *what, size_t size);
void kernel_memory_free(struct kernel_memory *m);

/* ---- operations (kernel_layers.c, kernel_method.c) ----------------------------------------------------------------------------------- */

/* The first call that is not done decides. */
#define KERNEL_CALL(function, ...)                                                                                                         \
  do {                                                                                                                                     \
    int status = (function)(__VA_ARGS__);                                                                                                  \
    if (status != 0) return status;                                                                                                        \
  } while (0)

/* What is judged in one go: the functions that share a case. */
struct kernel_operation {
  const char *name;
  enum make_op op;
  const char *keys; /* those of `oracle case make` that its functions are told of, with blanks around each */
  bool (*has)(const ediy_oracle_kernel *k);
  /* Sets up memory and calls the functions; their status, 0 if memory failed. */
  int (*call)(const ediy_oracle_kernel *k, const struct make_options *o, struct kernel_memory *m);
  void (*prepare)(struct make_options *o); /* null, or what has to be so for this operation */
};

extern const struct kernel_operation kernel_conv, kernel_linear, kernel_norm, kernel_relu, kernel_maxpool, kernel_avgpool;
extern const struct kernel_operation kernel_match, kernel_byol, kernel_rdem, kernel_riem, kernel_lars, kernel_ema;

#endif
