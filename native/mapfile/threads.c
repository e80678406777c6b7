/*
 * Work by several threads (threads.h).
 *
 *     struct task   what all threads share: the next item is taken by whoever is free
 */

#define _GNU_SOURCE
#include "mapfile/threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#define MOST_THREADS 8
#define STACK        (256 << 10)

struct task {
    void (*work)(void *context, size_t i);
    void *context;
    size_t count;
    atomic_size_t next;
};

static void *take_items(void *argument)
{
    struct task *task = argument;
    for (size_t i; (i = atomic_fetch_add(&task->next, 1)) < task->count;)
        task->work(task->context, i);
    return NULL;
}

void threads_run(void (*work)(void *context, size_t i), void *context, size_t count, bool waits)
{
    struct task task = {.work = work, .context = context, .count = count};
    pthread_t threads[MOST_THREADS - 1];
    pthread_attr_t attributes;
    size_t started = 0;
    if (waits && count > 1 && pthread_attr_init(&attributes) == 0) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the threads of Python */
        pthread_attr_setstacksize(&attributes, STACK);
        while (started < MOST_THREADS - 1 && started + 1 < count &&
               pthread_create(&threads[started], &attributes, take_items, &task) == 0)
            started++;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
    }
    take_items(&task);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}
