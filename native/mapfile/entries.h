/*
 * The entries of maps: older ones as those of v2, and which of these are malformed. Bytes in, bytes
 * out, no file is touched; archipmigrate/mapfile/codec.py is the same in Python and has the rules.
 *
 *     v0   32 bytes digest
 *     v1   u8 flag, 32 bytes digest
 *     v2   u8 flags, u32 name length (little-endian), 123 bytes name, zero padded
 *
 * Headers are read in Python only: there is one a map.
 */

#ifndef ARCHIPMIGRATE_MAPFILE_ENTRIES_H
#define ARCHIPMIGRATE_MAPFILE_ENTRIES_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES   32
#define ENTRY_BYTES    128
#define MOST_NAME_SIZE (ENTRY_BYTES - 5)

/* How many whole entries of a map of `version` 0 or 1 these bytes are; -EINVAL if they are not. */
int mapfile_count_entries(int version, size_t length, size_t *count);

/*
 * Write a v2 entry for each of the entries in a map of `version` 0 or 1; `to` has room for
 * ENTRY_BYTES for each. -EINVAL, and nothing is written, unless all are whole.
 */
int mapfile_convert_entries(int version, const uint8_t *entries, size_t length, uint8_t *to);

/*
 * Give the index of the first v2 entry with a name that is longer than its field, or how many
 * entries there are. -EINVAL unless all are whole.
 */
int mapfile_check_entries(const uint8_t *block, size_t length, size_t *first);

#endif
