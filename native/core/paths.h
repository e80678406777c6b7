/*
 * Paths of directories that wait to be walked, in a buffer: last in, first out.
 *
 *     path   u32 length, bytes, u32 length
 */

#ifndef ARCHIPMIGRATE_CORE_PATHS_H
#define ARCHIPMIGRATE_CORE_PATHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"

/* Add the path of a directory, or of a name (not empty) in it. 0 or -ENOMEM. */
int paths_push(struct buffer *paths, const struct buffer *directory, const void *name,
               size_t name_length);

/* Take the last path from a buffer that is not empty; it is there until the next push. */
const uint8_t *paths_pop(struct buffer *paths, size_t *length);

/* Take the path at *at, in the order in which they came; false at their end. */
bool paths_next(const struct buffer *paths, size_t *at, const uint8_t **path, size_t *length);

#endif
