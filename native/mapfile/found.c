/* Files among the maps (found.h). */

#define _GNU_SOURCE
#include "mapfile/found.h"

#include <endian.h>
#include <string.h>

#include "core/packing.h"
#include "core/sha256.h"

#define PREFIX        "archip_"
#define PREFIX_LENGTH 7
#define LOCK          "_lock"
#define LOCK_LENGTH   5
#define OWN_PART      ".archipmigrate_"
#define DIGITS        16 /* of a block's number */
#define DIGEST        64
#define PLACE_LENGTH  8 /* of aa/bb/cc */
#define OBJECT_SIZE   (4 << 20)
#define ENTRY_V1      33
#define HEADER_V1     12
#define ENTRY_V2      128

static const char HEADER_V2[] = {'A', 'M', 'F', '.', 0, 0, 0, 2};

/* Read lowercase hex digits; only the last 16 count. */
static bool read_digits(const uint8_t *at, size_t length, uint64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < length; i++) {
        bool is_decimal = at[i] >= '0' && at[i] <= '9';
        if (!is_decimal && !(at[i] >= 'a' && at[i] <= 'f'))
            return false;
        *number = *number << 4 | (uint64_t)(is_decimal ? at[i] - '0' : at[i] - 'a' + 10);
    }
    return true;
}

static bool has(const uint8_t *name, size_t length, const char *part)
{
    return memmem(name, length, part, strlen(part)) != NULL;
}

static bool lies_by_digest(const uint8_t *directory, const uint8_t *name, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t head[4];
    sha256_head(name, length, head);
    for (int i = 0; i < 3; i++)
        if (directory[3 * i] != digits[head[i] >> 4] ||
            directory[3 * i + 1] != digits[head[i] & 15])
            return false;
    return true;
}

/* Say whether v0.3 put a file there: by the six bytes that follow as many as its prefix has. */
static bool lies_by_name(const uint8_t *directory, const uint8_t *name, size_t length)
{
    if (length < PREFIX_LENGTH + 6)
        return false;
    const uint8_t *six = name + PREFIX_LENGTH;
    for (int i = 0; i < 3; i++)
        if (memcmp(six + 2 * i, "..", 2) == 0 || memcmp(directory + 3 * i, six + 2 * i, 2) != 0)
            return false;
    return true;
}

static bool is_at_third_level(const uint8_t *directory, size_t length)
{
    return length == PLACE_LENGTH && directory[2] == '/' && directory[5] == '/' &&
           !memchr(directory, '/', 2) && !memchr(directory + 3, '/', 2) &&
           !memchr(directory + 6, '/', 2);
}

/* Set the role of a file, and the volume that its name begins with. */
static bool parse_role(const uint8_t *name, size_t length, struct found_name *found)
{
    uint64_t number;
    found->volume = name;
    if (has(name, length, OWN_PART))
        return false;
    if (length > LOCK_LENGTH && memcmp(name + length - LOCK_LENGTH, LOCK, LOCK_LENGTH) == 0) {
        found->role = FOUND_LOCK;
        found->volume_length = length - LOCK_LENGTH;
        return true;
    }
    if (has(name, length, LOCK))
        return false;
    if (length > DIGITS + 1 && name[length - DIGITS - 1] == '_' &&
        read_digits(name + length - DIGITS, DIGITS, &number)) {
        found->role = FOUND_BLOCK;
        found->number = number;
        found->volume_length = length - DIGITS - 1;
        return true;
    }
    found->role = FOUND_MAP;
    found->volume_length = length;
    return !(length == DIGEST && read_digits(name, length, &number));
}

static bool skip_prefix(struct found_name *found)
{
    if (found->volume_length < PREFIX_LENGTH || memcmp(found->volume, PREFIX, PREFIX_LENGTH) != 0)
        return false;
    found->volume += PREFIX_LENGTH;
    found->volume_length -= PREFIX_LENGTH;
    return true;
}

bool found_parse(const uint8_t *directory, size_t directory_length, const uint8_t *name,
                 size_t length, struct found_name *found)
{
    *found = (struct found_name){0};
    if (!is_at_third_level(directory, directory_length) || !parse_role(name, length, found))
        return false;
    found->prefixed = skip_prefix(found);
    struct found_name rest = *found;
    if (!found->volume_length || skip_prefix(&rest)) /* archip_archip_...: no volume's */
        return false;
    if (lies_by_digest(directory, name, length)) {
        found->placement = FOUND_V04;
        return true;
    }
    found->placement = FOUND_V03;
    bool is_of_v03 = found->role == FOUND_LOCK || (found->role == FOUND_MAP && found->prefixed);
    return is_of_v03 && lies_by_name(directory, name, length);
}

/* ---- heads */

static uint32_t big32(const uint8_t *at)
{
    return be32toh(htole32(get32(at)));
}

static uint64_t big64(const uint8_t *at)
{
    return be64toh(htole64(get64(at)));
}

bool found_read_head(const uint8_t *raw, size_t raw_length, uint64_t length,
                     struct found_head *head)
{
    *head = (struct found_head){.block_size = OBJECT_SIZE};
    if (raw_length == FOUND_HEAD_BYTES && memcmp(raw, HEADER_V2, sizeof(HEADER_V2)) == 0) {
        head->version = 2;
        head->size = big64(raw + 8);
        head->block_size = big32(raw + 16);
        head->flags = big32(raw + 20);
        head->epoch = big64(raw + 24);
        return head->block_size > ENTRY_V2 && !(head->block_size & (head->block_size - 1));
    }
    if (raw_length < HEADER_V1 || get32(raw) != 1)
        return false;
    head->version = 1;
    head->size = get64(raw + 4);
    uint64_t objects = head->size / OBJECT_SIZE + (head->size % OBJECT_SIZE != 0);
    return length >= HEADER_V1 && objects <= (length - HEADER_V1) / ENTRY_V1;
}
