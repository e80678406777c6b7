/*
 * Included before everything else (-include) when the NFS client is fuzzed: its system calls go to
 * fuzz_network.c. The sanitizers and libFuzzer use the real ones.
 */

#ifndef FUZZ_FAKES_H
#define FUZZ_FAKES_H

#define _GNU_SOURCE
#include <stdlib.h>

void *fake_calloc(size_t number, size_t size);
void *fake_malloc(size_t size);
void *fake_realloc(void *bytes, size_t size);

#define bind          fake_bind
#define calloc        fake_calloc
#define clock_gettime fake_clock_gettime
#define close         fake_close
#define connect       fake_connect
#define freeaddrinfo  fake_freeaddrinfo
#define getaddrinfo   fake_getaddrinfo
#define getrandom     fake_getrandom
#define getsockopt    fake_getsockopt
#define malloc        fake_malloc
#define poll          fake_poll
#define realloc       fake_realloc
#define recv          fake_recv
#define send          fake_send
#define setsockopt    fake_setsockopt
#define socket        fake_socket

#endif
