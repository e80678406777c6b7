/* SHA-256 (FIPS 180-4) of names, which are short. */

#ifndef ARCHIPMIGRATE_CORE_SHA256_H
#define ARCHIPMIGRATE_CORE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_LONGEST 256 /* bytes of a message */

/* Get the first four bytes of the digest of a message of at most SHA256_LONGEST bytes. */
void sha256_head(const uint8_t *message, size_t length, uint8_t head[4]);

#endif
