/* Growth of struct buffer (buffer.h): doubled each time, so that appending costs a constant. */

#include "core/buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * The buffers of a unit take a few megabytes: a request for this much comes from an endless loop.
 */
#define MAX_BYTES  ((size_t)1 << 30)
#define LEAST_ROOM 4096

int buffer_reserve(struct buffer *buffer, size_t more)
{
    if (more <= buffer->room - buffer->length)
        return 0;
    if (more > MAX_BYTES - buffer->length)
        return -ENOMEM;
    size_t room = buffer->room ? buffer->room * 2 : LEAST_ROOM;
    if (room < buffer->length + more)
        room = buffer->length + more;
    uint8_t *bytes = realloc(buffer->bytes, room);
    if (!bytes)
        return -ENOMEM;
    buffer->bytes = bytes;
    buffer->room = room;
    return 0;
}

int buffer_put(struct buffer *buffer, const void *bytes, size_t length)
{
    int result = buffer_reserve(buffer, length);
    if (result < 0)
        return result;
    if (length > 0)
        memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
    return 0;
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct buffer){0};
}
