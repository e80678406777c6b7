/* Reading of what is known (known.h). */

#include "core/known.h"

#include "core/packing.h"

#define CAME_SIZE     14 /* u32 index, u16 mode, u32 uid, u32 gid */
#define IDENTITY_SIZE 8

bool known_is_valid(const struct known *known)
{
    return known->kind >= IDENTITY_NONE && known->kind <= IDENTITY_V4_HANDLE &&
           known->came_length % CAME_SIZE == 0 && known->identities_length % IDENTITY_SIZE == 0;
}

uint64_t known_identity(const struct known *known, size_t index)
{
    return index < known->identities_length / IDENTITY_SIZE
               ? get64(known->identities + index * IDENTITY_SIZE)
               : 0;
}

bool known_came(const struct known *known, size_t index, struct attrs *came)
{
    size_t first = 0, end = known->came_length / CAME_SIZE;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        const uint8_t *at = known->came + middle * CAME_SIZE;
        if (get32(at) == index) {
            *came = (struct attrs){get16(at + 4), get32(at + 6), get32(at + 10)};
            return true;
        }
        if (get32(at) < index)
            first = middle + 1;
        else
            end = middle;
    }
    return false;
}

uint64_t identity_of_handle(const void *handle, size_t length)
{
    const uint8_t *bytes = handle;
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3;
    return hash ? hash : 1;
}
