#include "nfs/proto/pace.h"

#define MILLISECOND 1000000LL
/* Bounds are looked at so often, and no more often than a call takes. */
#define WHILE (100 * MILLISECOND)
/* So long may our own calls wait for each other: disks take some 10 ms for each, and people notice 200. */
#define QUEUE (100 * MILLISECOND)
/* With fewer a server waits for us: one for each of the usual connections. */
#define FEWEST 4
/* A server refuses a call now and then because of one entry; it is busy if it answers fewer for each. */
#define MOST_ANSWERED 4

void pace_bound(struct pace *pace, size_t most)
{
    atomic_store(&pace->limit, (long)most);
    pace->most = (long)most;
}

static void begin_while(struct pace *pace, int64_t now)
{
    pace->begun = now;
    pace->quickest = INT64_MAX;
    pace->answered = pace->refused = 0;
    pace->was_met = false;
}

void pace_init(struct pace *pace, size_t most)
{
    pthread_mutex_init(&pace->mutex, NULL);
    atomic_store(&pace->in_flight, 0);
    pace_bound(pace, most);
    pace->base = INT64_MAX;
    begin_while(pace, 0);
}

void pace_free(struct pace *pace)
{
    pthread_mutex_destroy(&pace->mutex);
}

bool pace_has_room(const struct pace *pace)
{
    return atomic_load(&pace->in_flight) < atomic_load(&pace->limit);
}

void pace_sent(struct pace *pace)
{
    atomic_fetch_add(&pace->in_flight, 1);
}

void pace_ended(struct pace *pace)
{
    atomic_fetch_sub(&pace->in_flight, 1);
}

static void bound(struct pace *pace, int64_t limit)
{
    long fewest = pace->most < FEWEST ? pace->most : FEWEST;
    atomic_store(&pace->limit, limit < fewest       ? fewest
                               : limit > pace->most ? pace->most
                                                    : (long)limit);
}

/* See what the quickest reply of a while says. */
static void judge(struct pace *pace)
{
    long limit = atomic_load(&pace->limit);
    /* So few do not wait for each other: this is how fast the server is now. */
    if (pace->quickest < pace->base || limit <= FEWEST)
        pace->base = pace->quickest;
    int64_t wait = pace->quickest - pace->base;
    if (wait > QUEUE) {
        int64_t fair =
            (int64_t)((double)limit * (double)(pace->base + QUEUE) / (double)pace->quickest);
        bound(pace, fair > limit / 2 ? fair : limit / 2);
    } else if (wait <= QUEUE / 2 && pace->was_met) {
        bound(pace, limit + limit / 8 + 1);
    }
}

static void end_while(struct pace *pace, int64_t now, int64_t latency)
{
    if (now - pace->begun <= WHILE || now - pace->begun <= latency)
        return;
    if (pace->refused * MOST_ANSWERED > pace->answered)
        bound(pace, atomic_load(&pace->limit) / 2);
    else
        judge(pace);
    begin_while(pace, now);
}

void pace_answered(struct pace *pace, int64_t now, int64_t latency)
{
    pthread_mutex_lock(&pace->mutex);
    if (latency < pace->quickest)
        pace->quickest = latency;
    pace->answered++;
    pace->was_met |= !pace_has_room(pace);
    end_while(pace, now, latency);
    pthread_mutex_unlock(&pace->mutex);
}

void pace_refused(struct pace *pace, int64_t now, int64_t latency)
{
    pthread_mutex_lock(&pace->mutex);
    pace->refused++;
    end_while(pace, now, latency);
    pthread_mutex_unlock(&pace->mutex);
}
