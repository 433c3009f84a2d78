#include "program/scene.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/philox.h"
#include "program/scene_texture.h"

/* Lengths are in units of the image's side. */
struct colour {
  double r, g, b;
};

struct direction {
  double x, y; /* a unit vector: cosine and sine of an angle nobody needed */
};

struct object {
  int label, shape;
  enum scene_texture texture;
  double x, y, radius;
  struct direction shape_turn, texture_turn;
  double period, phase_u, phase_v;
  uint32_t salt;
  struct colour figure, ground;
};

enum { MOST_OBJECTS = 4 };

struct scene {
  struct object object[MOST_OBJECTS]; /* back to front: the dominant one is the last */
  int objects;
  struct colour ground[2];
  double ground_scale;
  double contrast, middle; /* of the whole picture: a value v becomes middle + contrast (v - 1/2) */
  struct direction ground_turn, light;
  uint32_t salt;
};

static enum scene_texture texture_of(int label) { return (enum scene_texture)(label % SCENE_TEXTURES); }

/* Neighbouring labels differ in shape too; labels that share a texture never share the shape. */
static int shape_of(int label) { return (label + 3 * (label / SCENE_TEXTURES)) % SCENE_SHAPES; }

void scene_class_name(int label, char name[SCENE_NAME]) {
  snprintf(name, SCENE_NAME, "%02d-%s-%s", label, scene_texture_names[texture_of(label)], scene_shape_names[shape_of(label)]);
}

static double uniform(struct philox *g, double from, double to) { return from + (to - from) * philox_uniform(g); }

/* A point drawn in the ring between radius 1/4 and 1, by rejection, and stretched to length 1. */
static struct direction random_direction(struct philox *g) {
  for (;;) {
    double x = uniform(g, -1, 1), y = uniform(g, -1, 1), square = x * x + y * y;
    if (square <= 1 && square > 0.0625) return (struct direction){x / sqrt(square), y / sqrt(square)};
  }
}

static double clamp01(double x) { return x < 0 ? 0 : x > 1 ? 1 : x; }

/* Any hue, moved along the grey axis to this luma; vivid is the share of the colour that is left, the rest is grey. */
static struct colour random_colour(struct philox *g, double luma, double vivid) {
  struct colour c = {philox_uniform(g), 0, 0};
  c.g = philox_uniform(g);
  c.b = philox_uniform(g);
  double own = 0.299 * c.r + 0.587 * c.g + 0.114 * c.b;
  return (struct colour){clamp01(luma + vivid * (c.r - own)), clamp01(luma + vivid * (c.g - own)), clamp01(luma + vivid * (c.b - own))};
}

static struct colour mix(struct colour a, struct colour b, double t) {
  return (struct colour){a.r + t * (b.r - a.r), a.g + t * (b.g - a.g), a.b + t * (b.b - a.b)};
}

static void draw_object(struct philox *g, struct object *o, int label, double x, double y, double radius, double vivid) {
  *o = (struct object){.label = label, .shape = shape_of(label), .texture = texture_of(label), .x = x, .y = y, .radius = radius};
  o->shape_turn = random_direction(g);
  o->texture_turn = random_direction(g);
  o->period = uniform(g, 0.15, 0.25);    /* wide enough to survive the blur of a view */
  if (o->radius < 0.2) o->period *= 0.5; /* a small object shows a few periods too */
  o->phase_u = philox_uniform(g);
  o->phase_v = philox_uniform(g);
  o->salt = philox_u32(g);
  struct colour dark = random_colour(g, uniform(g, 0.05, 0.35), vivid), light = random_colour(g, uniform(g, 0.65, 0.95), vivid);
  bool swap = philox_below(g, 2) == 1;
  o->figure = swap ? light : dark;
  o->ground = swap ? dark : light;
}

/* Every random number of a scene, in one fixed order. */
static struct scene compose(uint64_t seed, int split, uint32_t index, int label, int classes) {
  struct philox stream = philox_stream(seed, PHILOX_SCENES, (uint32_t)split, index, 0), *g = &stream;
  struct scene s = {.objects = 2 + (int)philox_below(g, MOST_OBJECTS - 1)};
  double vivid = uniform(g, 0, 0.35);
  s.contrast = uniform(g, 0.75, 1);
  s.middle = uniform(g, 0.4, 0.6);
  s.ground[0] = random_colour(g, uniform(g, 0.3, 0.7), vivid);
  s.ground[1] = mix(s.ground[0], random_colour(g, uniform(g, 0.3, 0.7), vivid), 0.35);
  s.ground_scale = uniform(g, 3, 9);
  s.ground_turn = random_direction(g);
  s.light = random_direction(g);
  s.salt = philox_u32(g);
  double radius = uniform(g, 0.36, 0.48), x = uniform(g, 0.42, 0.58), y = uniform(g, 0.42, 0.58);
  for (int i = 0; i < s.objects - 1; i++) { /* the others stand around, half hidden by the dominant one at most */
    struct direction d = random_direction(g);
    double r = uniform(g, 0.10, 0.16), away = radius + uniform(g, 0.3, 1.2) * r;
    draw_object(g, &s.object[i], (int)philox_below(g, (uint32_t)classes), x + away * d.x, y + away * d.y, r, vivid);
  }
  draw_object(g, &s.object[s.objects - 1], label, x, y, radius, vivid);
  return s;
}

/* The object's colour at (x, y), and in *cover how much of the pixel it covers. */
static struct colour shade_object(const struct object *o, double x, double y, double pixel, double *distance, double *cover) {
  double dx = (x - o->x) / o->radius, dy = (y - o->y) / o->radius;
  struct direction s = o->shape_turn, t = o->texture_turn;
  *distance = -1;
  *cover = 0;
  if (dx * dx + dy * dy > 1.2) return o->ground; /* shapes stay within the unit circle; the rest is antialiasing */
  *distance = scene_shape(o->shape, s.x * dx + s.y * dy, s.x * dy - s.y * dx);
  *cover = scene_coverage(*distance, pixel / o->radius);
  double scale = o->radius / o->period, u = scale * (t.x * dx + t.y * dy), v = scale * (t.x * dy - t.y * dx);
  bool centred = o->texture == RINGED; /* rings lie around the middle of the object, whatever the phase */
  double figure = scene_texture(o->texture, centred ? u : u + o->phase_u, centred ? v : v + o->phase_v, pixel / o->period, o->salt);
  return mix(o->ground, o->figure, figure);
}

static uint8_t byte(double value) { return (uint8_t)(255 * clamp01(value) + 0.5); }

void scene_draw(uint64_t seed, int split, uint32_t index, int label, int classes, int size, uint8_t *rgb, uint8_t *map) {
  assert(label >= 0 && label < classes && classes <= SCENE_CLASSES && size > 0);
  struct scene s = compose(seed, split, index, label, classes);
  double pixel = 1.0 / size;
  for (int row = 0; row < size; row++) {
    for (int column = 0; column < size; column++) {
      double x = (column + 0.5) * pixel, y = (row + 0.5) * pixel;
      struct direction t = s.ground_turn;
      /* the ground's mottling is drawn out to twice its width in one direction, as grass or wood is */
      double noise = scene_noise(s.ground_scale * (t.x * x + t.y * y), 0.5 * s.ground_scale * (t.x * y - t.y * x), s.salt);
      struct colour c = mix(s.ground[0], s.ground[1], noise);
      uint8_t top = 0;
      for (int i = 0; i < s.objects; i++) {
        double distance, cover;
        struct colour over = shade_object(&s.object[i], x, y, pixel, &distance, &cover);
        c = mix(c, over, cover);
        if (distance > 0) top = (uint8_t)(1 + s.object[i].label);
      }
      double light = 1 + 0.3 * (s.light.x * (x - 0.5) + s.light.y * (y - 0.5));
      ptrdiff_t p = (ptrdiff_t)row * size + column;
      rgb[3 * p] = byte(s.middle + s.contrast * (light * c.r - 0.5));
      rgb[3 * p + 1] = byte(s.middle + s.contrast * (light * c.g - 0.5));
      rgb[3 * p + 2] = byte(s.middle + s.contrast * (light * c.b - 0.5));
      map[p] = top;
    }
  }
}
