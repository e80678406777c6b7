/* Little-endian integers in packed buffers, at any alignment. */

#ifndef ARCHIPMIGRATE_CORE_PACKING_H
#define ARCHIPMIGRATE_CORE_PACKING_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t get16(const uint8_t *at)
{
    uint16_t number;
    memcpy(&number, at, sizeof(number));
    return le16toh(number);
}

static inline uint32_t get32(const uint8_t *at)
{
    uint32_t number;
    memcpy(&number, at, sizeof(number));
    return le32toh(number);
}

static inline uint64_t get64(const uint8_t *at)
{
    uint64_t number;
    memcpy(&number, at, sizeof(number));
    return le64toh(number);
}

static inline void set16(uint8_t *at, uint16_t number)
{
    number = htole16(number);
    memcpy(at, &number, sizeof(number));
}

static inline void set32(uint8_t *at, uint32_t number)
{
    number = htole32(number);
    memcpy(at, &number, sizeof(number));
}

static inline void set64(uint8_t *at, uint64_t number)
{
    number = htole64(number);
    memcpy(at, &number, sizeof(number));
}

#endif
