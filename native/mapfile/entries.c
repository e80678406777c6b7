/* Conversion and checks of map entries (entries.h). */

#include "mapfile/entries.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define LENGTH_AT 1
#define NAME_AT   5

enum entry_flag {
    ENTRY_WRITABLE = 1,
    ENTRY_ARCHIP = 2,
    ENTRY_ZERO = 4,
};

static const char prefix[] = {'a', 'r', 'c', 'h', 'i', 'p', '_'};

const uint8_t mapfile_zero_digest[DIGEST_BYTES] = {
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
};

static uint8_t *put_digits(uint8_t *to, const uint8_t *digest)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        *to++ = (uint8_t)digits[digest[i] >> 4];
        *to++ = (uint8_t)digits[digest[i] & 15];
    }
    return to;
}

static void put_entry(uint8_t *to, bool is_archip, const uint8_t *digest)
{
    uint8_t *name = to + NAME_AT;
    uint8_t *end = name;
    if (is_archip) {
        to[0] = ENTRY_WRITABLE | ENTRY_ARCHIP;
        memcpy(name, prefix, sizeof(prefix));
        end += sizeof(prefix);
    } else {
        to[0] = memcmp(digest, mapfile_zero_digest, DIGEST_BYTES) ? 0 : ENTRY_ZERO;
    }
    end = put_digits(end, digest);
    memset(end, 0, (size_t)(to + ENTRY_BYTES - end));
    to[LENGTH_AT] = (uint8_t)(end - name); /* little-endian, below 256 */
    memset(to + LENGTH_AT + 1, 0, 3);
}

int mapfile_count_entries(int version, size_t length, size_t *count)
{
    size_t size = DIGEST_BYTES + (size_t)(version == 1);
    if (version < 0 || version > 1 || length % size != 0)
        return -EINVAL;
    *count = length / size;
    return 0;
}

int mapfile_convert_entries(int version, const uint8_t *entries, size_t length, uint8_t *to)
{
    size_t count;
    int result = mapfile_count_entries(version, length, &count);
    if (result < 0)
        return result;
    for (; count > 0; count--, to += ENTRY_BYTES) {
        bool is_archip = version == 1 && *entries++ != 0;
        put_entry(to, is_archip, entries);
        entries += DIGEST_BYTES;
    }
    return 0;
}

int mapfile_check_entries(const uint8_t *block, size_t length, size_t *first)
{
    if (length % ENTRY_BYTES != 0)
        return -EINVAL;
    size_t count = length / ENTRY_BYTES;
    size_t i = 0;
    for (; i < count; i++) {
        const uint8_t *at = block + i * ENTRY_BYTES + LENGTH_AT;
        if (at[0] > MAX_NAME_SIZE || at[1] || at[2] || at[3])
            break;
    }
    *first = i;
    return 0;
}
