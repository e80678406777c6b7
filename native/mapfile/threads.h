/*
 * Work on many items by several threads: each waits for a disk or a server, and the waits of all
 * meet. A disk's flushes that are asked for at the same time become one.
 */

#ifndef ARCHIPMIGRATE_MAPFILE_THREADS_H
#define ARCHIPMIGRATE_MAPFILE_THREADS_H

#include <stddef.h>

/*
 * Call work(context, i) for each i below `count`, on several threads, in any order; return once all
 * calls have. Where no thread can be made, this one does it all.
 */
void threads_run(void (*work)(void *context, size_t i), void *context, size_t count);

#endif
