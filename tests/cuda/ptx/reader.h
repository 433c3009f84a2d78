/* PTX as text: its words, statements and declarations. */
#ifndef EDIY_TESTS_CUDA_PTX_READER_H
#define EDIY_TESTS_CUDA_PTX_READER_H

#include "cuda/ptx/ptx.h"

/* What is to be read, with the number of its line. */
struct reader {
  const char *at;
  int line;
  const char *kernel; /* for what is said */
  bool sound;
};

/* Says once what is wrong; the reader is not sound from then on. */
void complain(struct reader *r, const char *what, const std::string &which);
/* Over spaces and comments. */
void skip(struct reader *r);
/* The next name, or the next character alone; "" at the end. peek: without passing over it. */
std::string word(struct reader *r);
std::string peek(struct reader r);
void expect(struct reader *r, const char *what);
/* Everything up to a semicolon, which is passed over; strings may hold one. */
std::string statement(struct reader *r);

std::string trimmed(const std::string &s);
/* Parts between commas outside of brackets. */
std::vector<std::string> parts_of(const std::string &s);
/* Bytes of a type such as u32, b8, f64; 0: none. */
int bytes_of_type(const std::string &type);

/* `.align A .TYPE NAME[BYTES]`: a declaration behind its state space. */
struct declared {
  std::string name;
  uint32_t bytes, alignment;
};
struct declared declaration(struct reader *r);
void read_shared(std::map<std::string, struct shared_array> *shared, struct reader *r);

#endif
