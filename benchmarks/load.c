/*
 * load: what a VM does to its disk: 4 KiB at a random place, durable, one after another.
 *
 *     load FILE MIB                  pwrite and fdatasync
 *     load PORT MIB HANDLE           WRITE, FILE_SYNC, by NFSv3 (RFC 1813) on the loopback; the
 *                                    file's handle is in hexadecimal
 *
 * It goes on until SIGTERM, then prints the microseconds of each write, one a line.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, MOST = 1 << 22, HANDLE = 64, WORDS = 64, FILE_SYNC = 2 };

static volatile sig_atomic_t ended;
static char block[BLOCK];
static int fd;
static unsigned char handle[HANDLE];
static uint32_t handle_bytes;

static void end(int number)
{
    (void)number;
    ended = 1;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void write_file(uint64_t offset)
{
    if (pwrite(fd, block, BLOCK, (off_t)offset) != BLOCK || fdatasync(fd))
        fail("write");
}

static void receive(void *to, size_t bytes)
{
    for (char *at = to; bytes;) {
        ssize_t got = recv(fd, at, bytes, 0);
        if (got <= 0)
            fail("recv");
        at += got;
        bytes -= (size_t)got;
    }
}

/* One call: a record of the RPC header, AUTH_SYS of root, the handle, and the block. */
static void write_nfs(uint64_t offset)
{
    static uint32_t xid;
    uint32_t call[WORDS], reply[WORDS], mark;
    uint32_t head[] = {0, ++xid, 0, 2, 100003, 3, 7, 1, 20, 0, 0, 0, 0, 0, 0, 0, handle_bytes};
    size_t at = sizeof head / sizeof *head, words = (handle_bytes + 3) / 4;
    for (size_t i = 0; i < at; i++)
        call[i] = htonl(head[i]);
    memcpy(call + at, handle, words * 4);
    at += words;
    uint32_t tail[] = {offset >> 32, (uint32_t)offset, BLOCK, FILE_SYNC, BLOCK};
    for (size_t i = 0; i < sizeof tail / sizeof *tail; i++)
        call[at++] = htonl(tail[i]);
    call[0] = htonl((uint32_t)(at * 4 - 4 + BLOCK) | 1u << 31);
    if (send(fd, call, at * 4, MSG_MORE) != (ssize_t)(at * 4) || send(fd, block, BLOCK, 0) != BLOCK)
        fail("send");
    receive(&mark, sizeof mark);
    size_t length = ntohl(mark) & ~(1u << 31);
    if (length > sizeof reply)
        length = sizeof reply;
    receive(reply, length);
    /* xid, REPLY, accepted, verifier (2), success, NFS3_OK */
    if (ntohl(reply[0]) != xid || reply[2] || reply[5] || reply[6]) {
        fprintf(stderr, "NFS: status %u\n", ntohl(reply[6]));
        exit(1);
    }
}

static int connected(int port)
{
    int one = 1, found = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (found < 0 || setsockopt(found, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) ||
        connect(found, (struct sockaddr *)&to, sizeof to))
        fail("connect");
    return found;
}

int main(int argc, char **argv)
{
    uint64_t blocks = argc > 2 ? strtoull(argv[2], NULL, 10) * (1 << 20) / BLOCK : 0;
    uint32_t *taken = malloc(MOST * sizeof *taken);
    struct sigaction action = {.sa_handler = end, .sa_flags = SA_RESTART};
    int nfs = argc == 4;
    if (!blocks || !taken || argc > 4) {
        fprintf(stderr, "usage: load FILE MIB | load PORT MIB HANDLE\n");
        return 2;
    }
    sigaction(SIGTERM, &action, NULL);
    for (char *at = nfs ? argv[3] : ""; *at && handle_bytes < HANDLE; at += 2)
        sscanf(at, "%2hhx", &handle[handle_bytes++]);
    fd = nfs ? connected(atoi(argv[1])) : open(argv[1], O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        fail(argv[1]);
    memset(block, 'v', BLOCK);
    srandom(1);
    long count = 0;
    while (!ended && count < MOST) {
        struct timespec began, done;
        uint64_t offset = (uint64_t)random() % blocks * BLOCK;
        clock_gettime(CLOCK_MONOTONIC, &began);
        if (nfs)
            write_nfs(offset);
        else
            write_file(offset);
        clock_gettime(CLOCK_MONOTONIC, &done);
        taken[count++] = (uint32_t)((done.tv_sec - began.tv_sec) * 1000000 +
                                    (done.tv_nsec - began.tv_nsec) / 1000);
    }
    for (long i = 0; i < count; i++)
        printf("%u\n", taken[i]);
    return 0;
}
