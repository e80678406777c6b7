/*
 * How many calls may be in flight: fewer while the server is slow, for whoever else waits for it waits
 * behind ours.
 *
 *     struct pace   of all connections of a share together; may be used by several threads at once
 *
 * Calls that queue at a server all wait, so that even the quickest reply of a while is late (CoDel, RFC
 * 8289, section 3). While it comes later than QUEUE after the quickest ever, fewer are sent, in proportion;
 * while it does not, and the bound is met, more. A while in which one call in five or more is refused ("later,
 * please", or silence until a time-out) halves the bound.
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
    long most;
    pthread_mutex_t mutex; /* for what follows; times are ns */
    int64_t base;          /* the quickest reply that an unhurried server gave */
    int64_t quickest;      /* of this while */
    int64_t begun;
    long answered, refused; /* in this while */
    bool was_met;           /* the bound, in this while */
};

void pace_init(struct pace *pace, size_t most);
void pace_free(struct pace *pace);

/* Allow so many from now on, before the first is made. */
void pace_bound(struct pace *pace, size_t most);

/* Say whether one more call may be made. */
bool pace_has_room(const struct pace *pace);

void pace_sent(struct pace *pace);
void pace_ended(struct pace *pace);

/* A call that was sent once was answered after so long, by more than "later, please". */
void pace_answered(struct pace *pace, int64_t now, int64_t latency);

/* The server asked for time after so long, or says nothing (0). */
void pace_refused(struct pace *pace, int64_t now, int64_t latency);

#endif
