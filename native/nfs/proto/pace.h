/*
 * How many calls may be in flight: fewer while the server is slow, because whoever else uses it
 * waits behind our calls.
 *
 *     struct pace   the state of a share's connections together; thread-safe
 *
 * The principle is CoDel's (RFC 8289, section 3): the minimum of the round-trip times in an
 * interval tells a standing queue from a burst, since in a standing queue even the fastest reply is
 * late. While that minimum exceeds the smallest ever seen (min_rtt) by more than the target, the
 * limit falls in proportion; while it exceeds it by at most half the target, and the limit was
 * reached, the limit grows; between the two it stays. If the server refuses more than one call in
 * five in an interval (DELAY, or silence until a time-out), the limit is halved.
 */

#ifndef ARCHIPMIGRATE_NFS_PROTO_PACE_H
#define ARCHIPMIGRATE_NFS_PROTO_PACE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pace {
    atomic_long in_flight;
    atomic_long limit;
    long max;              /* of the limit */
    pthread_mutex_t mutex; /* guards what follows; times are ns */
    int64_t min_rtt;       /* without a queue */
    int64_t interval_start;
    int64_t interval_rtt; /* the minimum in this interval */
    long answered;        /* in this interval */
    long refused;
    bool limit_reached;
};

void pace_init(struct pace *pace, size_t max);
void pace_free(struct pace *pace);

/* Set another maximum. No call may have been made yet. */
void pace_set_max(struct pace *pace, size_t max);

/* Return whether one more call may be made. */
bool pace_has_room(const struct pace *pace);

/* Count a call as in flight, and no longer. */
void pace_sent(struct pace *pace);
void pace_ended(struct pace *pace);

/* Record the reply to a call that was sent once, if it is other than DELAY. */
void pace_answered(struct pace *pace, int64_t now, int64_t rtt);

/* Record a DELAY after `rtt`, or that the server is silent (0). */
void pace_refused(struct pace *pace, int64_t now, int64_t rtt);

#endif
