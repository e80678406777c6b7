/*
 * Work on many items by several threads: each waits for a disk or a server, and the waits of all
 * meet. A disk's flushes that are asked for at the same time become one.
 */

#ifndef ARCHIPMIGRATE_MAPFILE_THREADS_H
#define ARCHIPMIGRATE_MAPFILE_THREADS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Call work(context, i) for each i below `count`; return once all calls have. If the work `waits`,
 * it is done by several threads, in any order; where none can be made, this one does it all.
 */
void threads_run(void (*work)(void *context, size_t i), void *context, size_t count, bool waits);

#endif
