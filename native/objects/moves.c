/* Reading and writing of packed moves (moves.h). */

#include "objects/moves.h"

#include <errno.h>
#include <string.h>

#include "core/names.h"
#include "core/packing.h"

#define HEAD_SIZE 16
#define TWIN_SIZE 28

void move_place_path(const uint8_t *place, char path[PLACE_LENGTH + 1])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < PLACE_BYTES; i++) {
        path[3 * i] = digits[place[i] >> 4];
        path[3 * i + 1] = digits[place[i] & 15];
        path[3 * i + 2] = '/';
    }
    path[PLACE_LENGTH] = '\0';
}

int move_read(const uint8_t *moves, size_t length, size_t *at, struct move *move)
{
    const uint8_t *head = moves + *at;
    size_t left = length - *at;
    if (left < HEAD_SIZE)
        return -EINVAL;
    size_t size = HEAD_SIZE + (size_t)head[2] + head[3];
    if (head[0] == MOVE_VERB_MERGE)
        size += TWIN_SIZE;
    if (size > left)
        return -EINVAL;
    *move = (struct move){
        .verb = head[0],
        .root = head[1],
        .directory = head + HEAD_SIZE,
        .name = head + HEAD_SIZE + head[2],
        .directory_length = head[2],
        .name_length = head[3],
        .inode = get64(head + 8),
    };
    memcpy(move->place, head + 4, PLACE_BYTES);
    if (!path_is_plain(move->directory, move->directory_length, 0) ||
        !name_is_component(move->name, move->name_length))
        return -EINVAL;
    *at += size;
    return 0;
}

int move_put(struct buffer *moves, const struct move *move)
{
    int result = buffer_reserve(moves, HEAD_SIZE + 2 * UINT8_MAX);
    if (result < 0)
        return result;
    uint8_t *head = moves->bytes + moves->length;
    head[0] = MOVE_VERB_MOVE;
    head[1] = (uint8_t)move->root;
    head[2] = move->directory_length;
    head[3] = move->name_length;
    memcpy(head + 4, move->place, PLACE_BYTES);
    head[7] = 0;
    set64(head + 8, move->inode);
    memcpy(head + HEAD_SIZE, move->directory, move->directory_length);
    memcpy(head + HEAD_SIZE + move->directory_length, move->name, move->name_length);
    moves->length += HEAD_SIZE + (size_t)move->directory_length + move->name_length;
    return 0;
}
