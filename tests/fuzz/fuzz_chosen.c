/*
 * Built with sanitizers by test_chosen.py: native/core/chosen.c on whole and damaged changes.
 *
 *     fuzz_chosen FILE   cases: u32 length of changes, of the choice and of inodes, then these
 *     fuzz_chosen        changes that are shorter than told: must be caught
 *
 * Prints for each case how many changes are chosen, or -1 if they are refused. Every buffer is on
 * the heap and of exactly its size, so that one byte too many is seen.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/chosen.h"
#include "core/packing.h"

#define HEADER     8
#define INODE_SIZE 8

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "wrong: %s\n", what);
    exit(1);
}

static uint8_t *room_for(size_t length)
{
    uint8_t *bytes = malloc(length);
    check(bytes, "no memory");
    return bytes;
}

static uint8_t *read_bytes(FILE *file, size_t length)
{
    uint8_t *bytes = room_for(length);
    check(fread(bytes, 1, length, file) == length, "a case that is cut off");
    return bytes;
}

static size_t read_all(const struct chosen *chosen)
{
    struct chosen_reader reader;
    size_t number = 0;
    int status;
    chosen_begin(&reader, chosen);
    while ((status = chosen_next(&reader)) > 0)
        number++;
    check(status == 0, "status of reading");
    chosen_reader_free(&reader);
    return number;
}

static long choose(struct chosen *chosen, const uint8_t *inodes, size_t inode_count)
{
    if (chosen_check(chosen) < 0)
        return -1;
    uint8_t *packed = room_for(chosen->length), *fewer = room_for(chosen->count);
    struct chosen_number number = chosen_drop_others(chosen, packed);
    check(number.directories <= number.changes, "number of directories");
    check(read_all(chosen) == number.changes, "number of changes");
    chosen_with_inodes(chosen, inodes, inode_count, fewer);
    for (size_t i = 0; i < chosen->count; i++)
        check(fewer[i] <= chosen->is_chosen[i], "more are chosen");
    free(packed);
    free(fewer);
    return (long)number.changes;
}

static void overrun(void)
{
    uint8_t *changes = calloc(HEADER, 1), none = 0;
    check(changes, "no memory");
    changes[0] = 1;
    choose(&(struct chosen){.changes = changes, .length = HEADER + 1, .is_chosen = &none}, &none,
           0);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        overrun();
        return 0;
    }
    FILE *file = fopen(argv[1], "rb");
    check(file, "no such file");
    uint8_t lengths[12];
    while (fread(lengths, 1, sizeof(lengths), file) == sizeof(lengths)) {
        uint32_t length = get32(lengths), count = get32(lengths + 4), size = get32(lengths + 8);
        uint8_t *changes = read_bytes(file, length);
        uint8_t *is_chosen = read_bytes(file, count);
        uint8_t *inodes = read_bytes(file, size);
        struct chosen chosen = {
            .changes = changes, .length = length, .is_chosen = is_chosen, .count = count};
        printf("%ld\n", choose(&chosen, inodes, size / INODE_SIZE));
        free(changes);
        free(is_chosen);
        free(inodes);
    }
    fclose(file);
    return 0;
}
