/* Cases of whole optimisation steps of the three networks, through model/step.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/step.h"
#include "oracle/operations.h"
#include "oracle/twice/case_net.h"

enum { SIZE_LIMIT = 1 << 14, STEP_LIMIT = 1 << 16 };

struct schedule_of_case {
  ptrdiff_t steps, accumulation; /* K, A */
  const double *lr, *tau;        /* K */
};

static bool read_config(struct case_run *run, struct model_config *o, struct schedule_of_case *s) {
  static const char *const stopgrads[] = {"none", "match"}, *const negatives[] = {"region", "instance"};
  static const char *const samplers[] = {"teacher", "random"}, *const similarities[] = {"cosine", "dot"};
  static const char *const teacher_norms[] = {"running", "batch"}, *const variants[] = {"byol", "openselfsup"};
  const struct case_file *c = run->file;
  struct error *err = run->err;
  int stopgrad, negative, sampler, similarity, teacher_bn, variant;
  *o = (struct model_config){.regions = true, .teacher = true};
  if (!case_architecture(run, &o->arch) || !case_integer(c, "hidden", 1, SIZE_LIMIT, &o->arch.hidden, err) ||
      !case_integer(c, "out", 1, SIZE_LIMIT, &o->arch.out, err) || !case_integer(c, "batch", 1, SIZE_LIMIT, &o->batch, err) ||
      !case_integer(c, "height", 1, SIZE_LIMIT, &o->height, err) || !case_integer(c, "width", 1, SIZE_LIMIT, &o->width, err) ||
      !case_number(c, "lambda1", &o->lambda_rdem, err) || !case_number(c, "lambda2", &o->lambda_riem, err) ||
      !case_number(c, "lambda3", &o->lambda_byol, err) || !case_choice(c, "rdem_stopgrad", stopgrads, 2, &stopgrad, err) ||
      !case_choice(c, "rdem_negative", negatives, 2, &negative, err) || !case_choice(c, "sampler", samplers, 2, &sampler, err) ||
      !case_choice(c, "similarity", similarities, 2, &similarity, err) ||
      !case_choice(c, "teacher_bn", teacher_norms, 2, &teacher_bn, err) || !case_choice(c, "lars_variant", variants, 2, &variant, err) ||
      !case_number(c, "trust", &o->lars.trust, err) || !case_number(c, "momentum", &o->lars.momentum, err) ||
      !case_number(c, "weight_decay", &o->lars.weight_decay, err) || !case_integer(c, "steps", 1, STEP_LIMIT, &s->steps, err) ||
      !case_integer(c, "accumulation", 1, STEP_LIMIT, &s->accumulation, err) ||
      !(s->lr = run_input(run, DTYPE_F64, 1, &s->steps, "in.lr")) || !(s->tau = run_input(run, DTYPE_F64, 1, &s->steps, "in.tau"))) {
    return false;
  }
  o->stopgrad = stopgrad == 1 ? RDEM_STOPGRAD_MATCH : RDEM_STOPGRAD_NONE;
  o->negative = negative == 1 ? NEGATIVE_INSTANCE : NEGATIVE_REGION;
  o->sampler = sampler == 1 ? SAMPLER_RANDOM : SAMPLER_TEACHER;
  o->similarity = similarity == 1 ? SIMILARITY_DOT : SIMILARITY_COSINE;
  o->teacher_batch = teacher_bn == 1;
  o->lars.variant = variant == 1 ? LARS_OPENSELFSUP : LARS_BYOL;
  return true;
}

/* Indices of all micro-batches that the case gives; null where it gives none. */
struct given {
  const int32_t *diversity[2], *invariance[2], *other;
};

static bool read_given(struct case_run *run, const struct model *m, const struct schedule_of_case *s, struct given *g) {
  const struct model_config *o = &m->config;
  ptrdiff_t shape[4] = {s->steps, s->accumulation, o->batch, m->cells};
  *g = (struct given){.other = NULL};
  if (o->sampler == SAMPLER_RANDOM && (!(g->diversity[0] = run_indices(run, m->cells, 4, shape, "in.d1")) ||
                                       !(g->diversity[1] = run_indices(run, m->cells, 4, shape, "in.d2")) ||
                                       !(g->invariance[0] = run_indices(run, m->cells, 4, shape, "in.s12")) ||
                                       !(g->invariance[1] = run_indices(run, m->cells, 4, shape, "in.s21")))) {
    return false;
  }
  return o->negative != NEGATIVE_INSTANCE || (g->other = run_indices(run, o->batch, 3, shape, "in.neg"));
}

/* The results that grow with every micro-batch. */
struct record {
  double *rdem, *riem, *byol, *total; /* K x A */
  int32_t *index[4];                  /* d1 d2 s12 s21: K x A x B x n */
};

static bool open_record(struct case_run *run, const struct model *m, const struct schedule_of_case *s, struct record *r) {
  static const char *const names[] = {"d1", "d2", "s12", "s21"};
  ptrdiff_t shape[4] = {s->steps, s->accumulation, m->config.batch, m->cells};
  for (int i = 0; i < 4; i++) {
    if (!(r->index[i] = run_output(run, DTYPE_I32, 4, shape, "out.%s", names[i]))) return false;
  }
  return (r->rdem = run_output(run, DTYPE_F64, 2, shape, "out.rdem")) && (r->riem = run_output(run, DTYPE_F64, 2, shape, "out.riem")) &&
         (r->byol = run_output(run, DTYPE_F64, 2, shape, "out.byol")) && (r->total = run_output(run, DTYPE_F64, 2, shape, "out.total"));
}

static void write_record(const struct model *m, struct record *r, ptrdiff_t micro_batch, const struct losses *l) {
  ptrdiff_t n = m->config.batch * m->cells;
  const int32_t *from[4] = {m->diversity[0], m->diversity[1], m->invariance[0], m->invariance[1]};
  for (int i = 0; i < 4; i++) memcpy(r->index[i] + micro_batch * n, from[i], (size_t)n * sizeof(int32_t));
  r->rdem[micro_batch] = l->rdem, r->riem[micro_batch] = l->riem;
  r->byol[micro_batch] = l->byol, r->total[micro_batch] = l->total;
}

static bool put_copy(struct case_run *run, const real *from, int ndim, const ptrdiff_t *shape, const char *name, int view) {
  ptrdiff_t n = 1;
  for (int d = 0; d < ndim; d++) n *= shape[d];
  real *to = run_output(run, REAL_DTYPE, ndim, shape, "out.first.%s%d", name, view + 1);
  if (to) memcpy(to, from, (size_t)n * sizeof(real));
  return to != NULL;
}

/* out.first.*: what the first micro-batch left. */
static bool put_first(struct case_run *run, const struct model *m) {
  const struct model_config *o = &m->config;
  ptrdiff_t features[3] = {o->batch, m->cells, m->channels}, regions[3] = {o->batch, m->cells, o->arch.out};
  ptrdiff_t whole[2] = {o->batch, o->arch.out};
  for (int v = 0; v < 2; v++) {
    if (!put_copy(run, m->t[v], 3, features, "t", v) || !put_copy(run, m->q[v], 2, whole, "q", v) ||
        !put_copy(run, m->z[v], 2, whole, "z", v) || !put_copy(run, m->r[v], 3, regions, "r", v) ||
        !put_copy(run, m->g[v], 3, regions, "g", v)) {
      return false;
    }
  }
  return true;
}

/* A block laid out as the state of a net, under PREFIX NAME. */
static bool put_block(struct case_run *run, const struct net *net, const real *block, bool statistics, const char *prefix) {
  for (int i = 0; i < net->parameters; i++) {
    char name[TENSOR_MAX_NAME];
    snprintf(name, sizeof name, "%s%s", prefix, net->parameter[i].name);
    if ((statistics || net->parameter[i].role != ROLE_STATISTIC) && !case_put_parameter(run, net, i, block, name)) return false;
  }
  return true;
}

/* All steps. teacher_before: a copy of the teacher's state, which no step may change. */
static bool run_steps(struct case_run *run, struct model *m, const struct schedule_of_case *s, const struct case_source *source) {
  const struct model_config *o = &m->config;
  ptrdiff_t shape[6] = {s->steps, s->accumulation, o->batch, o->height, o->width, 3}, teacher_size = m->teacher.net.state_size;
  ptrdiff_t view_size = o->batch * o->height * o->width * 3, index_size = o->batch * m->cells;
  struct given given;
  struct record record = {0}; /* gcc -O1 cannot see that a step fills it */
  const real *views[2];
  real *teacher_before = run_scratch(run, REAL_DTYPE, teacher_size);
  if (!(views[0] = case_images(run, source, "view1", "view1", 6, shape)) ||
      !(views[1] = case_images(run, source, "view2", "view2", 6, shape)) || !read_given(run, m, s, &given) ||
      !open_record(run, m, s, &record) || !teacher_before) {
    return false;
  }
  memcpy(teacher_before, m->teacher.state, (size_t)teacher_size * sizeof(real));
  for (ptrdiff_t k = 0; k < s->steps; k++) {
    model_zero_gradient(m);
    for (ptrdiff_t a = 0; a < s->accumulation; a++) {
      ptrdiff_t at = k * s->accumulation + a;
      const real *const pair[2] = {views[0] + at * view_size, views[1] + at * view_size};
      struct step_draws draws = {.other = given.other ? given.other + at * o->batch : NULL};
      for (int v = 0; v < 2; v++) {
        draws.diversity[v] = given.diversity[v] ? given.diversity[v] + at * index_size : NULL;
        draws.invariance[v] = given.invariance[v] ? given.invariance[v] + at * index_size : NULL;
      }
      model_set_draws(m, &draws, false);
      model_accumulate(m, pair, 1.0 / (double)s->accumulation, run->trace);
      const struct losses l = model_sums(m).last;
      write_record(m, &record, at, &l);
      if (at == 0 && !put_first(run, m)) return false;
    }
    if (k == 0 && !put_block(run, &m->online.net, m->gradient, false, "grad_param.online.")) return false;
    model_update(m, s->lr[k], s->tau[k], run->trace);
  }
  if (memcmp(teacher_before, m->teacher.state, (size_t)teacher_size * sizeof(real)) != 0) {
    return fail(run->err, "%s: the steps changed the teacher's state", run->file->name);
  }
  return put_block(run, &m->online.net, m->online.state, true, "out.online.") &&
         put_block(run, &m->target.net, m->target.state, true, "out.target.") &&
         put_block(run, &m->online.net, m->momentum, false, "out.momentum.");
}

bool REAL_NAME(case_step)(struct case_run *run) {
  struct model_config config;
  struct schedule_of_case schedule;
  struct case_source source;
  struct model m;
  ptrdiff_t regions;
  if (!case_source_read(run, &source) || !read_config(run, &config, &schedule) ||
      !model_create(&m, &config, backend_reference(), run->err)) {
    return false;
  }
  bool ok = case_integer(run->file, "regions", m.cells, m.cells, &regions, run->err) &&
            case_load_state(run, &source, &m.online.net, "online.", m.online.state) &&
            case_load_state(run, &source, &m.target.net, "target.", m.target.state) &&
            case_load_state(run, &source, &m.teacher.net, "teacher.", m.teacher.state) && run_steps(run, &m, &schedule, &source);
  model_free(&m);
  return ok;
}
