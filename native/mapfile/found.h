/*
 * What a file among the maps is: the plain cases of maps/survey/classify.py.
 *
 *     struct found_name   a name in a directory: whose file it is, and by whose rule it lies there
 *     struct found_head   what a map is by its first bytes
 *
 * Plain: maps that v0.3 or v0.4 can read, blocks and locks, each where v0.4 looks, or (maps of v0.3
 * and locks) where v0.3 put it. Maps whose names are digests are not: they may be of Pithos.
 */

#ifndef ARCHIPMIGRATE_MAPFILE_FOUND_H
#define ARCHIPMIGRATE_MAPFILE_FOUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FOUND_HEAD_BYTES 32

/* The numbers are in journals: Role of layout/names.py, Placement of layout/placement.py. */
enum found_role { FOUND_MAP = 0, FOUND_BLOCK = 1, FOUND_LOCK = 2 };
enum found_placement { FOUND_V04 = 0, FOUND_V03 = 1 };

struct found_name {
    enum found_role role;
    enum found_placement placement;
    bool prefixed;
    const uint8_t *volume; /* part of the name */
    size_t volume_length;
    uint64_t number; /* of a block */
};

struct found_head {
    unsigned version;
    uint64_t size, epoch;
    uint32_t block_size, flags;
};

/* Take apart a name of 1 to 255 bytes; false if it is not plain. */
bool found_parse(const uint8_t *directory, size_t directory_length, const uint8_t *name,
                 size_t length, struct found_name *found);

/* Read the first bytes of a map whose file has `length` bytes; false if it is not plain. */
bool found_read_head(const uint8_t *raw, size_t raw_length, uint64_t length,
                     struct found_head *head);

#endif
