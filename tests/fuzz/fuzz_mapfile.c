/*
 * Built with sanitizers by test_codec.py: native/mapfile/entries.c on random and damaged entries.
 *
 *     fuzz_mapfile ITERATIONS SEED            must end well
 *     fuzz_mapfile entries | to | block       lies about that buffer's length: must be caught
 *
 * Every buffer is on the heap and of exactly its size, so that one byte too many is seen.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mapfile/entries.h"

#define MAX_ENTRIES 40

static uint64_t state;

/* xorshift64: the same numbers everywhere. */
static uint64_t random_number(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static size_t below(size_t limit)
{
    return random_number() % limit;
}

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

/* What is to come of an entry, by other means than those of the code under test. */
static void expected_entry(uint8_t *to, int version, const uint8_t *entry)
{
    static const char zeros[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    char digits[2 * DIGEST_BYTES + 1];
    bool is_archip = version == 1 && entry[0];
    for (size_t i = 0; i < DIGEST_BYTES; i++)
        sprintf(digits + 2 * i, "%02x", entry[i + (size_t)version]);
    memset(to, 0, ENTRY_BYTES);
    to[0] = is_archip ? 3 : strcmp(digits, zeros) == 0 ? 4 : 0;
    to[1] = (uint8_t)sprintf((char *)to + 5, "%s%s", is_archip ? "archip_" : "", digits);
}

/* Fill with random bytes, and some digests of the zeros. */
static void make_entries(uint8_t *entries, size_t length, int version)
{
    static const uint8_t zeros[DIGEST_BYTES] = {
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4,
        0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b,
        0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    };
    size_t size = version == 1 ? 33 : 32;
    for (size_t i = 0; i < length; i++)
        entries[i] = (uint8_t)random_number();
    for (size_t at = 0; at + size <= length; at += size) {
        if (version == 1 && below(2))
            entries[at] = (uint8_t)below(2);
        if (below(3) == 0)
            memcpy(entries + at + size - DIGEST_BYTES, zeros, DIGEST_BYTES);
        if (below(20) == 0) /* almost that */
            entries[at + below(size)] ^= (uint8_t)(1 << below(8));
    }
}

static void check_block(uint8_t *block, size_t length)
{
    for (size_t i = below(4); length && i > 0; i--)
        block[below(length)] = (uint8_t)random_number();
    for (size_t i = below(3); length >= ENTRY_BYTES && i > 0; i--)
        block[below(length / ENTRY_BYTES) * ENTRY_BYTES + 1 + below(4)] = (uint8_t)random_number();
    size_t wrong = 0;
    for (; wrong < length / ENTRY_BYTES; wrong++) {
        const uint8_t *at = block + wrong * ENTRY_BYTES;
        uint32_t name = at[1] | at[2] << 8 | at[3] << 16 | (uint32_t)at[4] << 24;
        if (name > 123)
            break;
    }
    size_t first = SIZE_MAX;
    int result = mapfile_check_entries(block, length, &first);
    check(result == (length % ENTRY_BYTES ? -EINVAL : 0), "status of a check");
    check(first == (result ? SIZE_MAX : wrong), "index of the first wrong entry");
}

static void convert_once(void)
{
    int version = (int)below(6) - 1; /* -1, 2, and more often 0 and 1 */
    if (version > 2)
        version -= 3;
    size_t size = version == 1 ? 33 : 32;
    size_t length = below(MAX_ENTRIES) * size + (below(4) ? 0 : below(size));
    size_t count = length / size;
    uint8_t *entries = room_for(length);
    uint8_t *to = room_for(count * ENTRY_BYTES);
    make_entries(entries, length, version);
    memset(to, 0xaa, count * ENTRY_BYTES);
    int result = mapfile_convert_entries(version, entries, length, to);
    bool good = (version == 0 || version == 1) && length % size == 0;
    check(result == (good ? 0 : -EINVAL), "status of a conversion");
    for (size_t i = 0; i < count; i++) {
        uint8_t expected[ENTRY_BYTES];
        memset(expected, 0xaa, ENTRY_BYTES);
        if (good)
            expected_entry(expected, version, entries + i * size);
        check(memcmp(to + i * ENTRY_BYTES, expected, ENTRY_BYTES) == 0, "converted entry");
    }
    free(entries);
    free(to);
}

static void check_once(void)
{
    size_t count = below(MAX_ENTRIES);
    size_t length = count * ENTRY_BYTES + (below(4) ? 0 : below(ENTRY_BYTES));
    uint8_t *block = room_for(length);
    memset(block, 0, length);
    check_block(block, length);
    free(block);
}

/* Give the code a buffer that is too short for its last entry. */
static void overrun(const char *buffer)
{
    enum { COUNT = 4, V1_BYTES = COUNT * (1 + DIGEST_BYTES) };
    size_t first;
    uint8_t *entries = calloc(V1_BYTES - (strcmp(buffer, "entries") == 0), 1);
    uint8_t *to = calloc(COUNT * ENTRY_BYTES - (strcmp(buffer, "to") == 0), 1);
    check(entries && to, "no memory");
    mapfile_convert_entries(1, entries, V1_BYTES, to);
    if (strcmp(buffer, "block") == 0) /* up to the last byte of a name's length */
        mapfile_check_entries(realloc(to, (COUNT - 1) * ENTRY_BYTES + 4), COUNT * ENTRY_BYTES,
                              &first);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        overrun(argc == 2 ? argv[1] : "");
        return 0;
    }
    long iterations = atol(argv[1]);
    state = strtoull(argv[2], NULL, 10);
    check(state != 0, "a seed of 0");
    for (long i = 0; i < iterations; i++) {
        convert_once();
        check_once();
    }
    return 0;
}
