#include "program/scene_texture.h"

#include <math.h>
#include <stddef.h>

#include "program/scene.h"

enum { DISC, TRIANGLE, SQUARE, STAR, CROSS, HEXAGON };

const char *const scene_texture_names[SCENE_TEXTURES] = {"striped", "dotted",  "checked", "ringed",  "bricked",
                                                         "zigzag",  "mottled", "crossed", "gridded", "harlequin"};
const char *const scene_shape_names[SCENE_SHAPES] = {"disc", "triangle", "square", "star", "cross", "hexagon"};

struct point {
  double x, y;
};

/* Corners on or in the unit circle. The decimals are the definition: no library function has computed them. */
static const struct point triangle[] = {{0, -1}, {0.866025, 0.5}, {-0.866025, 0.5}};
static const struct point square[] = {{-0.707107, -0.707107}, {0.707107, -0.707107}, {0.707107, 0.707107}, {-0.707107, 0.707107}};
static const struct point hexagon[] = {{1, 0}, {0.5, 0.866025}, {-0.5, 0.866025}, {-1, 0}, {-0.5, -0.866025}, {0.5, -0.866025}};
static const struct point cross[] = {{-0.38, -0.92}, {0.38, -0.92}, {0.38, -0.38}, {0.92, -0.38}, {0.92, 0.38},   {0.38, 0.38},
                                     {0.38, 0.92},   {-0.38, 0.92}, {-0.38, 0.38}, {-0.92, 0.38}, {-0.92, -0.38}, {-0.38, -0.38}};
static const struct point star[] = {{0, -1},  {0.293893, -0.404508}, {0.951057, -0.309017}, {0.475528, 0.154508},   {0.587785, 0.809017},
                                    {0, 0.5}, {-0.587785, 0.809017}, {-0.475528, 0.154508}, {-0.951057, -0.309017}, {-0.293893, -0.404508}};

/* Distance to the nearest edge; a ray to the right crosses the outline an odd number of times from inside. */
static double polygon(const struct point *p, int corners, double x, double y) {
  double least = HUGE_VAL;
  int inside = 0;
  for (int i = 0, j = corners - 1; i < corners; j = i++) {
    double ex = p[i].x - p[j].x, ey = p[i].y - p[j].y, wx = x - p[j].x, wy = y - p[j].y;
    double t = (wx * ex + wy * ey) / (ex * ex + ey * ey);
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    double dx = wx - t * ex, dy = wy - t * ey, d = dx * dx + dy * dy;
    if (d < least) least = d;
    if ((p[i].y > y) != (p[j].y > y) && x < p[j].x + ex * (y - p[j].y) / ey) inside = !inside;
  }
  return inside ? sqrt(least) : -sqrt(least);
}

#define POLYGON(p) polygon(p, (int)(sizeof p / sizeof p[0]), x, y)

double scene_shape(int shape, double x, double y) {
  switch (shape) {
  case TRIANGLE: return POLYGON(triangle);
  case SQUARE: return POLYGON(square);
  case STAR: return POLYGON(star);
  case CROSS: return POLYGON(cross);
  case HEXAGON: return POLYGON(hexagon);
  default: return 0.9 - sqrt(x * x + y * y);
  }
}

/* A number in [0, 1) for a point of the integer lattice: multiply and shift until every bit of the input has reached the top ones. */
static double lattice(int32_t i, int32_t j, uint32_t salt) {
  uint32_t h = (uint32_t)i * 0x9e3779b1u ^ ((uint32_t)j * 0x85ebca6bu + salt);
  h = (h ^ h >> 16) * 0x7feb352du;
  h = (h ^ h >> 15) * 0x846ca68bu;
  return (h >> 8) * 0x1p-24;
}

static double octave(double u, double v, uint32_t salt) {
  double fu = floor(u), fv = floor(v), a = u - fu, b = v - fv;
  int32_t i = (int32_t)fu, j = (int32_t)fv;
  a = a * a * (3 - 2 * a);
  b = b * b * (3 - 2 * b);
  double top = lattice(i, j, salt) * (1 - a) + lattice(i + 1, j, salt) * a;
  double bottom = lattice(i, j + 1, salt) * (1 - a) + lattice(i + 1, j + 1, salt) * a;
  return top * (1 - b) + bottom * b;
}

double scene_noise(double u, double v, uint32_t salt) { return (2 * octave(u, v, salt) + octave(2 * u + 0.5, 2 * v + 0.5, salt + 1)) / 3; }

double scene_texture(enum scene_texture texture, double u, double v, double pixel, uint32_t salt) {
  double x = u - floor(u) - 0.5, y = v - floor(v) - 0.5; /* in the cell, -1/2 to 1/2 */
  double ax = fabs(x), ay = fabs(y);
  switch (texture) {
  case STRIPED: return scene_coverage(0.25 - ax, pixel);
  case DOTTED: return scene_coverage(0.34 - sqrt(x * x + y * y), pixel);
  case CHECKED: {
    double a = scene_coverage(0.25 - ax, pixel), b = scene_coverage(0.25 - ay, pixel);
    return a * b + (1 - a) * (1 - b);
  }
  case RINGED: {
    double r = sqrt(u * u + v * v);
    return scene_coverage(0.25 - fabs(r - floor(r) - 0.5), pixel);
  }
  case BRICKED: { /* courses half a period high, every other one shifted by half a brick; mortar 0.1 thick */
    double row = floor(2 * v), along = u + 0.5 * (row - 2 * floor(row / 2));
    double du = 0.5 - fabs(along - floor(along) - 0.5), dv = 0.25 - fabs(v - 0.5 * row - 0.25);
    return scene_coverage((du < dv ? du : dv) - 0.05, pixel);
  }
  case ZIGZAG: { /* stripes bent by a triangle wave of slope 1, whose distances are longer by sqrt(2) */
    double bent = v + ax, f = bent - floor(bent);
    return scene_coverage((0.25 - fabs(f - 0.5)) / 1.4142135, pixel);
  }
  case MOTTLED: return scene_coverage(0.4 * (scene_noise(1.6 * u, 1.6 * v, salt) - 0.5), pixel);
  case CROSSED: {
    double a = 0.14 - ax < 0.42 - ay ? 0.14 - ax : 0.42 - ay, b = 0.14 - ay < 0.42 - ax ? 0.14 - ay : 0.42 - ax;
    return scene_coverage(a > b ? a : b, pixel);
  }
  case GRIDDED: {
    double border = 0.5 - (ax > ay ? ax : ay);
    return scene_coverage(0.13 - border, pixel);
  }
  default: { /* harlequin: every cell cut along its diagonal */
    double diagonal = (x - y) / 1.4142135, side = y + 0.5 < 0.5 - x ? y + 0.5 : 0.5 - x;
    return scene_coverage(diagonal < side ? diagonal : side, pixel);
  }
  }
}
