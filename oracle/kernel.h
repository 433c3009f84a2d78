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

/* Buffers by name, each between guards; what the functions below return are addresses for the kernel. They stay where they are from call
 * to call of one shape, so that a kernel that keeps something by address is found out. */
struct kernel_buffer {
  struct tensor t;            /* name, F32 or I32, shape; data between the guards */
  const struct tensor *given; /* what it was filled from; null: an output */
  bool updated;               /* given, and then changed by the kernel */
  bool result;                /* to be judged */
  int function;               /* a result: the function of the operation that makes it */
  unsigned char *base;        /* on the host, with both guards */
  void *there;                /* the same where the kernel runs; null: base is it */
};

struct kernel_memory {
  const ediy_oracle_memory *where; /* null: the host's */
  bool sent;                       /* in this call: what is on the host is where the kernel runs, too */
  const struct made_case *inputs;  /* of this call */
  int calls;                       /* this one included */
  struct kernel_buffer buffer[KERNEL_BUFFERS];
  int count;
  unsigned declined; /* a bit for each function that did not want the shape in the first call, and is not called again */
  int status, by;    /* of this call: 0, or what a function returned that ends it, and which */
  struct error *err;
  bool failed; /* no memory: *err says so */
};

/* Before each call: the inputs of it, and new guards. */
void kernel_memory_begin(struct kernel_memory *m, const struct made_case *inputs);

/* Whether this buffer is to be judged: a result of a function that took the shape. */
bool kernel_is_judged(const struct kernel_memory *m, const struct kernel_buffer *b);
/* Whether the function takes the shape, as far as is known. */
bool kernel_takes(const struct kernel_memory *m, int function);
/* What function has returned. False: the call ends here. */
bool kernel_returned(struct kernel_memory *m, int function, int status);

/* Each returns null on failure. function: which of the operation makes the result. A name that is there already keeps its memory: given
 * anew, poisoned anew. */
const float *kernel_given(struct kernel_memory *m, const char *name);
const int32_t *kernel_given_index(struct kernel_memory *m, const char *name);
float *kernel_result(struct kernel_memory *m, int function, const char *name, int ndim, const ptrdiff_t *shape);
int32_t *kernel_result_index(struct kernel_memory *m, int function, const char *name, int ndim, const ptrdiff_t *shape);
/* A result that starts as the input `from`. */
float *kernel_updated(struct kernel_memory *m, int function, const char *from, const char *name);
float *kernel_kept(struct kernel_memory *m, const char *name); /* given where a function could also update, but must not */
float *kernel_scratch(struct kernel_memory *m, const char *name, ptrdiff_t size); /* poisoned; no result */
float *kernel_on_host(const struct kernel_memory *m, const char *name); /* of a buffer that is there; to be written before functions run */

/* Everything to where the kernel runs, once a call. False: *m->err says what failed. */
bool kernel_memory_send(struct kernel_memory *m);

/* Fetches what the call left where it ran. Null where guards and inputs are as they were; else the name of the array of which that is not
 * so, or that could not be fetched, and what says how. */
const char *kernel_memory_harmed(const struct kernel_memory *m, char *what, size_t size);
void kernel_memory_free(struct kernel_memory *m);

/* ---- operations (kernel_layers.c, kernel_method.c) ----------------------------------------------------------------------------------- */

/* Calls a function, number f of the operation, unless it declined the shape. */
#define KERNEL_CALL(m, f, function, ...)                                                                                                   \
  do {                                                                                                                                     \
    if (kernel_takes(m, f) && !(kernel_memory_send(m) && kernel_returned(m, f, (function)(__VA_ARGS__)))) return;                          \
  } while (0)

enum { KERNEL_FUNCTIONS = 3 }; /* of an operation, at most */

/* What is judged in one go: the functions that share a case. */
struct kernel_operation {
  const char *name;
  enum make_op op;
  const char *keys;                             /* those of `oracle case make` that its functions are told of, with blanks around each */
  const char *functions[KERNEL_FUNCTIONS];      /* by name, in the order of their bits */
  unsigned (*has)(const ediy_oracle_kernel *k); /* a bit for each function that there is */
  /* Sets up memory and calls the functions; m->status says how that ended. */
  void (*call)(const ediy_oracle_kernel *k, const struct make_options *o, struct kernel_memory *m);
  void (*prepare)(struct make_options *o); /* null, or what has to be so for this operation */
};

enum { KERNEL_OPERATIONS = 12 };
extern const struct kernel_operation *const kernel_operations[KERNEL_OPERATIONS]; /* all of them, in the order in which they are judged */
extern const struct kernel_operation kernel_conv, kernel_linear, kernel_norm, kernel_relu, kernel_maxpool, kernel_avgpool;
extern const struct kernel_operation kernel_match, kernel_byol, kernel_rdem, kernel_riem, kernel_lars, kernel_ema;

/* ---- the shape that somebody asks for (kernel_shape.c) ------------------------------------------------------------------------------ */

/* Whether the functions of the operation are told of this key of `oracle case make`. */
bool kernel_is_told(const struct kernel_operation *op, const char *key);
/* Whether the operation means something on inputs of this kind. */
bool kernel_fill_fits(const struct kernel_operation *op, int fill);
/* Sets the keys of "n=2 h=8 ..."; *filled: fill is among them. False, with a line in err: a key that no function is told of, or a kind of
 * inputs that one is not judged by. */
bool kernel_read_shape(const ediy_oracle_kernel *k, const char *shape, struct make_options *o, bool *filled, struct error *err);

#endif
