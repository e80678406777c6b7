/*
 * Preloaded into User-Mode Linux 6.1 (linux.uml) where the host's CPU has AMX.
 *
 * User-Mode Linux saves and restores the extended registers of a guest's process by ptrace, in a
 * buffer of 2,696 bytes: enough for AVX-512 and the protection keys. With AMX a host has 11,008
 * bytes, and its kernel refuses a PTRACE_SETREGSET of NT_X86_XSTATE that has fewer (xstateregs_set
 * in arch/x86/kernel/fpu/regset.c), so that the guest's init dies of SIGSEGV before its first
 * instruction.
 *
 * Here a read fetches all registers from the host and returns those that were asked for. A write
 * merges the given ones into all that the process has: components that the guest does not know stay
 * as they are. On a host that has no more than the guest has room for, both do what they do without
 * this.
 *
 * Layout of the registers: Intel SDM, volume 1, section 13.4.
 */

#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define XSTATE_BV  512       /* offset of the header: a bit for each component that is in use */
#define HEADER_END 576       /* a write with less than the header says nothing of components */
#define GUEST_HAS  0xffULL   /* the components of up to AVX-512 */
#define ROOM       (1 << 16) /* bytes; AMX needs a sixth of them */

static long host(long request, pid_t pid, void *address, void *data)
{
    return syscall(SYS_ptrace, request, pid, address, data);
}

static uint64_t components(const unsigned char *registers)
{
    uint64_t in_use;
    memcpy(&in_use, registers + XSTATE_BV, sizeof in_use);
    return in_use;
}

/* One thread of linux.uml traces all others, so that one buffer is enough. */
static long regset(long request, pid_t pid, void *kind, struct iovec *given)
{
    static _Alignas(64) unsigned char registers[ROOM];
    struct iovec all = {registers, sizeof registers};
    long result = host(PTRACE_GETREGSET, pid, kind, &all);

    if (result < 0)
        return result;
    if (request == PTRACE_GETREGSET) {
        if (given->iov_len > all.iov_len)
            given->iov_len = all.iov_len;
        memcpy(given->iov_base, registers, given->iov_len);
        return result;
    }
    if (given->iov_len >= all.iov_len || given->iov_len < HEADER_END)
        return host(request, pid, kind, given);

    uint64_t kept = components(registers) & ~GUEST_HAS;
    memcpy(registers, given->iov_base, given->iov_len);
    uint64_t in_use = (components(registers) & GUEST_HAS) | kept;
    memcpy(registers + XSTATE_BV, &in_use, sizeof in_use);
    return host(request, pid, kind, &all);
}

/* As glibc's: PEEK requests return the word, the system call writes it to an address. */
long ptrace(enum __ptrace_request request, ...)
{
    va_list list;
    va_start(list, request);
    pid_t pid = va_arg(list, pid_t);
    void *address = va_arg(list, void *);
    void *data = va_arg(list, void *);
    va_end(list);

    switch (request) {
    case PTRACE_GETREGSET:
    case PTRACE_SETREGSET:
        if ((uintptr_t)address == NT_X86_XSTATE)
            return regset(request, pid, address, data);
        return host(request, pid, address, data);
    case PTRACE_PEEKTEXT:
    case PTRACE_PEEKDATA:
    case PTRACE_PEEKUSER: {
        long word;
        long result = host(request, pid, address, &word);
        if (result < 0)
            return result;
        errno = 0;
        return word;
    }
    default:
        return host(request, pid, address, data);
    }
}
