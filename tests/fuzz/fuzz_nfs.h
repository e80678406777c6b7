/*
 * What fuzz_nfs.c has of fuzz_nfs_checks.c: each aborts if something is wrong.
 */

#ifndef FUZZ_NFS_H
#define FUZZ_NFS_H

#include "nfs/apply.h"
#include "nfs/scan.h"

/*
 * Say whether a whole call may fail so: for want of memory, or for owners that a server made names.
 */
bool is_excused(int error);

/* Read a reply by one of the readers; `how` is the version, and what SETATTR was to do. */
#define READERS 8
void read_reply(uint8_t reader, uint8_t how, const uint8_t *bytes, size_t length);

void check_scan(const struct nfs_scan_request *request, const struct nfs_scan_result *result);
void check_apply(const struct nfs_apply_request *request, const struct apply_result *result,
                 int error);

#endif
