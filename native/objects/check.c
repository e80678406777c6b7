/* Looking for objects by their names (check.h). */

#define _GNU_SOURCE
#include "objects/check.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "core/sha256.h"
#include "mapfile/entries.h"
#include "objects/moves.h"

#define PREFIX      "archip_"
#define NAME_SIZE   (sizeof(PREFIX) - 1 + 2 * DIGEST_BYTES)
#define PATH_LENGTH (PLACE_LENGTH + 1 + NAME_SIZE)

static void put_hex(char *to, const uint8_t *bytes, size_t count)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < count; i++) {
        to[2 * i] = digits[bytes[i] >> 4];
        to[2 * i + 1] = digits[bytes[i] & 15];
    }
}

static bool is_at(int root, const uint8_t *place, const char *name, size_t length,
                  const struct features *features)
{
    char path[PATH_LENGTH + 1];
    move_place_path(place, path);
    path[PLACE_LENGTH] = '/';
    memcpy(path + PLACE_LENGTH + 1, name, length);
    int fd = sys_open_beneath(root, path, PLACE_LENGTH + 1 + length, PIN, features);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Say whether an object is where v0.4 looks; Pithos' place begins with the digits of the name. */
static bool is_found(int root, const uint8_t *entry, const struct features *features)
{
    char name[NAME_SIZE];
    uint8_t head[4];
    size_t prefix = entry[0] ? sizeof(PREFIX) - 1 : 0;
    memcpy(name, PREFIX, prefix);
    put_hex(name + prefix, entry + 1, DIGEST_BYTES);
    size_t length = prefix + 2 * DIGEST_BYTES;
    if (!entry[0] && is_at(root, entry + 1, name, length, features))
        return true;
    sha256_head((const uint8_t *)name, length, head);
    return is_at(root, head, name, length, features);
}

int objects_check(int root, const uint8_t *entries, size_t count, const struct features *features,
                  size_t *looked, struct buffer *left)
{
    int result = 0;
    *looked = 0;
    for (uint32_t i = 0; result == 0 && i < count; i++) {
        const uint8_t *entry = entries + i * (size_t)MAP_ENTRY_SIZE;
        if (!entry[0] && memcmp(entry + 1, mapfile_zero_digest, DIGEST_BYTES) == 0)
            continue;
        if (is_found(root, entry, features))
            ++*looked;
        else
            result = buffer_put(left, &i, sizeof(i));
    }
    return result;
}
