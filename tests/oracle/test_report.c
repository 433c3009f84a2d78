/* `oracle report`: the page is well-formed, says what the findings say and nothing as markup, and leads to the first divergence. */
#define _GNU_SOURCE /* realpath */
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/cmocka.h"
#include "support/program.h"

enum { BAD_INPUT = 2 };

static char *page; /* the last one that was made */

static int leave(void **state) {
  free(page);
  return program_leave(state);
}

static void write_findings(const char *text) {
  FILE *f = fopen("findings.json", "w");
  assert_non_null(f);
  fputs(text, f);
  assert_int_equal(fclose(f), 0);
}

#define HEAD                                                                                                                               \
  "{\"format\": \"ediy-findings-1\", \"command\": \"oracle replay run\", \"subject\": \"run\", \"against\": null, \"precision\": "         \
  "\"fp32\", "

/* Findings with these rows; the page is read into `page`. */
static void make_page(int exit, const char *rows) {
  char text[8192];
  snprintf(text, sizeof text, HEAD "\"exit\": %d, \"rows\": [%s]}", exit, rows);
  write_findings(text);
  const struct outcome *o = program_run("oracle report findings.json out=page.html");
  if (o->status != 0 || strncmp(o->out, "page.html: ", 11) != 0) fail_msg("exit %d: %s%s", o->status, o->out, o->err);
  FILE *f = fopen("page.html", "r");
  assert_non_null(f);
  free(page);
  page = calloc(1, 1 << 20);
  assert_non_null(page);
  assert_in_range(fread(page, 1, (1 << 20) - 1, f), 1, (1 << 20) - 2);
  fclose(f);
}

static void has(const char *part) {
  if (!strstr(page, part)) fail_msg("the page has no %s", part);
}

static int count(const char *part) {
  int n = 0;
  for (const char *at = page; (at = strstr(at, part)); at += strlen(part)) n++;
  return n;
}

/* Every tag is closed in order, attributes are quoted, and & begins an entity: as XML asks for. Returns where it is not so, or null. */
static const char *not_well_formed(const char *s) {
  enum { DEEPEST = 64 };
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
  const char *open[DEEPEST];
  int depth = 0;
  if (strncmp(s, "<!DOCTYPE html>", 15) == 0) s += 15;
  for (; *s; s++) {
    if (*s == '&' && strspn(s + 1, "#abcdefghijklmnopqrstuvwxyz0123456789") != strcspn(s + 1, ";")) return s;
    if (*s == '>') return s;
    if (*s != '<') continue;
    bool closing = s[1] == '/';
    const char *name = s + 1 + closing, *end = name;
    size_t n = strspn(name, letters);
    if (n == 0) return s;
    for (bool quoted = false; *end && (quoted || *end != '>'); end++) {
      if (*end == '<') return end;
      if (*end == '"' && !quoted && end[-1] != '=') return end;
      quoted ^= *end == '"';
    }
    if (!*end) return s;
    if (closing && (depth == 0 || strncmp(open[--depth], name, n) != 0 || strspn(open[depth], letters) != n)) return s;
    if (!closing && end[-1] != '/') {
      if (depth == DEEPEST) return s;
      open[depth++] = name;
    }
    s = end;
  }
  return depth ? open[depth - 1] : NULL;
}

static void well_formed(void) {
  const char *at = not_well_formed(page);
  if (at) fail_msg("not well-formed at: %.80s", at);
}

static void the_checker_of_this_test_finds_what_is_not_well_formed(void **state) {
  (void)state;
  static const char *const wrong[] = {"<p>a<b>b</p></b>",  "<p>", "</p>", "<p>a > b</p>", "a < b", "<p>&</p>", "<p>&amp b</p>",
                                      "<p class=a\">b</p>"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    if (!not_well_formed(wrong[i])) fail_msg("accepted: %s", wrong[i]);
  }
  assert_null(not_well_formed("<!DOCTYPE html><p class=\"a\">b &amp; c<br /><b>&#8211;</b></p>"));
}

static const char rows[] =
    "{\"name\": \"0.0/forward/online/1/conv1/y\", \"op\": \"conv\", \"verdict\": \"pass\", \"rule\": \"rms\", \"where\": \"[0, 1]\", "
    "\"ratio\": 0.3},"
    "{\"name\": \"0.0/forward/online/1/bn1/y\", \"op\": \"norm\", \"verdict\": \"vacuous\", \"accepted\": \"zeros\", \"ratio\": 0.1},"
    "{\"name\": \"0.0/forward/online/1/layer1.0.conv1/y\", \"op\": \"conv\", \"verdict\": \"mismatch\", \"rule\": \"element\","
    " \"where\": \"[3, 1, 4]\", \"candidate\": \"nan\", \"expected\": 2.5, \"error\": \"inf\", \"allowed\": 1e-6, \"ratio\": \"inf\", "
    "\"l2\": 0.25,"
    " \"ulp\": [0, 3, 1e6], \"histogram\": [0, 0, 0, 0, 0, 1000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]},"
    "{\"name\": \"0.0/backward/online/1/conv1/dy\", \"op\": \"conv\", \"verdict\": \"mismatch\", \"rule\": \"bias\", \"ratio\": 7},"
    "{\"name\": \"0.0/optimiser/online/0/conv1.weight/momentum\", \"op\": \"lars\", \"verdict\": \"incomplete\", \"rule\": \"missing\"}";

static void a_failure_is_marked_and_led_to(void **state) {
  (void)state;
  make_page(1, rows);
  well_formed();
  has("<title>MISMATCH: run</title>");
  has("5 tensors: 1 pass, 2 mismatch, 1 vacuous, 1 incomplete.");
  has("First divergence: <a href=\"#r2\"><code>0.0/forward/online/1/layer1.0.conv1/y</code></a>");
  has("worst at <code>[3, 1, 4]</code>: nan, expected 2.5; off by inf, allowed 1e-06");
  has("<a class=\"f3 first\" href=\"#r2\""); /* without a ratio: as wrong as can be */
  has("<a class=\"f2\" href=\"#r3\"");
  has("<a class=\"p3\" href=\"#r0\"");
  has("<a class=\"v\" href=\"#r1\" title=\"0.0/forward/online/1/bn1/y: VACUOUS: the rule would accept zeros");
  has("<a class=\"i\" href=\"#r4\"");
  has("<tr id=\"r4\">");
  has("conv1 weight momentum"); /* a parameter stands with its layer */
  has("<span>LARS</span>");
  assert_int_equal(count("<svg"), 1);
  assert_int_equal(count("class=\"over\" x=\"241\""), 1);
  /* Layers are in the order of the network: three of them, though five tensors. */
  assert_int_equal(count("<th scope=\"row\">"), 3);
  assert_true(strstr(page, "row\">conv1<") < strstr(page, "row\">bn1<") &&
              strstr(page, "row\">bn1<") < strstr(page, "row\">layer1.0.conv1<"));
  /* Open where something is wrong. */
  assert_int_equal(count("<details open=\"open\">"), 3);
}

static void a_pass_says_so(void **state) {
  (void)state;
  make_page(0, "{\"name\": \"0.0/forward/online/1/conv1/y\", \"verdict\": \"pass\", \"ratio\": 0}");
  well_formed();
  has("<title>PASS: run</title>");
  has("No tensor is wrong.");
  has("<a class=\"p0\" href=\"#r0\"");
  assert_int_equal(count("First divergence"), 0);
  assert_int_equal(count("<details open"), 0);
  make_page(0, ""); /* no rows */
  well_formed();
  has("0 tensors");
}

/* Names and messages come from files: none of them becomes markup. */
static void nothing_becomes_markup(void **state) {
  (void)state;
  make_page(1, "{\"name\": \"0.0/forward/on\\\"line/1/<script>alert(1)</script>/y\", \"op\": \"<b>\", \"verdict\": \"mismatch\", \"rule\": "
               "\"a && 'b' > c\","
               "\"where\": \"<i>\", \"candidate\": 1, \"expected\": 2, \"error\": 1, \"allowed\": 0, \"ratio\": 2},"
               "{\"name\": \"<img src=x>\\u0001\", \"verdict\": \"vacuous\", \"accepted\": \"</table>\"},"
               "{\"name\": \"0.0/forward/o&o/1/<u>/y\", \"verdict\": \"pass\"}");
  well_formed();
  assert_int_equal(count("<script"), 0);
  assert_int_equal(count("<img"), 0);
  assert_int_equal(count("<i>"), 0);
  has("&lt;img src=x&gt;");
  has("a &amp;&amp; &#39;b&#39; &gt; c");
  assert_int_equal(count("\x01"), 0);
  assert_int_equal(count("http"), 0); /* needs no network */
}

/* Several steps and a name that comes back: columns say which step, a pass is one column however its rows lie. */
static void passes_are_columns(void **state) {
  (void)state;
  make_page(0, "{\"name\": \"0.0/forward/online/1/conv1/y\", \"verdict\": \"pass\"}, {\"name\": \"0.0/loss/online/1/byol/value\", "
               "\"verdict\": \"pass\"},"
               "{\"name\": \"0.0/forward/online/1/bn1/y\", \"verdict\": \"pass\"}, {\"name\": \"1.0/forward/online/1/conv1/y\", "
               "\"verdict\": \"pass\"},"
               "{\"name\": \"conv/fill=int\", \"verdict\": \"pass\"}");
  well_formed();
  assert_int_equal(count("<th scope=\"col\">"), 3);
  has("<span>step 0.0, online forward, view 1</span>");
  has("<span>step 0.0, loss, view 1</span>");
  has("<span>step 1.0, online forward, view 1</span>");
  has("other tensors: 1 tensor<");
}

/* A dump is replayed for its page: the same as by way of the findings. */
static void a_dump_is_replayed_for_its_page(void **state) {
  (void)state;
  const struct outcome *o = program_run("oracle dump out=dump preset=sanity batch=2 && oracle report dump out=page.html");
  if (o->status != 0 || !strstr(o->out, "none is wrong")) fail_msg("exit %d: %s%s", o->status, o->out, o->err);
  assert_int_equal(program_run("oracle replay dump json=replayed.json && oracle report replayed.json out=again.html")->status, 0);
  o = program_run("for page in page again; do sed 's/<code>oracle [a-z]*</<code></' $page.html >$page.txt; done; cmp page.txt again.txt");
  if (o->status != 0) fail_msg("%s%s", o->out, o->err);
  assert_int_equal(
      program_run("grep -q '<title>PASS: dump</title>' page.html && grep -q '<th scope=\"row\">layer1.0.conv1</th>' page.html")->status, 0);
}

/* A source, and above all a file of the dump that is read, are no pages. */
static void only_a_page_is_written_over_by_one(void **state) {
  (void)state;
  static const char *const files[] = {"kept/manifest.json", "kept/part-00000.safetensors", "kernel.c", "other.html"};
  assert_int_equal(program_run("oracle dump out=kept preset=sanity batch=2 && echo 'int x;' >kernel.c && "
                               "printf '<!DOCTYPE html>\\n<html lang=\"en\">\\n<title>mine</title></html>\\n' >other.html")
                       ->status,
                   0);
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    const struct outcome *o = program_run("cp %s before; oracle report kept out=%s", files[i], files[i]);
    if (o->status != BAD_INPUT || o->out[0] || program_lines(o->err) != 1 ||
        !strstr(o->err, "is there and is no page of oracle report, and would be written over; choose another name"))
      fail_msg("%s: exit %d: %s%s", files[i], o->status, o->out, o->err);
    assert_int_equal(program_run("cmp before %s", files[i])->status, 0);
  }
  assert_int_equal(program_run("oracle report kept out=new.html && cp new.html old.html && oracle report kept out=old.html")->status, 0);
  assert_int_equal(program_run("cmp new.html old.html")->status, 0);
}

static void bad_input_is_refused_in_one_line(void **state) {
  (void)state;
  static const char *const findings[][2] = {
      {"{", "findings.json: line 1: no JSON"},
      {"[]", "no findings"},
      {"{\"format\": \"ediy-dump-1\"}", "no findings"},
      {"{\"format\": \"ediy-findings-1\", \"rows\": 3}", "\"rows\" is no array"},
      {"{\"format\": \"ediy-findings-1\", \"rows\": [{\"verdict\": \"pass\"}]}", "row 0 has no \"name\""},
      {"{\"format\": \"ediy-findings-1\", \"rows\": [{\"name\": \"a\", \"verdict\": \"fine\"}]}", "row 0: \"verdict\" is \"fine\""},
      {"{\"format\": \"ediy-findings-1\", \"rows\": [{\"name\": \"a\", \"verdict\": \"pass\", \"histogram\": "
       "[-1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}]}",
       "holds no counts"},
  };
  static const char *const commands[][2] = {
      {"oracle report", "no findings"},
      {"oracle report nothing.json out=page.html", "nothing.json"},
      {"oracle report findings.json", "out= is missing"},
      {"oracle report findings.json findings.json out=page.html", "one file"},
      {"oracle report findings.json outt=page.html", "out"},
      {"mkdir -p folder; oracle report folder out=page.html", "manifest.json"},
  };
  for (size_t i = 0; i < sizeof findings / sizeof *findings; i++) {
    write_findings(findings[i][0]);
    const struct outcome *o = program_run("rm -f page.html; oracle report findings.json out=page.html");
    if (o->status != BAD_INPUT || o->out[0] || program_lines(o->err) != 1 || !strstr(o->err, findings[i][1]))
      fail_msg("%s: exit %d: %s%s", findings[i][0], o->status, o->out, o->err);
    assert_int_equal(program_run("test ! -e page.html")->status, 0);
  }
  write_findings(HEAD "\"exit\": 0, \"rows\": []}");
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    const struct outcome *o = program_run("%s", commands[i][0]);
    if (o->status != BAD_INPUT || o->out[0] || program_lines(o->err) != 1 || !strstr(o->err, commands[i][1]))
      fail_msg("%s: exit %d: %s%s", commands[i][0], o->status, o->out, o->err);
  }
  const struct outcome *o = program_run("oracle report findings.json out=/nowhere/page.html");
  assert_int_equal(o->status, BAD_INPUT);
}

static void the_example_of_the_help_works_as_printed(void **state) {
  (void)state;
  const struct outcome *o =
      program_run("mkdir help && cd help && oracle report --help | sed -n '/^example:/,$p' | tail -n +2 >report.sh && sh -e report.sh");
  assert_string_equal(o->err, "");
  assert_int_equal(o->status, 0);
  assert_int_equal(program_run("test -s help/findings.html")->status, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_checker_of_this_test_finds_what_is_not_well_formed),
      cmocka_unit_test(a_failure_is_marked_and_led_to),
      cmocka_unit_test(a_pass_says_so),
      cmocka_unit_test(nothing_becomes_markup),
      cmocka_unit_test(passes_are_columns),
      cmocka_unit_test(a_dump_is_replayed_for_its_page),
      cmocka_unit_test(only_a_page_is_written_over_by_one),
      cmocka_unit_test(bad_input_is_refused_in_one_line),
      cmocka_unit_test(the_example_of_the_help_works_as_printed),
  };
  return cmocka_run_group_tests(tests, program_enter, leave);
}
