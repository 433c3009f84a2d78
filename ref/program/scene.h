/* Procedural scenes: textured objects on a textured ground, the material of `ediy scenes`.
 *
 * The class of a scene is that of its dominant object: a texture and a shape. Colours, brightness, contrast direction, orientation and
 * place are drawn independently of the class, so that a network that looks at colour (as one with random weights does) learns nothing
 * about it, while one that has become indifferent to colour, place and crop does.
 *
 * A scene is a pure function of (seed, split, index, label, classes, size). Its arithmetic is double with + - * / sqrt and floor only,
 * which IEEE 754 rounds in one way: the bytes are the same on every machine. (sin, exp and the like differ between C libraries.)
 */
#ifndef EDIY_PROGRAM_SCENE_H
#define EDIY_PROGRAM_SCENE_H

#include <stdint.h>

enum { SCENE_TEXTURES = 10, SCENE_SHAPES = 6, SCENE_CLASSES = SCENE_TEXTURES * SCENE_SHAPES, SCENE_NAME = 40 };

/* "03-ringed-star": the number in front makes byte order of the folders the order of the labels. */
void scene_class_name(int label, char name[SCENE_NAME]);

/* Draws one scene. rgb: size x size x 3; map: size x size, 0 for ground and 1 + label for the object on top at the pixel's centre.
 * The objects beside the dominant one are of labels below `classes`. */
void scene_draw(uint64_t seed, int split, uint32_t index, int label, int classes, int size, uint8_t *rgb, uint8_t *map);

#endif
