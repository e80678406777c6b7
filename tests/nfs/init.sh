#!/bin/busybox sh
# shellcheck shell=dash
# Process 1 of the guest. Owns what programs see there: all files of the host under a layer where
# writes vanish with the guest, and two directories of the host where they stay: $bed, the bed's own,
# and $out, the caller's. $bed comes from the kernel's command line, all else from $bed/job.
# Messages go to $bed/console: where the host has no /dev/console, the kernel gives us none either.
# Each external command costs some 20 ms: that is why they are busybox's, and few.
set -eu
/bin/busybox mount -t proc proc /proc

mount -t tmpfs -o size=75% tmpfs /mnt
mkdir -p /mnt/upper /mnt/work /mnt/host /mnt/new /mnt/lib /mnt/bed
# shellcheck disable=SC2154 # a parameter of the kernel
mount -t hostfs -o "$bed" none /mnt/bed
exec >>/mnt/bed/console 2>&1
ln -s /usr/lib/uml/modules /mnt/lib/modules
/sbin/modprobe --dirname /mnt --all overlay loop quota_v2 sch_netem nfsd nfsv3 nfsv4
mount -t hostfs -o / none /mnt/host
new=/mnt/new
mount -t overlay -o lowerdir=/mnt/host,upperdir=/mnt/upper,workdir=/mnt/work overlay $new

mount -t proc proc $new/proc
mount -t sysfs sys $new/sys
mount -t devtmpfs dev $new/dev
mkdir -p $new/dev/shm $new/dev/pts
ln -sf /proc/self/fd $new/dev/fd
# What the host has there belongs to the host's daemons.
for place in dev/shm run var/lib/nfs; do
    mount -t tmpfs tmpfs $new/$place
done
ip link set lo up
hostname guest

mkdir -p "$new$bed"
mount --move /mnt/bed "$new$bed"
# shellcheck source=/dev/null
. "$new$bed/job"
# shellcheck disable=SC2154 # set by the job
mkdir -p "$new$out"
# shellcheck disable=SC2154
mount -t hostfs -o "$out" none "$new$out"

status=0
# shellcheck disable=SC2154
chroot $new /usr/bin/env -i -C "$checkout" HOME=/root LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH="$checkout" \
    "$python" -m tests.nfs.guest_programs.runtime "$bed" "$out" || status=$?
echo "$status" >"$new$bed/status"
# Not a plain `sync`: it would wait for an NFS server that a test took away.
sync -f "$new$bed/status" "$new$out"
poweroff -f
