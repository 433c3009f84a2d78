#include "oracle/case.h"

#include <string.h>

#include "oracle/values.h"

static const char *const given_prefixes[] = {"in.", "param.", "grad_out."};
static const char *const expected_prefixes[] = {"out.", "grad_in.", "grad_param."};

static bool starts_with_any(const char *name, const char *const *prefixes, int count) {
  for (int i = 0; i < count; i++) {
    if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) return true;
  }
  return false;
}

bool case_expected(const struct tensor *t) { return starts_with_any(t->name, expected_prefixes, 3); }

/* "x/cases/conv/1x1_s1.safetensors" -> "conv/1x1_s1" */
static void name_from_path(char name[CASE_MAX_NAME], const char *path) {
  const char *start = path, *end = strrchr(path, '.');
  const char *slash = strrchr(path, '/');
  if (slash) {
    start = slash;
    while (start > path && start[-1] != '/') start--;
  }
  if (!end || (slash && end < slash)) end = path + strlen(path);
  size_t length = (size_t)(end - start);
  if (length >= CASE_MAX_NAME) length = CASE_MAX_NAME - 1;
  memcpy(name, start, length);
  name[length] = 0;
}

/* The metadata value of this key as a JSON object. Absent: *object is null, which is an error if required. */
static bool parse_object(const struct safetensors *f, const char *key, bool required, json_t **object, struct error *err) {
  json_error_t problem;
  const char *text = safetensors_metadata(f, key);
  *object = NULL;
  if (!text) return !required || fail(err, "%s: metadata has no \"%s\"; a case needs it", f->path, key);
  *object = json_loads(text, JSON_REJECT_DUPLICATES, &problem);
  if (!*object) return fail(err, "%s: metadata \"%s\" is not JSON: %s", f->path, key, problem.text);
  if (!json_is_object(*object)) return fail(err, "%s: metadata \"%s\" is not a JSON object", f->path, key);
  return true;
}

static bool check(struct case_file *c, struct error *err) {
  const struct safetensors *f = &c->file;
  const char *format = safetensors_metadata(f, "format");
  if (!format || strcmp(format, "ediy-case-1") != 0) {
    return fail(err, "%s: not a case: metadata \"format\" is \"%s\", expected \"ediy-case-1\"", f->path, format ? format : "(none)");
  }
  c->op = safetensors_metadata(f, "op");
  if (!c->op) return fail(err, "%s: metadata has no \"op\"; a case names its operation", f->path);
  c->layout = safetensors_metadata(f, "layout");
  if (!c->layout) return fail(err, "%s: metadata has no \"layout\"", f->path);
  if (!parse_object(f, "attrs", true, &c->attributes, err) || !parse_object(f, "float32", false, &c->float32, err) ||
      !parse_object(f, "float32_l2", false, &c->float32_l2, err)) {
    return false;
  }
  if (!values_known(f, err)) return false;
  int expected = 0;
  for (int i = 0; i < f->count; i++) {
    const struct tensor *t = &f->tensor[i];
    if (tensor_count(t) < 1) return fail(err, "%s: tensor %s has no elements", f->path, t->name);
    if (case_expected(t)) {
      expected++;
    } else if (!starts_with_any(t->name, given_prefixes, 3)) {
      return fail(err, "%s: tensor %s: a name starts with in. param. grad_out. out. grad_in. or grad_param.", f->path, t->name);
    }
  }
  return expected > 0 || fail(err, "%s: nothing is expected: no tensor out.*, grad_in.* or grad_param.*", f->path);
}

bool case_open(struct case_file *c, const char *path, struct error *err) {
  *c = (struct case_file){0};
  name_from_path(c->name, path);
  if (!safetensors_open(&c->file, path, err)) return false;
  if (check(c, err)) return true;
  case_close(c);
  return false;
}

void case_close(struct case_file *c) {
  json_decref(c->attributes);
  json_decref(c->float32);
  json_decref(c->float32_l2);
  safetensors_close(&c->file);
  *c = (struct case_file){0};
}

bool case_has(const struct case_file *c, const char *key) { return json_object_get(c->attributes, key) != NULL; }

static const json_t *attribute(const struct case_file *c, const char *key, struct error *err) {
  const json_t *value = json_object_get(c->attributes, key);
  if (!value) fail(err, "%s: attribute \"%s\" is missing (operation %s)", c->file.path, key, c->op);
  return value;
}

bool case_number(const struct case_file *c, const char *key, double *value, struct error *err) {
  const json_t *v = attribute(c, key, err);
  if (!v) return false;
  if (!json_is_number(v)) return fail(err, "%s: attribute \"%s\" is not a number", c->file.path, key);
  *value = json_number_value(v);
  return true;
}

bool case_integer(const struct case_file *c, const char *key, ptrdiff_t min, ptrdiff_t max, ptrdiff_t *value, struct error *err) {
  const json_t *v = attribute(c, key, err);
  if (!v) return false;
  if (!json_is_integer(v)) return fail(err, "%s: attribute \"%s\" is not an integer", c->file.path, key);
  json_int_t i = json_integer_value(v);
  if (i < min || i > max) {
    return fail(err, "%s: attribute \"%s\" is %" JSON_INTEGER_FORMAT ", expected %td to %td", c->file.path, key, i, min, max);
  }
  *value = (ptrdiff_t)i;
  return true;
}

bool case_flag(const struct case_file *c, const char *key, bool *value, struct error *err) {
  const json_t *v = attribute(c, key, err);
  if (!v) return false;
  if (!json_is_boolean(v)) return fail(err, "%s: attribute \"%s\" is not true or false", c->file.path, key);
  *value = json_is_true(v);
  return true;
}

bool case_text(const struct case_file *c, const char *key, const char **value, struct error *err) {
  const json_t *v = attribute(c, key, err);
  if (!v) return false;
  if (!json_is_string(v)) return fail(err, "%s: attribute \"%s\" is not a string", c->file.path, key);
  *value = json_string_value(v);
  return true;
}

bool case_choice(const struct case_file *c, const char *key, const char *const *choices, int count, int *value, struct error *err) {
  const char *text = NULL;
  if (!case_text(c, key, &text, err)) return false;
  for (int i = 0; i < count; i++) {
    if (strcmp(text, choices[i]) == 0) {
      *value = i;
      return true;
    }
  }
  fail(err, "%s: attribute \"%s\" is \"%s\", expected", c->file.path, key, text);
  for (int i = 0; err && i < count; i++) {
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, "%s %s", i ? " |" : "", choices[i]);
  }
  return false;
}
