/*
 * The controller of pace.h: samples in, a limit out.
 */

#include "nfs/proto/pace.h"

#define MILLISECOND 1000000LL
/* The limit is adjusted once an interval, but not before a call that was made in it can return. */
#define INTERVAL (100 * MILLISECOND)
/* How long our calls may queue: disks take some 10 ms for each, and people notice 200. */
#define TARGET (100 * MILLISECOND)
/* One call for each of the usual connections. With fewer the server would wait for us. */
#define MIN_LIMIT 4
/*
 * Servers refuse a call now and then because of one entry. Busy ones answer fewer than this for
 * each call that they refuse: they refuse more than one in five.
 */
#define MAX_ANSWERED 4

void pace_set_max(struct pace *pace, size_t max)
{
    atomic_store(&pace->limit, (long)max);
    pace->max = (long)max;
}

static void begin_interval(struct pace *pace, int64_t now)
{
    pace->interval_start = now;
    pace->interval_rtt = INT64_MAX;
    pace->answered = pace->refused = 0;
    pace->limit_reached = false;
}

void pace_init(struct pace *pace, size_t max)
{
    pthread_mutex_init(&pace->mutex, NULL);
    atomic_store(&pace->in_flight, 0);
    pace_set_max(pace, max);
    pace->min_rtt = INT64_MAX;
    begin_interval(pace, 0);
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

static void set_limit(struct pace *pace, int64_t limit)
{
    long min = pace->max < MIN_LIMIT ? pace->max : MIN_LIMIT;
    atomic_store(&pace->limit, limit < min ? min : limit > pace->max ? pace->max : (long)limit);
}

static void adjust_limit(struct pace *pace)
{
    long limit = atomic_load(&pace->limit);
    /* At the lowest limit calls do not queue: this is the round trip of the server as it is now. */
    if (pace->interval_rtt < pace->min_rtt || limit <= MIN_LIMIT)
        pace->min_rtt = pace->interval_rtt;
    int64_t queued = pace->interval_rtt - pace->min_rtt;
    if (queued > TARGET) {
        int64_t fair = (int64_t)((double)limit * (double)(pace->min_rtt + TARGET) /
                                 (double)pace->interval_rtt);
        set_limit(pace, fair > limit / 2 ? fair : limit / 2);
    } else if (queued <= TARGET / 2 && pace->limit_reached) {
        set_limit(pace, limit + limit / 8 + 1);
    }
}

static void end_interval(struct pace *pace, int64_t now, int64_t rtt)
{
    int64_t length = now - pace->interval_start;
    if (length <= INTERVAL || length <= rtt)
        return;
    if (pace->refused * MAX_ANSWERED > pace->answered)
        set_limit(pace, atomic_load(&pace->limit) / 2);
    else
        adjust_limit(pace);
    begin_interval(pace, now);
}

void pace_answered(struct pace *pace, int64_t now, int64_t rtt)
{
    pthread_mutex_lock(&pace->mutex);
    if (rtt < pace->interval_rtt)
        pace->interval_rtt = rtt;
    pace->answered++;
    pace->limit_reached |= !pace_has_room(pace);
    end_interval(pace, now, rtt);
    pthread_mutex_unlock(&pace->mutex);
}

void pace_refused(struct pace *pace, int64_t now, int64_t rtt)
{
    pthread_mutex_lock(&pace->mutex);
    pace->refused++;
    end_interval(pace, now, rtt);
    pthread_mutex_unlock(&pace->mutex);
}
