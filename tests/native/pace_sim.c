/*
 * Simulates a server that executes one call after the other, and a client that keeps as many in
 * flight as native/nfs/proto/pace.c allows; prints the limit after each second.
 *
 *     pace_sim MAX ROUND_TRIP SERVICE SECONDS [FROM SERVICE [REFUSED]]
 *
 * ROUND_TRIP and SERVICE are in us; from second FROM on a call takes the second SERVICE. The server
 * answers DELAY to every call if SERVICE is 0, and to each call whose number REFUSED divides.
 */

#include <stdio.h>
#include <stdlib.h>

#include "nfs/proto/pace.h"

#define MAX_CALLS 1024

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    struct pace pace;
    size_t max = (size_t)atol(argv[1]), first = 0, count = 0;
    int64_t trip = atoll(argv[2]) * 1000, service = atoll(argv[3]) * 1000;
    int64_t seconds = atoll(argv[4]), from = argc > 6 ? atoll(argv[5]) : INT64_MAX;
    int64_t refused = argc > 7 ? atoll(argv[7]) : INT64_MAX, number = 0;
    int64_t now = 1, busy_until = 0, shown = 0;
    static int64_t sent[MAX_CALLS], ends[MAX_CALLS]; /* rings: replies come in order */
    pace_init(&pace, max);
    while (shown < seconds) {
        while (pace_has_room(&pace) && count < MAX_CALLS) {
            int64_t arrives = now + trip / 2;
            busy_until = (busy_until > arrives ? busy_until : arrives) + service;
            sent[(first + count) % MAX_CALLS] = now;
            ends[(first + count++) % MAX_CALLS] = busy_until + trip / 2;
            pace_sent(&pace);
        }
        now = ends[first];
        if (service && ++number % refused != 0)
            pace_answered(&pace, now, now - sent[first]);
        else
            pace_refused(&pace, now, now - sent[first]);
        pace_ended(&pace);
        first = (first + 1) % MAX_CALLS;
        count--;
        for (; shown < seconds && now >= (shown + 1) * 1000000000; shown++)
            printf("%ld\n", (long)pace.limit);
        if (now / 1000000000 >= from) {
            service = atoll(argv[6]) * 1000;
            from = INT64_MAX;
        }
    }
    pace_free(&pace);
    return 0;
}
