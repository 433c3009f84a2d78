/* The text of a kernel to instructions. See ptx.h. */
#include <stdlib.h>
#include <string.h>

#include "cuda/ptx/reader.h"

/* ---- registers ----------------------------------------------------------------------------------------------------------------------- */

struct place {
  int at;
  char kind; /* as in form.places */
};

struct reading {
  struct kernel *k;
  struct reader r;
  std::map<std::string, char> kinds; /* of registers, by their names without the number */
  std::map<std::string, struct place> places;
  std::map<std::string, int> labels;
  std::vector<std::pair<int, std::string>> jumps; /* instructions and where they go */
  std::map<std::string, struct shared_array> shared;
  std::map<std::string, int> call; /* operands of the call that is put together */
};

static int bytes_of_place(char kind) { return kind == 'p' ? 4 : kind == 'w' ? 4 * LANES : 8 * LANES; }

/* Room for a register; aligned for vectors. */
static int reserve(struct reading *g, char kind) {
  std::vector<unsigned char> *all = &g->k->registers;
  size_t at = (all->size() + 63) / 64 * 64;
  all->resize(at + (size_t)bytes_of_place(kind), 0xff);
  return (int)at;
}

static int constant(struct reading *g, uint64_t value, char kind) {
  std::string name = std::string(1, kind) + " " + std::to_string(value);
  if (g->places.count(name)) return g->places[name].at;
  int at = reserve(g, kind);
  unsigned char *to = g->k->registers.data() + at;
  uint32_t word = kind == 'p' ? (value ? ALL_LANES : 0) : (uint32_t)value;
  for (int lane = 0; lane < (kind == 'p' ? 1 : LANES); lane++)
    if (kind == 'l')
      memcpy(to + 8 * lane, &value, 8);
    else
      memcpy(to + 4 * lane, &word, 4);
  g->places[name] = {at, kind};
  return at;
}

static uint64_t number(const std::string &s) {
  if (s.compare(0, 2, "0f") == 0 || s.compare(0, 2, "0d") == 0) return strtoull(s.c_str() + 2, nullptr, 16);
  return s[0] == '-' ? (uint64_t)strtoll(s.c_str(), nullptr, 0) : strtoull(s.c_str(), nullptr, 0);
}

/* The address of an array in shared memory; the kernel's from now on. */
static uint32_t shared_address(struct reading *g, const struct shared_array &array) {
  std::vector<struct shared_array> *all = &g->k->shared;
  for (const struct shared_array &a : *all)
    if (a.name == array.name) return a.start;
  return all->push_back(array), all->back().start;
}

/* The register, constant or address that a word names; kind: what it has to be, 0: whatever it is. */
static struct place place_of(struct reading *g, const std::string &s, char kind) {
  static const char *const special[] = {"%tid.", "%ntid.", "%ctaid.", "%nctaid.", "%laneid"};
  for (const char *prefix : special)
    if (s.compare(0, strlen(prefix), prefix) == 0) {
      if (!g->k->special.count(s)) g->k->special[s] = reserve(g, 'w');
      return {g->k->special[s], 'w'};
    }
  if (g->places.count(s)) return g->places[s];
  size_t digit = s.find_first_of("0123456789");
  std::string stem = s.substr(0, digit);
  if (s[0] == '%' && g->kinds.count(stem)) return g->places[s] = {reserve(g, g->kinds[stem]), g->kinds[stem]};
  if (digit == 0 || (s[0] == '-' && digit == 1)) return {constant(g, number(s), kind ? kind : 'l'), kind ? kind : 'l'};
  if (g->shared.count(s)) return {constant(g, shared_address(g, g->shared[s]), kind ? kind : 'w'), kind ? kind : 'w'};
  if (g->k->argument.count(s)) return {constant(g, (uint64_t)(uintptr_t)(g->k->arguments.data() + g->k->argument[s]), 'l'), 'l'};
  std::map<std::string, std::vector<unsigned char>>::const_iterator variable = g->k->module->variables.find(s);
  if (variable != g->k->module->variables.end()) return {constant(g, (uint64_t)(uintptr_t)variable->second.data(), 'l'), 'l'};
  complain(&g->r, "nothing has this name", s);
  return {0, kind};
}

static void add_operand(struct reading *g, struct instruction *i, const std::string &s, char kind) {
  struct place p = place_of(g, s, kind);
  if (p.kind != kind) complain(&g->r, "an operand of another width than is known here", s);
  if (i->operands == MOST_OPERANDS)
    complain(&g->r, "too many operands", s);
  else
    i->operand[i->operands++] = p.at;
}

/* {%r1, %r2} or %r1: all of them. */
static std::vector<std::string> elements_of(const std::string &s) {
  return s[0] == '{' ? parts_of(s.substr(1, s.size() - 2)) : std::vector<std::string>(1, s);
}

/* ---- instructions -------------------------------------------------------------------------------------------------------------------- */

/* [%rd1], [%rd1+16], [name+8] or [name]: the place of its base, the rest as the instruction's offset. */
static void add_address(struct reading *g, struct instruction *i, const std::string &s) {
  std::string inner = trimmed(s.substr(1, s.size() - 2));
  size_t plus = inner.find('+');
  i->offset = plus == std::string::npos ? 0 : (int64_t)number(trimmed(inner.substr(plus + 1)));
  struct place base = place_of(g, trimmed(inner.substr(0, plus)), 0);
  i->far = base.kind == 'l';
  i->operand[i->operands++] = base.at;
}

/* ld.SPACE.vN.TYPE and st. */
static void read_memory(struct reading *g, struct instruction *i, const std::string &name, const std::vector<std::string> &parts) {
  bool load = name.compare(0, 3, "ld.") == 0;
  static const struct {
    const char *name;
    enum state_space space;
  } spaces[] = {{"global.", GLOBAL}, {"shared.", IN_SHARED}, {"param.", ARGUMENTS}};
  std::string rest = name.substr(3);
  for (const auto &s : spaces)
    if (rest.compare(0, strlen(s.name), s.name) == 0) i->space = s.space, rest = rest.substr(strlen(s.name));
  int vector = rest[0] == 'v' ? rest[1] - '0' : 1;
  if (rest[0] == 'v') rest = rest.substr(3);
  i->bytes = bytes_of_type(rest), i->is_signed = rest[0] == 's';
  if (i->bytes == 0 || parts.size() != 2 || rest.find('.') != std::string::npos) return complain(&g->r, "not known here", name);
  std::vector<std::string> values = elements_of(parts[load ? 0 : 1]);
  i->elements = (int)values.size();
  if (i->elements != vector) return complain(&g->r, "not so many elements", name);
  for (const std::string &value : values) {
    struct place p = place_of(g, value, i->bytes == 8 ? 'l' : 'w');
    i->operand[i->operands++] = p.at, i->wide = p.kind == 'l';
  }
  add_address(g, i, parts[load ? 1 : 0]);
  i->run = load ? ptx_load : ptx_store;
}

/* mov.b32 and mov.b64 between a register and its parts. */
static void read_pack(struct reading *g, struct instruction *i, const std::string &name, const std::vector<std::string> &parts) {
  bool pack = parts[1][0] == '{', wide = name == "mov.b64";
  i->run = pack ? ptx_pack : ptx_unpack, i->wide = wide;
  add_operand(g, i, parts[pack ? 0 : 1], wide ? 'l' : 'w');
  for (const std::string &part : elements_of(parts[pack ? 1 : 0])) add_operand(g, i, part, 'w');
  if (i->operands != 3) complain(&g->r, "not two parts", name);
}

static void read_cp_async(struct reading *g, struct instruction *i, const std::string &name, const std::vector<std::string> &parts) {
  if (name == "cp.async.commit_group")
    i->run = ptx_commit_group;
  else if (name == "cp.async.wait_group" && parts.size() == 1)
    i->run = ptx_wait_group, i->offset = (int64_t)number(parts[0]);
  else if ((name == "cp.async.ca.shared.global" || name == "cp.async.cg.shared.global") && parts.size() == 4 && number(parts[2]) == 16) {
    i->run = ptx_copy_async;
    add_address(g, i, parts[0]);
    if (i->far || i->offset != 0) complain(&g->r, "not known here", parts[0]);
    add_address(g, i, parts[1]);
    add_operand(g, i, parts[3], 'w');
  } else
    complain(&g->r, "not known here", name);
}

/* All that has groups of registers: mma, ldmatrix. */
static void read_matrices(struct reading *g, struct instruction *i, const std::string &name, const std::vector<std::string> &parts) {
  static const struct {
    const char *name;
    operation *run;
    int operands;
  } known[] = {{"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", ptx_mma_bf16, 14},
               {"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", ptx_mma_tf32, 14},
               {"ldmatrix.sync.aligned.m8n8.x4.shared.b16", ptx_ldmatrix, 5},
               {"ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", ptx_ldmatrix_trans, 5}};
  int operands = 0;
  for (const auto &k : known)
    if (name == k.name) i->run = k.run, operands = k.operands;
  i->kind = TOGETHER;
  for (const std::string &part : parts)
    if (part[0] == '[')
      add_address(g, i, part);
    else
      for (const std::string &element : elements_of(part)) add_operand(g, i, element, 'w');
  if (operands == 0 || i->operands != operands) complain(&g->r, "not known here", name);
}

/* wgmma: the products are of 64 rows, all operands but the accumulators and the descriptors numbers. */
static void read_product(struct reading *g, struct instruction *i, int columns, const std::vector<std::string> &parts) {
  struct wide_product p = {};
  for (const std::string &sum : elements_of(parts[0])) {
    struct place at = place_of(g, sum, 'w');
    if (at.kind != 'w') complain(&g->r, "an operand of another width than is known here", sum);
    p.sums.push_back(at.at);
  }
  add_operand(g, i, parts[1], 'l'), add_operand(g, i, parts[2], 'l');
  for (size_t one = 3; one < 6; one++)
    if (parts[one] != "1") complain(&g->r, "not known here: another number than 1", parts[one]);
  for (size_t way = 6; way < 8; way++)
    if (parts[way] != "0" && parts[way] != "1") complain(&g->r, "neither 0 nor 1", parts[way]);
  p.across_a = parts[6] == "1", p.across_b = parts[7] == "1";
  if ((int)p.sums.size() != columns / 2) complain(&g->r, "not so many accumulators", std::to_string(p.sums.size()));
  i->run = ptx_multiply_async, i->product = (int)g->k->products.size();
  g->k->products.push_back(p);
}

static void read_warpgroup(struct reading *g, struct instruction *i, const std::string &name, const std::vector<std::string> &parts) {
  i->kind = TOGETHER;
  if (name == "wgmma.fence.sync.aligned")
    i->run = ptx_fence_products;
  else if (name == "wgmma.commit_group.sync.aligned")
    i->run = ptx_commit_products;
  else if (name == "wgmma.wait_group.sync.aligned" && parts.size() == 1)
    i->run = ptx_wait_products, i->offset = (int64_t)number(parts[0]);
  else if (name == "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16" && parts.size() == 8)
    read_product(g, i, 64, parts);
  else if (name == "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16" && parts.size() == 8)
    read_product(g, i, 128, parts);
  else
    complain(&g->r, "not known here", name);
}

/* cvt may read the lower half of a wider register: it is fetched by an instruction of its own. */
static std::string narrowed(struct reading *g, const struct instruction *of, const std::string &wide) {
  std::string narrow = "the lower half of " + wide;
  if (!g->places.count(narrow)) g->places[narrow] = {reserve(g, 'w'), 'w'};
  struct instruction i = *of;
  i.run = ptx_form("cvt.u32.u64")->run;
  add_operand(g, &i, narrow, 'w'), add_operand(g, &i, wide, 'l');
  g->k->code.push_back(i);
  return narrow;
}

static void read_plain(struct reading *g, struct instruction *i, const std::string &name, std::vector<std::string> parts) {
  const struct form *form = ptx_form(name);
  if (!form) return complain(&g->r, "not known here", name);
  if (name.compare(0, 5, "shfl.") == 0) {
    size_t bar = parts[0].find('|');
    i->kind = TOGETHER;
    parts.insert(parts.begin() + 1, bar == std::string::npos ? "%nobody1" : parts[0].substr(bar + 1));
    parts[0] = parts[0].substr(0, bar);
    i->mask = 5;
  }
  if (name.compare(0, 4, "cvt.") == 0 && parts.size() == 2 && form->places[1] == 'w' && place_of(g, parts[1], 'w').kind == 'l')
    parts[1] = narrowed(g, i, parts[1]);
  i->run = form->run;
  if (parts.size() != strlen(form->places)) return complain(&g->r, "another number of operands than is known here", name);
  for (size_t p = 0; p < parts.size(); p++) add_operand(g, i, parts[p], form->places[p]);
}

/* The only function that is called: its arguments have been stored under names of theirs. */
static void read_call(struct reading *g, struct instruction *i, const std::string &all) {
  if (all.find("__assertfail") == std::string::npos) return complain(&g->r, "not known here", all);
  i->run = ptx_assertion;
  for (const char *name : {"param0", "param1", "param2", "param3"}) {
    if (!g->call.count(name)) return complain(&g->r, "a call without an argument", name);
    i->operand[i->operands++] = g->call[name];
  }
}

static void read_instruction(struct reading *g, const std::string &all) {
  struct instruction i = {};
  std::string rest = all;
  i.guard = i.mask = -1, i.line = g->r.line, i.run = nullptr;
  if (rest[0] == '@') {
    size_t space = rest.find(' ');
    i.unless = rest[1] == '!';
    i.guard = place_of(g, rest.substr(i.unless ? 2 : 1, space - (i.unless ? 2 : 1)), 'p').at;
    rest = trimmed(rest.substr(space));
  }
  size_t space = rest.find(' ');
  std::string name = rest.substr(0, space), operands = space == std::string::npos ? "" : trimmed(rest.substr(space));
  std::vector<std::string> parts = parts_of(operands);
  if (name == "bra" || name == "bra.uni") {
    i.kind = BRANCH;
    g->jumps.push_back({(int)g->k->code.size(), operands});
  } else if (name == "ret" || name == "exit")
    i.kind = RETURN;
  else if (name == "bar.sync" || name == "barrier.sync") {
    i.kind = BARRIER;
    if (operands != "0") complain(&g->r, "not known here", all);
  } else if (name.compare(0, 9, "st.param.") == 0) {
    std::string to = trimmed(parts[0].substr(1, parts[0].find_first_of("+]") - 1));
    g->call[to] = place_of(g, parts[1], name == "st.param.b64" ? 'l' : 'w').at;
    return;
  } else if (name == "call.uni" || name == "call")
    read_call(g, &i, operands);
  else if (name.compare(0, 3, "ld.") == 0 || name.compare(0, 3, "st.") == 0)
    read_memory(g, &i, name, parts);
  else if ((name == "mov.b32" || name == "mov.b64") && parts.size() == 2 && (parts[0][0] == '{' || parts[1][0] == '{'))
    read_pack(g, &i, name, parts);
  else if (name.compare(0, 9, "cp.async.") == 0)
    read_cp_async(g, &i, name, parts);
  else if (name.compare(0, 4, "mma.") == 0 || name.compare(0, 9, "ldmatrix.") == 0)
    read_matrices(g, &i, name, parts);
  else if (name.compare(0, 6, "wgmma.") == 0)
    read_warpgroup(g, &i, name, parts);
  else if (name == "fence.proxy.async.shared::cta")
    i.run = ptx_show_writes;
  else
    read_plain(g, &i, name, parts);
  if (i.guard >= 0 && i.kind != PLAIN && i.kind != BRANCH && i.kind != RETURN) complain(&g->r, "not known here with a guard", all);
  g->k->code.push_back(i);
}

/* ---- kernels ------------------------------------------------------------------------------------------------------------------------- */

/* (.param .u64 name, ...), each at a multiple of its alignment, as the host lays them out. */
static void read_arguments(struct reading *g) {
  int at = 0;
  expect(&g->r, "(");
  for (std::string next = word(&g->r); next != ")" && next != ""; next = word(&g->r)) {
    if (next != ".param") continue;
    struct declared d = declaration(&g->r);
    at = (at + (int)d.alignment - 1) / (int)d.alignment * (int)d.alignment;
    g->k->argument[d.name] = at;
    g->k->argument_at.push_back(at), g->k->argument_bytes.push_back((int)d.bytes);
    at += (int)d.bytes;
  }
  g->k->arguments.resize((size_t)at);
}

/* .maxntid X, Y, Z and what a compilation has to do with, up to the body. */
static void read_directives(struct reading *g) {
  for (std::string next = word(&g->r); next != "{" && next != ""; next = word(&g->r))
    if (next == ".maxntid") {
      g->k->most_threads = atoi(word(&g->r).c_str());
      while (peek(g->r) == ",") word(&g->r), g->k->most_threads *= atoi(word(&g->r).c_str());
    }
}

/* Shared arrays one after the other with room between, so that a step beyond one is into none; that of the launch last. */
static void place_shared(struct reading *g) {
  enum { BETWEEN = 128 };
  uint32_t at = BETWEEN;
  for (int of_launch = 0; of_launch < 2; of_launch++)
    for (auto &a : g->shared)
      if ((a.second.bytes == 0) == (of_launch == 1)) {
        at = (at + a.second.alignment - 1) / a.second.alignment * a.second.alignment;
        a.second.start = at;
        at += (a.second.bytes + BETWEEN - 1) / BETWEEN * BETWEEN + BETWEEN;
      }
}

static void read_register(struct reading *g) {
  std::string type = word(&g->r), name = word(&g->r);
  if (!type.empty()) g->kinds[name] = type == ".pred" ? 'p' : bytes_of_type(type.substr(1)) == 8 ? 'l' : 'w';
}

static void read_body(struct reading *g) {
  int depth = 1;
  while (depth > 0 && g->r.sound) {
    std::string next = peek(g->r);
    if (next == "") break;
    if (next == "{" || next == "}")
      word(&g->r), depth += next == "{" ? 1 : -1;
    else if (next == ".reg")
      word(&g->r), read_register(g), statement(&g->r);
    else if (next == ".shared")
      statement(&g->r); /* read before */
    else if (next == ".param" || next == ".pragma")
      statement(&g->r);
    else if (next[0] == '.')
      complain(&g->r, "not known here", next);
    else if (next[0] == '$' || next[0] == '_')
      g->labels[word(&g->r)] = (int)g->k->code.size(), expect(&g->r, ":");
    else {
      skip(&g->r);
      int line = g->r.line;
      std::string all = statement(&g->r);
      int after = g->r.line;
      g->r.line = line;
      read_instruction(g, all);
      g->r.line = after;
    }
  }
}

bool ptx_read_kernel(struct kernel *k) {
  if (!k->code.empty()) return true;
  struct reading g = {};
  g.k = k, g.r = {k->text, k->line, k->plain.c_str(), true};
  g.shared = k->module->shared;
  g.kinds["%nobody"] = 'p';
  word(&g.r);
  read_arguments(&g);
  read_directives(&g);
  for (struct reader ahead = g.r; *ahead.at;) { /* the arrays of the body, whose places the code is to know */
    std::string next = word(&ahead);
    if (next == ".shared") read_shared(&g.shared, &ahead);
    if (next == ".entry") break;
  }
  place_shared(&g);
  read_body(&g);
  for (const auto &jump : g.jumps) {
    if (!g.labels.count(jump.second)) complain(&g.r, "no such label", jump.second);
    k->code[(size_t)jump.first].target = g.labels[jump.second];
  }
  if (!g.r.sound) k->code.clear(), k->products.clear();
  return g.r.sound;
}
