"""Real NFS for tests, also on kernels without it. Three ways to have a server:

In a guest (User-Mode Linux): the kernel's NFS server and client, mounts, exact counts of NFS calls.

    guest.py           boots a guest and runs a program in it; init.sh is its process 1
    guest_programs/    those programs; runtime.py is what they are made of: serve, mount, delay,
                       calls, report. A program starts three to ten times slower there than on the
                       host, so its module should import little; runtime.py imports nothing but the
                       standard library
    test_boot, test_bed                          the guest itself
    test_mount, test_mount_maps, test_mount_objects, test_mount_prelink
                                                 the program through a mount
    test_kernel, test_bypass                     direct NFS: to a URL, and bypassing a mount

On the loopback, for clients that speak NFS themselves: nfs-ganesha, a server in user space.

    ganesha.py         starts, pauses, restarts one; latency.py is a TCP proxy that adds latency
    test_loopback      these two
    test_direct, test_interrupts, test_servers   direct NFS to it

In Python, hostile or broken as a test wants it.

    fake.py, fake4.py  NFSv3 and NFSv4.0
    test_hostile, test_hostile4, test_owners     direct NFS to them

packages.py says which Debian packages all this needs; traces.py asserts that nothing of it is left.
"""
