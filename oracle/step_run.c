#include "oracle/step_run.h"

#include <stdlib.h>
#include <string.h>

#include "oracle/backends.h"

/* real is float here, and names the other one. */
const struct backend_f64 *backend_reference_f64(void);

struct step_runner {
  struct step_walk_f32 *f32;
  struct step_walk_f64 *f64;
};

bool step_backend_named(const char *name, struct step_backend *b, struct error *err) {
  *b = (struct step_backend){.name = "ref32", .precision = PRECISION_FP32, .f32 = backend_reference_f32()};
  if (strcmp(name, "ref32") == 0) return true;
  if (strcmp(name, "ref64") == 0) {
    *b = (struct step_backend){.name = "ref64", .precision = PRECISION_FP64, .f64 = backend_reference_f64()};
    return true;
  }
  struct named_backend named;
  if (!backend_named(name, &named, err)) return false;
  *b = (struct step_backend){
      .name = named.table->name, .precision = named.precision, .mixed = named.mixed, .f32 = named.table, .device = true};
  return true;
}

bool step_runner_open(struct step_runner **runner, struct step_source *source, const struct step_backend *b, struct error *err) {
  struct step_runner *r = *runner = calloc(1, sizeof *r);
  if (!r) return fail(err, "out of memory");
  if (b->f32)
    r->f32 = step_walk_open_f32(source, b->f32, b->device, err);
  else
    r->f64 = step_walk_open_f64(source, b->f64, b->device, err);
  if (r->f32 || r->f64) return true;
  free(r);
  *runner = NULL;
  return false;
}

bool step_runner_states(struct step_runner *r, const struct step_sink *sink, struct error *err) {
  return r->f32 ? step_walk_states_f32(r->f32, sink, err) : step_walk_states_f64(r->f64, sink, err);
}

bool step_runner_step(struct step_runner *r, const struct step_sink *sink, struct step_losses *losses, struct error *err) {
  return r->f32 ? step_walk_step_f32(r->f32, sink, losses, err) : step_walk_step_f64(r->f64, sink, losses, err);
}

void step_runner_close(struct step_runner *r) {
  if (!r) return;
  step_walk_close_f32(r->f32);
  step_walk_close_f64(r->f64);
  free(r);
}
