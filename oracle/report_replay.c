/* A dump replayed for its page: what `oracle replay DUMP json=FILE` would have written, in memory. */
#include "oracle/findings.h"
#include "oracle/replay.h"
#include "oracle/report.h"
#include "oracle/verb.h"

struct collected {
  json_t *rows;
  enum judgement worst;
};

static bool collect(void *context, const struct replay_row *row) {
  struct collected *c = context;
  enum judgement j = row->judged.judgement;
  if (j > c->worst) c->worst = j;
  if (!row->given || j != JUDGED_PASS) json_array_append_new(c->rows, findings_row(row->op, &row->judged));
  return true;
}

static bool replay_all(struct replay *r, struct error *err) {
  for (int i = 0; i < r->u->count; i++) {
    if (!replay_unit(r, &r->u->unit[i], err)) return false;
  }
  replay_extra(r);
  return true;
}

bool report_replay(struct report *r, const char *folder, struct error *err) {
  struct dump dump = {0};
  struct units units = {0};
  struct collected c = {.rows = json_array()};
  struct replay replay = {.u = &units, .options = {.precision = -1}, .see = collect, .context = &c};
  bool ok = c.rows
                ? dump_open(&dump, folder, err) && units_open(&units, &dump, err) && replay_open(&replay, err) && replay_all(&replay, err)
                : fail(err, "report: out of memory");
  const char *precision = ok ? precision_classes[dump.precision].name : "";
  json_t *root = json_pack("{s:s,s:s,s:s,s:s,s:i,s:O}", "format", "ediy-findings-1", "command", "oracle report", "subject", folder,
                           "precision", precision, "exit", (int)oracle_exit_of(c.worst), "rows", c.rows);
  ok = ok && (root || fail(err, "%s: no findings: out of memory, or a path that is not UTF-8", folder)) &&
       report_take(r, json_incref(root), folder, err);
  json_decref(root);
  json_decref(c.rows);
  replay_close(&replay);
  units_close(&units);
  dump_close(&dump);
  return ok;
}
