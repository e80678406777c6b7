/*
 * Included before everything else (-include) when the NFS client is fuzzed: what it would ask of the
 * system, fuzz_server.c answers. The sanitizers and libFuzzer go on with the real ones.
 */

#ifndef FUZZ_FAKES_H
#define FUZZ_FAKES_H

#define bind          fake_bind
#define clock_gettime fake_clock_gettime
#define close         fake_close
#define connect       fake_connect
#define freeaddrinfo  fake_freeaddrinfo
#define getaddrinfo   fake_getaddrinfo
#define getrandom     fake_getrandom
#define getsockopt    fake_getsockopt
#define poll          fake_poll
#define recv          fake_recv
#define send          fake_send
#define setsockopt    fake_setsockopt
#define socket        fake_socket

#endif
