/* Shapes and textures of scenes as functions of the plane, with their own antialiasing. */
#ifndef EDIY_PROGRAM_SCENE_TEXTURE_H
#define EDIY_PROGRAM_SCENE_TEXTURE_H

#include <stdint.h>

enum scene_texture { STRIPED, DOTTED, CHECKED, RINGED, BRICKED, ZIGZAG, MOTTLED, CROSSED, GRIDDED, HARLEQUIN };

/* The part of a pixel that lies inside an edge at signed distance d (positive inside), with pixel the width of one in the same unit. */
static inline double scene_coverage(double d, double pixel) {
  double t = d / pixel + 0.5;
  return t < 0 ? 0 : t > 1 ? 1 : t;
}

/* Signed distance to the outline of a shape that fills the unit circle, positive inside. */
double scene_shape(int shape, double x, double y);

/* How much of the pixel at (u, v) shows the figure of a texture of period 1 rather than its ground: 0 to 1. */
double scene_texture(enum scene_texture texture, double u, double v, double pixel, uint32_t salt);

/* Smooth noise of period 1 in [0, 1]: the two octaves of value noise that the ground and the mottled texture are made of. */
double scene_noise(double u, double v, uint32_t salt);

extern const char *const scene_texture_names[], *const scene_shape_names[];

#endif
