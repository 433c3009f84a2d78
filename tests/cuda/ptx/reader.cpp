/* See reader.h; and modules, which are read as far as the names of their kernels (ptx.h). */
#include "cuda/ptx/reader.h"

#include <cxxabi.h>
#include <stdlib.h>
#include <string.h>

static bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("_$%.", c); }

void complain(struct reader *r, const char *what, const std::string &which) {
  if (r->sound) shim_note("kernel %s: PTX line %d: %s: %s", r->kernel, r->line, what, which.c_str());
  r->sound = false;
}

void skip(struct reader *r) {
  for (;; r->at++) {
    if (*r->at == '/' && r->at[1] == '/') r->at += strcspn(r->at, "\n");
    if (*r->at == '\n') r->line++;
    if (!*r->at || !strchr(" \t\r\n", *r->at)) return;
  }
}

std::string word(struct reader *r) {
  skip(r);
  const char *start = r->at;
  if (!*start) return "";
  do r->at++;
  while (is_name(*start) && *r->at && is_name(*r->at));
  return std::string(start, (size_t)(r->at - start));
}

std::string peek(struct reader r) { return word(&r); }

void expect(struct reader *r, const char *what) {
  std::string got = word(r);
  if (got != what) complain(r, (std::string("expected ") + what).c_str(), got);
}

std::string statement(struct reader *r) {
  std::string all;
  skip(r);
  for (bool quoted = false; *r->at && (*r->at != ';' || quoted); r->at++) {
    if (*r->at == '"') quoted = !quoted;
    if (*r->at == '\n') r->line++;
    all += *r->at == '\n' || *r->at == '\t' ? ' ' : *r->at;
  }
  if (*r->at) r->at++;
  return all;
}

std::string trimmed(const std::string &s) {
  size_t from = s.find_first_not_of(' '), to = s.find_last_not_of(' ');
  return from == std::string::npos ? "" : s.substr(from, to - from + 1);
}

std::vector<std::string> parts_of(const std::string &s) {
  std::vector<std::string> parts;
  int depth = 0;
  size_t start = 0;
  for (size_t i = 0; i <= s.size(); i++) {
    if (i < s.size() && strchr("{[(", s[i])) depth++;
    if (i < s.size() && strchr("}])", s[i])) depth--;
    if (i == s.size() || (s[i] == ',' && depth == 0)) {
      std::string part = trimmed(s.substr(start, i - start));
      if (!part.empty() || i < s.size()) parts.push_back(part);
      start = i + 1;
    }
  }
  return parts;
}

int bytes_of_type(const std::string &type) {
  size_t digit = type.find_first_of("0123456789");
  return type == "pred" ? 0 : digit == std::string::npos ? 0 : atoi(type.c_str() + digit) / 8;
}

/* ---- declarations -------------------------------------------------------------------------------------------------------------------- */

struct declared declaration(struct reader *r) {
  struct declared d = {"", 0, 1};
  std::string next = word(r);
  if (next == ".align") d.alignment = (uint32_t)atoi(word(r).c_str()), next = word(r);
  uint32_t element = (uint32_t)bytes_of_type(next.substr(1));
  if (d.alignment < element) d.alignment = element;
  d.name = word(r), d.bytes = element;
  if (peek(*r) == "[") {
    word(r);
    std::string count = word(r);
    d.bytes = count == "]" ? 0 : element * (uint32_t)atoi(count.c_str());
    if (count != "]") expect(r, "]");
  }
  return d;
}

void read_shared(std::map<std::string, struct shared_array> *shared, struct reader *r) {
  struct declared d = declaration(r);
  (*shared)[d.name] = {d.name, 0, d.bytes, d.alignment};
}

/* ---- modules ------------------------------------------------------------------------------------------------------------------------- */

static void read_variable(struct module *m, struct reader *r) {
  struct declared d = declaration(r);
  std::vector<unsigned char> bytes;
  if (peek(*r) == "=") {
    expect(r, "="), expect(r, "{");
    for (std::string next = word(r); next != "}" && next != ""; next = word(r))
      if (next != ",") bytes.push_back((unsigned char)atoi(next.c_str()));
  }
  bytes.resize(d.bytes); /* what is left out is zero: strings end so */
  m->variables[d.name] = bytes;
}

/* As LAUNCH names it: of "void join<float>(long)" join<float>. */
static std::string whole_name(const char *mangled) {
  int status, depth = 0;
  char *text = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string all = status == 0 ? text : mangled;
  free(text);
  size_t start = 0, end = 0;
  for (; end < all.size() && (depth > 0 || all[end] != '('); end++) {
    depth += all[end] == '<', depth -= all[end] == '>';
    if (all[end] == ' ' && depth == 0) start = end + 1;
  }
  return all.substr(start, end - start);
}

static void skip_body(struct reader *r) {
  int depth = 0;
  do {
    std::string next = word(r);
    if (next == "") return;
    depth += next == "{", depth -= next == "}";
  } while (depth > 0);
}

void ptx_read_module(struct module *m, const char *text) {
  struct reader r = {text, 1, "(a module)", true};
  m->text = text;
  for (std::string next = word(&r); next != "" && r.sound; next = word(&r)) {
    if (next == ".entry") {
      struct kernel k = {};
      k.text = r.at, k.line = r.line, k.module = m;
      k.name = word(&r), k.whole = whole_name(k.name.c_str()), k.plain = k.whole.substr(0, k.whole.find('<'));
      while (peek(r) != "{" && peek(r) != "") word(&r);
      skip_body(&r);
      m->kernels[k.name] = k;
    } else if (next == ".shared")
      read_shared(&m->shared, &r);
    else if (next == ".global")
      read_variable(m, &r);
    else if (next == ".func")
      statement(&r); /* declared only: __assertfail */
  }
}
