/*
 * Check: whether the objects that a v1 map names are where v0.4 looks for them.
 *
 * Plain: objects at the place by their sha256, and for those of Pithos at its place. What is not
 * found there is left to relocate/missing.py, which looks elsewhere, too, and says what it is.
 */

#ifndef ARCHIPMIGRATE_OBJECTS_CHECK_H
#define ARCHIPMIGRATE_OBJECTS_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/system.h"

#define MAP_ENTRY_SIZE 33 /* of v1: u8 flag, 32 bytes digest */

/*
 * Look for the objects of the entries of a map below `root`, but for those of zeros. Count those
 * that are found, and put the indices (uint32_t) of those that are left into `left`, which is the
 * caller's to free. 0, or -ENOMEM.
 */
int objects_check(int root, const uint8_t *entries, size_t count, const struct features *features,
                  size_t *looked, struct buffer *left);

#endif
