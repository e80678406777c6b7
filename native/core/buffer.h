/*
 * Bytes that grow, up to a bound.
 *
 *     struct buffer   bytes, how many are used, and how many there is room for
 *
 * A zeroed buffer is empty. Functions return 0, or -ENOMEM: also for more than 1 GiB.
 */

#ifndef ARCHIPMIGRATE_CORE_BUFFER_H
#define ARCHIPMIGRATE_CORE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct buffer {
    uint8_t *bytes;
    size_t length;
    size_t room;
};

/* Make room for `more` bytes. */
int buffer_reserve(struct buffer *buffer, size_t more);

/* Append bytes. */
int buffer_put(struct buffer *buffer, const void *bytes, size_t length);

/* Free the bytes; the buffer is empty afterwards. */
void buffer_free(struct buffer *buffer);

#endif
