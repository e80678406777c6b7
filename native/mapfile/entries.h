/*
 * The entries of maps: those of older versions converted to v2, and malformed v2 entries found.
 * Bytes in, bytes out; no file is touched. archipmigrate/maps/format/codec.py does the same in
 * Python and documents the rules.
 *
 *     v0   32 bytes digest
 *     v1   u8 flag, 32 bytes digest
 *     v2   u8 flags, u32 name length (little-endian), 123 bytes name, zero padded
 *
 * Headers are read in Python only: a map has one.
 */

#ifndef ARCHIPMIGRATE_MAPFILE_ENTRIES_H
#define ARCHIPMIGRATE_MAPFILE_ENTRIES_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES  32
#define ENTRY_BYTES   128
#define MAX_NAME_SIZE (ENTRY_BYTES - 5)

/* sha256 of the empty string: the digest of an object of zeros, which is not stored. */
extern const uint8_t mapfile_zero_digest[DIGEST_BYTES];

/* Count the entries of a map of `version` 0 or 1; -EINVAL unless the bytes are whole entries. */
int mapfile_count_entries(int version, size_t length, size_t *count);

/*
 * Convert the entries of a map of `version` 0 or 1 to v2; `to` has room for ENTRY_BYTES for each.
 * -EINVAL, and nothing is written, unless the bytes are whole entries.
 */
int mapfile_convert_entries(int version, const uint8_t *entries, size_t length, uint8_t *to);

/*
 * Find the first v2 entry whose name is longer than its field: its index, or the number of entries
 * if there is none. -EINVAL unless the bytes are whole entries.
 */
int mapfile_check_entries(const uint8_t *block, size_t length, size_t *first);

#endif
