/*
 * Which directories of the third level there are: known of those of the second that were read. So
 * most objects, whose new directory is not there, need no call to find that out.
 *
 * `leaves` are LEAVES bytes for a root, zeroed at first, shared by all threads.
 */

#ifndef ARCHIPMIGRATE_OBJECTS_LEAVES_H
#define ARCHIPMIGRATE_OBJECTS_LEAVES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/system.h"

#define LEAVES (65536 + 65536 * 256 / 8) /* what is known of each directory; a bit for each leaf */

/* Take note of one name in a directory of the second level (aa/bb); of all, once they are noted. */
void leaves_note_name(uint8_t *leaves, const char *directory, const char *name);
void leaves_note_all(uint8_t *leaves, const char *directory);

/*
 * Say whether the directory of a place is known to be missing. A directory of the second level is
 * read for it, once it was asked for often.
 */
bool leaves_lack(uint8_t *leaves, int root, const uint8_t *place, const struct features *features);

#endif
