/* What nvcc makes of our kernels, run on the CPU: their PTX, instruction by instruction. The shim (shim.h) compiles the same sources with
 * the C++ compiler and never sees nvcc's code, nor the inline PTX of cuda/tensor.h; here both run, behind nvcc's own host code, and the
 * programs of the tests are those of check-cuda. The rest of the machine is the shim's: memory with guard zones, streams, graphs,
 * failures.
 *
 * What is kept of PTX is what our kernels have in them; an instruction beyond it fails the launch and is named. Every such instruction but
 * mma has one right result to the bit (PTX ISA), so that results are those of a GPU wherever the order of operations is. mma is computed
 * as tensor cores were measured to add (tensor_core.h; EDIY_PTX_CORE=a100, h100: those of Hopper, or b200).
 *
 * A warp is 32 lanes that go through the code together; where they part, those that are behind in the text go first until all meet again.
 * Blocks and warps take turns in shuffled order, a warp until it waits at a barrier or has used up a random number of instructions. A
 * launch fails, with the kernel and the line of the PTX on standard error, when
 *     - an address is not within one live allocation, one shared array, the arguments; or is not aligned to what is read or written;
 *     - two threads touch the same bytes and one of them writes: threads of one block without a barrier between, or of two blocks
 *       (EDIY_PTX_RACES=0 looks away, and is faster);
 *     - threads of a block do not reach the same barrier, or lanes of a mask not the same shuffle, mma or ldmatrix;
 *     - a thread ends with copies in flight (cp.async), which are carried out when they are waited for, and not before;
 *     - a warpgroup's multiplication (wgmma) is not begun, fed and waited for as warpgroup.cpp says;
 *     - a block is larger than the kernel was compiled for (.maxntid), or shared memory larger than it was allowed;
 *     - what a kernel asserts does not hold.
 * Registers start as bytes of ones, NaN, as shared memory does.
 */
#ifndef EDIY_TESTS_CUDA_PTX_H
#define EDIY_TESTS_CUDA_PTX_H

#include <map>
#include <string>
#include <vector>

#include "cuda/ptx/counts.h"
#include "cuda/shim_memory.h"

enum { LANES = SHIM_LANES, MOST_WARPS = 1024 / LANES, MOST_OPERANDS = 16 };
static const uint32_t ALL_LANES = 0xffffffff;

struct warp;
struct instruction;

/* What an instruction does in the lanes of a set, which is never empty. */
typedef void operation(struct warp *w, const struct instruction *i, uint32_t lanes);

/* What else an instruction is: TOGETHER needs the lanes of its mask at the same instruction. */
enum instruction_kind { PLAIN, BRANCH, RETURN, BARRIER, TOGETHER };

enum state_space { GENERIC, GLOBAL, IN_SHARED, ARGUMENTS };

/* What an address is in: an allocation, a shared array, the arguments. */
struct range {
  const unsigned char *from, *to;
  struct touched *touched; /* null: is not watched */
};

/* Operands are offsets into a warp's registers, where each has a place for every lane: 32 words of 4 bytes (16 bits use the lower half),
 * 32 of 8, or, for a predicate, one word with a bit a lane. A constant is a register, too. */
struct instruction {
  enum instruction_kind kind;
  operation *run;
  int guard; /* the predicate that lanes have to have, -1: none */
  bool unless;
  int operands, operand[MOST_OPERANDS];
  int mask;    /* of TOGETHER: the operand with the mask, -1: all lanes */
  int target;  /* of BRANCH */
  int product; /* of wgmma.mma_async: which of its kernel's */
  int line;
  /* of loads and stores: elements of bytes each, into registers of 8 bytes if wide; the address is operand[elements] + offset, of 8 bytes
   * if far */
  enum state_space space;
  int elements, bytes;
  bool wide, is_signed, far;
  int64_t offset;
  mutable struct range seen[2]; /* what its last addresses in this launch were in; the second for the source of cp.async */
};

/* What wgmma.mma_async says beside its two descriptors, which are its operands. */
struct wide_product {
  bool across_a, across_b; /* whether indices are neighbours in shared memory, not depths */
  std::vector<int> sums;   /* registers, as in instruction.operand */
};

struct shared_array {
  std::string name;
  uint32_t start, bytes, alignment;
};

/* A kernel, or not yet read (no code). */
struct kernel {
  std::string name, whole, plain; /* mangled; as LAUNCH has it; that without the template's arguments */
  const char *text;               /* from its header on */
  int line;                       /* of the module, of that */
  const struct module *module;
  std::map<std::string, int> argument; /* by name: where it is */
  std::vector<int> argument_bytes, argument_at;
  std::vector<unsigned char> arguments; /* of the running launch */
  std::vector<struct instruction> code;
  std::vector<struct wide_product> products;
  std::vector<unsigned char> registers;    /* of a warp, at the start */
  std::vector<struct shared_array> shared; /* one of no bytes: as large as the launch says, and the last */
  int most_threads;                        /* .maxntid, 0: any */
  std::map<std::string, int> special;      /* %tid.x and so on, those that it reads: their registers */
  struct counts *counts;                   /* null: nobody counts */
};

/* The text that nvcc puts into one object file. */
struct module {
  const char *text;
  std::map<std::string, struct kernel> kernels;
  std::map<std::string, std::vector<unsigned char>> variables; /* .global: strings of assertions */
  std::map<std::string, struct shared_array> shared;           /* declared outside of kernels */
};

/* Who has touched what, a pair for every byte of an allocation or of shared memory; see memory.cpp. */
struct touched {
  std::vector<uint32_t> writer, reader;
};

/* Which bytes of shared memory were written by other means than the tensor cores' (PTX ISA: the generic proxy), and not shown to these by
 * fence.proxy.async since. */
struct unshown {
  std::vector<uint16_t> writer;                     /* of every byte: its thread's number and one, 0: is shown */
  std::vector<uint32_t> pieces[MOST_WARPS * LANES]; /* that a thread wrote: 32 times where, and how many bytes */
};

struct copy {
  unsigned char *to;
  const unsigned char *from; /* null: zeros */
  int group;
};

/* A warp's part in the multiplications of its warpgroup that nobody has waited for, see warpgroup.cpp. */
enum { GROUP_WARPS = 4, WIDE_ROWS = 16 /* of a warp */, WIDE_DEPTH = 16, MOST_WIDE_COLUMNS = 128, MOST_SUMS = 64 };
struct wide_begun {
  const struct instruction *i;
  int group;
  uint64_t a, b;                                                        /* descriptors */
  unsigned char read[(WIDE_ROWS + MOST_WIDE_COLUMNS) * WIDE_DEPTH * 2]; /* the operands, bf16 */
};
struct wide_sums {
  const struct instruction *i; /* the last that adds to them */
  int group;
  uint32_t value[MOST_SUMS][LANES]; /* of its registers, which get them when they are waited for */
};
struct wide_part {
  std::vector<struct wide_begun> begun;
  std::vector<struct wide_sums> sums;
  int group;
  bool fenced;
  uint64_t past;                  /* a number made of all that it has multiplied */
  const struct instruction *last; /* null: nothing */
};

struct warp {
  unsigned char *registers;
  struct block *block;
  int number;
  uint32_t there, alive, at_barrier, stuck; /* lanes: that the block has; that have not ended; that wait */
  int pc[LANES];                            /* of those that do not run */
  std::vector<struct copy> copies[LANES];
  int group[LANES]; /* of copies */
  struct wide_part wide;
};

struct block {
  const struct kernel *kernel;
  unsigned char *shared;
  uint32_t shared_bytes;
  bool failed;
  unsigned index[3];
  uint32_t launch, begun, turn; /* where the numbers of threads begin that this launch has had, this block, and since its last barrier */
  struct touched *touched_shared;
  int threads;
  struct unshown *unshown; /* null: the kernel has no wgmma */
};

/* Where it is: reader.cpp and code.cpp read PTX; operations.cpp, memory.cpp, matrices.cpp and warpgroup.cpp are what instructions do;
 * run.cpp runs a launch; host.cpp is called by the host.
 *
 * Reads a module: finds its kernels and variables. */
void ptx_read_module(struct module *m, const char *text);

/* Reads a kernel's code, the first time. False, after a line on standard error, when it has in it what is not known here. */
bool ptx_read_kernel(struct kernel *k);

/* The first of as many numbers as a block has threads, and one more, that nobody has had yet; after the last of all there are, everything
 * touched is forgotten. */
uint32_t ptx_next_turn(struct touched *touched_shared);

/* Fails the launch: kernel and line of the PTX before what is said. */
void ptx_fail(const struct warp *w, const struct instruction *i, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Whose tensor cores these are: EDIY_PTX_CORE. */
const struct tensor_core *ptx_core(void);

/* Fails when warps of one warpgroup have not multiplied the same since the block began. */
void ptx_check_warpgroups(const struct warp *warps, int count);

/* An instruction by its name with all that belongs to it. Null: unknown. places: of each operand 'p' (predicate), 'w' (word) or 'l'
 * (long). */
struct form {
  const char *name;
  operation *run;
  const char *places;
};
const struct form *ptx_form(const std::string &name);

/* Those whose operands are not registers alone; named as in PTX. */
operation ptx_load, ptx_store, ptx_copy_async, ptx_commit_group, ptx_wait_group, ptx_assertion, ptx_mma_bf16, ptx_mma_tf32, ptx_ldmatrix,
    ptx_ldmatrix_trans, ptx_pack, ptx_unpack, ptx_show_writes, ptx_fence_products, ptx_multiply_async, ptx_commit_products,
    ptx_wait_products;

#endif
