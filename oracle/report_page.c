#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plural.h"
#include "oracle/report.h"

/* The page is well-formed XML, so that anything can read it and a test can check it. */

enum { WORST = 12, LABEL = 8 * REPORT_FIELD };

/* ---- words --------------------------------------------------------------------------------------------------------------------------- */

static void text(FILE *f, const char *s) {
  for (; *s; s++) {
    switch (*s) {
    case '&': fputs("&amp;", f); break;
    case '<': fputs("&lt;", f); break;
    case '>': fputs("&gt;", f); break;
    case '"': fputs("&quot;", f); break;
    case '\'': fputs("&#39;", f); break;
    default: fputc((unsigned char)*s < ' ' || *s == 0x7f ? ' ' : *s, f); /* what XML forbids */
    }
  }
}

static void number(FILE *f, const char *format, double x) {
  char s[64];
  snprintf(s, sizeof s, format, x);
  text(f, isnan(x) ? "nan" : s);
}

/* A number, or nothing where there is none. */
static void cell(FILE *f, const char *format, double x) {
  fputs("<td class=\"n\">", f);
  if (!isnan(x)) number(f, format, x);
  fputs("</td>", f);
}

static const char *const verdict_words[REPORT_VERDICTS] = {"pass", "VACUOUS", "incomplete", "MISMATCH"};
static const char *const verdict_marks[REPORT_VERDICTS] = {"", "?", "&#8211;", "&#10005;"};

/* Class of the colour: verdict first, then the error in units of the allowed one. A wrong tensor without a ratio (shape, NaN) is as wrong
 * as can be. */
static const char *shade(const struct report_row *row) {
  double x = row->ratio;
  switch (row->verdict) {
  case REPORT_VACUOUS: return "v";
  case REPORT_INCOMPLETE: return "i";
  case REPORT_MISMATCH: return x < 4 ? "f1" : x < 64 ? "f2" : "f3";
  default: return x > 0.5 ? "p4" : x > 0.25 ? "p3" : x > 1.0 / 16 ? "p2" : x > 0 ? "p1" : "p0";
  }
}

static void tooltip(FILE *f, const struct report_row *row) {
  text(f, row->name);
  fprintf(f, ": %s", verdict_words[row->verdict]);
  if (row->verdict == REPORT_VACUOUS && row->accepted[0]) fputs(": the rule would accept ", f), text(f, row->accepted);
  if (row->verdict != REPORT_VACUOUS && row->rule[0]) fputs(", ", f), text(f, row->rule);
  if (isfinite(row->ratio)) fprintf(f, ", %.2g of what is allowed", row->ratio);
}

/* ---- order --------------------------------------------------------------------------------------------------------------------------- */

/* Worse first: verdict, then ratio (none: as if infinite), then execution order. */
static bool is_worse(const struct report_row *a, const struct report_row *b) {
  if (a->verdict != b->verdict) return a->verdict > b->verdict;
  double x = isnan(a->ratio) ? (a->verdict == REPORT_MISMATCH ? INFINITY : -1) : a->ratio;
  double y = isnan(b->ratio) ? (b->verdict == REPORT_MISMATCH ? INFINITY : -1) : b->ratio;
  return x > y;
}

static bool same_group(const struct report_row *a, const struct report_row *b) {
  return a->placed == b->placed && strcmp(a->step, b->step) == 0 && strcmp(a->phase, b->phase) == 0 &&
         strcmp(a->network, b->network) == 0 && strcmp(a->view, b->view) == 0;
}

/* A column of the picture and a section of the list: what ran in one go. */
struct group {
  int first, rows;
  int verdicts[REPORT_VERDICTS];
};

struct page {
  FILE *f;
  const struct report *r;
  struct group *group;
  int *group_of; /* row: its group */
  int *layer;    /* of each layer the row that first names it */
  int *order;    /* layers from top to bottom */
  int *layer_of; /* row: its layer; -1: none */
  int groups, layers, steps;
};

/* A new layer stands below the one that ran before it in the same group; the first of a group at the bottom. */
static int add_layer(struct page *p, int row, int above) {
  int at = 0, l = p->layers++;
  while (at < l && (at == 0 || p->order[at - 1] != above)) at++;
  for (int i = l; i > at; i--) p->order[i] = p->order[i - 1];
  p->order[at] = l;
  p->layer[l] = row;
  return l;
}

/* Rows of one group stand together in execution order; where a group comes up again it is the same one. */
static void find_groups(struct page *p) {
  for (int i = 0; i < p->r->count; i++) {
    const struct report_row *row = &p->r->row[i];
    int g = p->groups - 1, l = p->layers - 1;
    while (g >= 0 && !same_group(&p->r->row[p->group[g].first], row)) g--;
    if (g < 0) {
      g = p->groups++;
      p->group[g].first = i;
      if (g == 0 || strcmp(p->r->row[p->group[g - 1].first].step, row->step) != 0) p->steps++;
    }
    p->group[g].rows++;
    p->group[g].verdicts[row->verdict]++;
    p->group_of[i] = g;
    while (l >= 0 && (!row->placed || strcmp(p->r->row[p->layer[l]].layer, row->layer) != 0)) l--;
    if (l < 0 && row->placed) l = add_layer(p, i, i > 0 && p->group_of[i - 1] == g ? p->layer_of[i - 1] : -1);
    p->layer_of[i] = row->placed ? l : -1;
  }
}

static void group_label(const struct page *p, int g, char label[LABEL]) {
  const struct report_row *row = &p->r->row[p->group[g].first];
  char step[REPORT_FIELD + 16] = "", view[REPORT_FIELD + 16] = "";
  if (p->steps > 1) snprintf(step, sizeof step, "step %s, ", row->step);
  if (strcmp(row->view, "0") != 0) snprintf(view, sizeof view, ", view %s", row->view);
  if (!row->placed) {
    snprintf(label, LABEL, "other tensors");
  } else if (strcmp(row->phase, "optimiser") == 0) {
    snprintf(label, LABEL, "%sLARS", step);
  } else if (strcmp(row->phase, "ema") == 0) {
    snprintf(label, LABEL, "%smoving average", step);
  } else if (strcmp(row->network, "-") == 0 || strcmp(row->phase, "loss") == 0) {
    snprintf(label, LABEL, "%s%s%s", step, row->phase, view);
  } else {
    snprintf(label, LABEL, "%s%s %s%s", step, row->network, row->phase, view);
  }
}

/* ---- the page ------------------------------------------------------------------------------------------------------------------------ */

static const char style[] =
    ":root{color-scheme:light "
    "dark;--bg:#fff;--fg:#1a1f26;--dim:#5d6775;--line:#d9dee5;--card:#f5f7fa;--p0:#f1f5f9;--p1:#d3e4f4;--p2:#9fc5e8;"
    "--p3:#5b9bd5;--p4:#1f5fa8;--f1:#fdb863;--f2:#e66101;--f3:#8c2d04;--onf1:#000;--onf2:#000;--onf3:#fff;--v:#c9c3d8;--link:#1f5fa8}\n"
    "@media "
    "(prefers-color-scheme:dark){:root{--bg:#12161b;--fg:#e6eaf0;--dim:#98a3b3;--line:#2c343f;--card:#1a2028;--p0:#1f2731;--p1:#213f5c;"
    "--p2:#2c638f;--p3:#4f94cf;--p4:#a6d0f5;--f1:#a3500f;--f2:#e07a26;--f3:#ffcf94;--onf1:#fff;--onf2:#000;--onf3:#000;--v:#5b5470;"
    "--link:#8fc1f0}}\n"
    "body{background:var(--bg);color:var(--fg);font:15px/1.45 system-ui,sans-serif;margin:0 auto;padding:1.5rem;max-width:76rem}\n"
    "h1{font-size:1.5rem;margin:0 0 .3rem}h2{font-size:1.15rem;margin:2rem 0 .6rem}a{color:var(--link)}code{font-size:.93em}\n"
    "p{margin:.4rem 0}.dim{color:var(--dim)}.card{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.8rem 1rem;"
    "margin:1rem 0}.bad{border-left:6px solid var(--f2)}.good{border-left:6px solid var(--p3)}\n"
    ".scroll{overflow-x:auto}table{border-collapse:collapse}.map{font-size:12px}.map th{font-weight:400;text-align:left;padding:0 .6em 0 0;"
    "white-space:nowrap}.map thead th{vertical-align:bottom;padding:.2em 0}.map thead "
    "span{writing-mode:vertical-rl;transform:rotate(180deg);"
    "padding:.3em 0}.map td{padding:1px}.map a,.key b{display:block;width:1.9rem;height:.95rem;line-height:.95rem;border-radius:2px;"
    "text-align:center;text-decoration:none;font-size:11px;font-weight:700;color:var(--fg)}\n"
    ".key{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;font-size:13px;padding:0;list-style:none}.key li{display:flex;gap:.4rem;"
    "align-items:center}\n"
    ".p0{background:var(--p0)}.p1{background:var(--p1)}.p2{background:var(--p2)}.p3{background:var(--p3)}.p4{background:var(--p4)}\n"
    ".map .f1,.key .f1,td.f1{background:var(--f1);color:var(--onf1)}.map .f2,.key .f2,td.f2{background:var(--f2);color:var(--onf2)}"
    ".map .f3,.key .f3,td.f3{background:var(--f3);color:var(--onf3)}\n"
    ".v{background:repeating-linear-gradient(45deg,var(--v) 0 4px,transparent 4px 8px)}.i{outline:1px dashed "
    "var(--fg);outline-offset:-1px}\n"
    ".map .first{outline:3px solid var(--fg);outline-offset:1px}\n"
    "details{border-top:1px solid var(--line)}summary{cursor:pointer;padding:.35rem 0}.list{font-size:13px;margin-bottom:1rem}"
    ".list th,.list td{padding:.1rem .6rem .1rem 0;text-align:left;white-space:nowrap}.list td.n{text-align:right;"
    "font-variant-numeric:tabular-nums}.list .swatch{width:1.9rem;padding:0;text-align:center;font-weight:700}"
    ".list .swatch+td{padding-left:.6rem}.list tr:target td{background:var(--card);font-weight:700}\n"
    ".worst{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:.8rem}.worst .card{margin:0;font-size:13px;"
    "overflow-wrap:anywhere}svg{display:block;width:100%;height:5rem;margin-top:.4rem}svg .ok{fill:var(--p3)}svg .over{fill:var(--f2)}"
    "svg line{stroke:var(--fg)}svg text{fill:var(--dim);font-size:10px}\n";

static void head(const struct page *p, int first) {
  FILE *f = p->f;
  const struct report *r = p->r;
  static const char *const outcomes[] = {"PASS", "MISMATCH", "bad input", "VACUOUS", "NONDETERMINISTIC", "INCOMPLETE"};
  int of[REPORT_VERDICTS] = {0};
  for (int i = 0; i < r->count; i++) of[r->row[i].verdict]++;
  const char *outcome = r->exit >= 0 && r->exit < 6 ? outcomes[r->exit] : "unknown";
  fputs(REPORT_BEGIN "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\" />\n<title>", f);
  text(f, outcome), fputs(": ", f), text(f, r->subject);
  fprintf(f, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<h1>", style);
  text(f, outcome), fputs(": ", f), text(f, r->subject);
  fputs("</h1>\n<p class=\"dim\">", f);
  if (r->against[0]) fputs("against ", f), text(f, r->against), fputs("; ", f);
  fputs("as ", f), text(f, r->precision[0] ? r->precision : "unknown precision");
  if (r->command[0]) fputs("; <code>", f), text(f, r->command), fputs("</code>", f);
  fprintf(f, "</p>\n<p>%d tensor%s: %d pass, %d mismatch, %d vacuous, %d incomplete.</p>\n", r->count, plural(r->count), of[REPORT_PASS],
          of[REPORT_MISMATCH], of[REPORT_VACUOUS], of[REPORT_INCOMPLETE]);
  if (first < 0) {
    fputs("<div class=\"card good\">No tensor is wrong.</div>\n", f);
    return;
  }
  const struct report_row *row = &r->row[first];
  fprintf(f, "<div class=\"card bad\"><p>First divergence: <a href=\"#r%d\"><code>", first);
  text(f, row->name);
  fputs("</code></a></p>\n<p>", f);
  text(f, row->rule);
  if (row->where[0]) {
    fputs("; worst at <code>", f), text(f, row->where), fputs("</code>: ", f);
    number(f, "%.9g", row->candidate), fputs(", expected ", f), number(f, "%.9g", row->expected);
  }
  if (!isnan(row->error) && !isnan(row->allowed)) {
    fputs("; off by ", f), number(f, "%.2g", row->error), fputs(", allowed ", f), number(f, "%.2g", row->allowed);
  }
  fputs("</p></div>\n", f);
}

static void legend(const struct page *p) {
  static const char *const of[][3] = {{"p0", "", "exact"},
                                      {"p1", "", "up to 1/16 of the allowed error"},
                                      {"p2", "", "to 1/4"},
                                      {"p3", "", "to 1/2"},
                                      {"p4", "", "to 1"},
                                      {"f1", "&#10005;", "wrong: up to 4 times the allowed error"},
                                      {"f2", "&#10005;", "to 64"},
                                      {"f3", "&#10005;", "beyond, or no number"},
                                      {"v", "?", "vacuous: right, but proves nothing"},
                                      {"i", "&#8211;", "incomplete: missing, extra or not judged"}};
  fputs("<ul class=\"key\">", p->f);
  for (size_t i = 0; i < sizeof of / sizeof *of; i++) fprintf(p->f, "<li><b class=\"%s\">%s</b>%s</li>", of[i][0], of[i][1], of[i][2]);
  fputs("</ul>\n", p->f);
}

/* Layers down, passes across; a cell is the worst tensor of a layer in a pass. at: for every layer the row to show, or -1. */
static void map_row(const struct page *p, int layer, const int *at, int first) {
  FILE *f = p->f;
  fputs("<tr><th scope=\"row\">", f);
  text(f, p->r->row[p->layer[layer]].layer);
  fputs("</th>", f);
  for (int g = 0; g < p->groups; g++) {
    if (!p->r->row[p->group[g].first].placed) continue;
    if (at[g] < 0) {
      fputs("<td></td>", f);
      continue;
    }
    const struct report_row *row = &p->r->row[at[g]];
    fprintf(f, "<td><a class=\"%s%s\" href=\"#r%d\" title=\"", shade(row), at[g] == first ? " first" : "", at[g]);
    tooltip(f, row);
    fprintf(f, "\">%s</a></td>", verdict_marks[row->verdict]);
  }
  fputs("</tr>\n", f);
}

static bool map(const struct page *p, int first) {
  FILE *f = p->f;
  int *at = malloc(((size_t)p->layers * (size_t)p->groups + 1) * sizeof *at);
  if (!at) return false;
  for (int i = 0; i < p->layers * p->groups; i++) at[i] = -1;
  for (int i = 0; i < p->r->count; i++) {
    if (p->layer_of[i] < 0) continue;
    int *here = &at[p->layer_of[i] * p->groups + p->group_of[i]];
    if (*here < 0 || i == first || (*here != first && is_worse(&p->r->row[i], &p->r->row[*here]))) *here = i;
  }
  fputs("<h2>The network</h2>\n<p class=\"dim\">Layers from first to last, passes in the order in which they ran; backward passes run "
        "upwards. A cell is the worst tensor of the layer in that pass, and leads to it.</p>\n",
        f);
  legend(p);
  fputs("<div class=\"scroll\"><table class=\"map\">\n<thead><tr><th></th>", f);
  for (int g = 0; g < p->groups; g++) {
    char label[LABEL];
    if (!p->r->row[p->group[g].first].placed) continue;
    group_label(p, g, label);
    fputs("<th scope=\"col\"><span>", f), text(f, label), fputs("</span></th>", f);
  }
  fputs("</tr></thead>\n<tbody>\n", f);
  for (int l = 0; l < p->layers; l++) map_row(p, p->order[l], at + p->order[l] * p->groups, first);
  fputs("</tbody></table></div>\n", f);
  free(at);
  return true;
}

/* Bars of how many elements have an error of 2^-14 and less, ... 1/2 to 1, above 1 of what is allowed; heights are logarithms, so that one
 * element in a million is seen. */
static void histogram(FILE *f, const struct report_row *row) {
  double most = 0;
  for (int k = 0; k < REPORT_BINS; k++) most = fmax(most, log1p(row->histogram[k]));
  if (!row->has_histogram || !(most > 0)) return;
  fputs("<svg viewBox=\"0 0 256 80\" role=\"img\" aria-label=\"histogram of error in units of the allowed error\">", f);
  for (int k = 0; k < REPORT_BINS; k++) {
    double h = 60 * log1p(row->histogram[k]) / most;
    fprintf(f, "<rect class=\"%s\" x=\"%d\" y=\"%.1f\" width=\"14\" height=\"%.1f\"><title>%.0f elements</title></rect>",
            k < REPORT_BINS_ALLOWED ? "ok" : "over", 16 * k + 1, 62 - h, h, row->histogram[k]);
  }
  fprintf(f, "<line x1=\"%d\" y1=\"0\" x2=\"%d\" y2=\"64\" />", 16 * REPORT_BINS_ALLOWED, 16 * REPORT_BINS_ALLOWED);
  fprintf(f, "<text x=\"0\" y=\"76\">1/%d and less</text><text x=\"%d\" y=\"76\" text-anchor=\"end\">allowed</text></svg>",
          1 << (REPORT_BINS_ALLOWED - 1), 16 * REPORT_BINS_ALLOWED);
}

static void worst(const struct page *p) {
  FILE *f = p->f;
  int taken[WORST], count = 0;
  while (count < WORST && count < p->r->count) {
    int next = -1;
    for (int i = 0; i < p->r->count; i++) {
      bool had = false;
      for (int k = 0; k < count; k++) had = had || taken[k] == i;
      if (!had && (next < 0 || is_worse(&p->r->row[i], &p->r->row[next]))) next = i;
    }
    taken[count++] = next;
  }
  fprintf(f, "<h2>%s</h2>\n<div class=\"worst\">\n", report_first(p->r) < 0 ? "Closest to their limits" : "The worst");
  for (int k = 0; k < count; k++) {
    const struct report_row *row = &p->r->row[taken[k]];
    fprintf(f, "<div class=\"card\"><a href=\"#r%d\"><code>", taken[k]), text(f, row->name), fputs("</code></a><br />", f);
    fprintf(f, "%s", verdict_words[row->verdict]);
    if (row->rule[0]) fputs(" (", f), text(f, row->rule), fputs(")", f);
    if (!isnan(row->ratio)) fputs(", ", f), number(f, "%.3g", row->ratio), fputs(" of what is allowed", f);
    histogram(f, row);
    fputs("</div>\n", f);
  }
  fputs("</div>\n", f);
}

static void list_row(const struct page *p, int i) {
  FILE *f = p->f;
  const struct report_row *row = &p->r->row[i];
  fprintf(f, "<tr id=\"r%d\"><td class=\"n\">%d</td><td class=\"swatch %s\">%s</td><td title=\"", i, i + 1, shade(row),
          verdict_marks[row->verdict]);
  text(f, row->name), fputs("\">", f);
  if (row->placed) {
    text(f, row->layer), fputs(" ", f), text(f, row->tensor);
  } else {
    text(f, row->name);
  }
  fputs("</td><td>", f), text(f, row->op);
  fprintf(f, "</td><td>%s", verdict_words[row->verdict]);
  if (row->verdict == REPORT_VACUOUS && row->accepted[0]) fputs(": accepts ", f), text(f, row->accepted);
  fputs("</td><td>", f), text(f, row->rule), fputs("</td>", f);
  cell(f, "%.3g", row->ratio), cell(f, "%.2g", row->error), cell(f, "%.2g", row->allowed);
  fputs("<td>", f), text(f, row->where), fputs("</td>", f);
  cell(f, "%.9g", row->candidate), cell(f, "%.9g", row->expected), cell(f, "%.2g", row->l2);
  for (int k = 0; k < 3; k++) cell(f, "%.3g", row->ulp[k]);
  fputs("</tr>\n", f);
}

static void list(const struct page *p) {
  FILE *f = p->f;
  fputs("<h2>Every tensor</h2>\n", f);
  for (int g = 0; g < p->groups; g++) {
    char label[LABEL];
    const struct group *group = &p->group[g];
    bool clean = group->verdicts[REPORT_PASS] == group->rows;
    group_label(p, g, label);
    fprintf(f, "<details%s><summary>", clean ? "" : " open=\"open\"");
    text(f, label), fprintf(f, ": %d tensor%s", group->rows, plural(group->rows));
    for (int v = REPORT_MISMATCH; v > REPORT_PASS; v--) {
      if (group->verdicts[v]) fprintf(f, ", <b>%d %s</b>", group->verdicts[v], verdict_words[v]);
    }
    fputs("</summary>\n<div class=\"scroll\"><table class=\"list\"><thead><tr><th></th><th></th><th>tensor</th><th>operation</th>"
          "<th>verdict</th><th>rule</th><th>of allowed</th><th>error</th><th>allowed</th><th>worst at</th><th>value</th><th>expected</th>"
          "<th>relative L2</th><th>ULP p50</th><th>p99</th><th>max</th></tr></thead>\n<tbody>\n",
          f);
    for (int i = group->first, left = group->rows; left > 0; i++) {
      if (p->group_of[i] == g) list_row(p, i), left--;
    }
    fputs("</tbody></table></div></details>\n", f);
  }
}

char *report_page(const struct report *r) {
  char *page = NULL;
  size_t size, n = (size_t)r->count + 1;
  struct page p = {.r = r, .group = calloc(n, sizeof *p.group), .group_of = calloc(n, sizeof(int))};
  p.layer = calloc(n, sizeof(int)), p.layer_of = calloc(n, sizeof(int)), p.order = calloc(n, sizeof(int));
  bool ok = p.group && p.group_of && p.layer && p.layer_of && p.order && (p.f = open_memstream(&page, &size));
  if (ok) {
    int first = report_first(r);
    find_groups(&p);
    head(&p, first);
    if (p.layers > 0) ok = map(&p, first);
    if (r->count > 0) worst(&p);
    if (r->count > 0) list(&p);
    fputs("</body>\n</html>\n", p.f);
    ok = !ferror(p.f) && ok;
    ok = fclose(p.f) == 0 && ok;
  }
  if (!ok) {
    free(page);
    page = NULL;
  }
  free(p.group);
  free(p.group_of);
  free(p.layer);
  free(p.layer_of);
  free(p.order);
  return page;
}
