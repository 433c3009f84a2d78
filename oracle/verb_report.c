/* oracle report: what was found, as a page. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>

#include "base/file.h"
#include "base/plural.h"
#include "oracle/report.h"
#include "oracle/verb.h"

struct report_options {
  char out[OPTION_TEXT_SIZE];
};

static const struct option keys[] = {
    {"out", OPTION_TEXT, offsetof(struct report_options, out), "", 0, 0, NULL, "the page to write"},
};
enum { KEYS = sizeof keys / sizeof keys[0] };

/* Whether a page may be written there, and nothing but an earlier one would be lost by it. For before the work. */
static bool page_wanted(const char *path, struct error *err) {
  char start[sizeof REPORT_BEGIN - 1];
  ptrdiff_t n = file_start(path, start, sizeof start);
  if (n > 0 && (n < (ptrdiff_t)sizeof start || memcmp(start, REPORT_BEGIN, sizeof start) != 0))
    return fail(err, "report: out=%s is there and is no page of oracle report, and would be written over; choose another name", path);
  return file_writable(path, err);
}

static bool write_page(const struct report *r, const char *path, struct error *err) {
  char *page = report_page(r);
  bool ok = page ? file_replace(path, page, strlen(page), err) : fail(err, "report: out of memory");
  free(page);
  return ok;
}

static enum oracle_exit run(int count, char *const *arguments, struct error *err) {
  struct report_options o;
  struct report r;
  const char *path = NULL;
  options_default(keys, KEYS, &o);
  for (int i = 0; i < count; i++) {
    const char *equals = strchr(arguments[i], '='), *slash = strchr(arguments[i], '/');
    if (equals && (!slash || equals < slash)) {
      if (!options_argument(keys, KEYS, &o, arguments[i], err)) return fail_within(err, "report"), ORACLE_BAD_INPUT;
    } else if (path) {
      return fail(err, "report: '%s': one file of findings at a time", arguments[i]), ORACLE_BAD_INPUT;
    } else {
      path = arguments[i];
    }
  }
  if (!path) return fail(err, "report: no findings; usage: oracle report %s", oracle_verb_report.usage), ORACLE_BAD_INPUT;
  if (!o.out[0]) return fail(err, "report: out= is missing: the page to write"), ORACLE_BAD_INPUT;
  if (file_same(o.out, path))
    return fail(err, "report: out=%s is read here, and would be written over; choose another name", o.out), ORACLE_BAD_INPUT;
  if (!page_wanted(o.out, err)) return ORACLE_BAD_INPUT;
  struct stat s;
  bool folder = stat(path, &s) == 0 && S_ISDIR(s.st_mode);
  if (!(folder ? report_replay(&r, path, err) : report_read(&r, path, err))) return ORACLE_BAD_INPUT;
  int first = report_first(&r);
  bool ok = write_page(&r, o.out, err);
  if (ok)
    printf("%s: %d tensor%s%s%s\n", o.out, r.count, plural(r.count),
           first < 0 ? ", none is wrong" : ", first divergence: ", first < 0 ? "" : r.row[first].name);
  report_free(&r);
  return ok ? ORACLE_PASS : ORACLE_BAD_INPUT;
}

const struct oracle_verb oracle_verb_report = {
    .name = "report",
    .summary = "show findings as a page: the network, its errors, the first divergence",
    .usage = "FINDINGS.json|DUMP out=FILE.html",
    .about = "Reads what json=FILE of oracle replay or check wrote, or replays the dump in a folder, and writes one\n"
             "page that needs nothing beside it: no network, no script. Layers from first to last, a column for each\n"
             "pass, the colour of a cell is the error in units of the allowed error. The first wrong tensor is marked,\n"
             "the worst ones have histograms, and every tensor is listed.\n"
             "A page that is there is replaced, no other file.\n"
             "Exit status: 0 the page was written, whatever it says, 2 usage or input.",
    .example = "oracle dump out=step preset=sanity batch=4\n"
               "oracle report step out=step.html\n"
               "oracle replay step json=findings.json\n"
               "oracle report findings.json out=findings.html",
    .keys = keys,
    .key_count = KEYS,
    .run = run,
};
