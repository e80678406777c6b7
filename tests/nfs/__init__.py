"""Real NFS for the tests, also where the kernel has none: a bed that other tests lie in.

    packages   which Debian packages this needs
    guest      boots User-Mode Linux with the kernel's NFS server and client, runs a program there
    inside     what such a program is made of: serve, mount, delay, calls, report
    init.sh    process 1 of the guest
    ganesha    a server in user space on this machine's loopback, for those who speak NFS themselves
    latency    a TCP proxy that adds latency, to put before it
    bed        the guest programs of test_bed
    programs   those of test_mount, through the kernel's client
    direct     those of test_kernel, for the nfs backend
    past       those of test_past, for mounts that it goes past
    fake       an NFSv3 server in Python, hostile or broken as a test wants it
    traces     what could be left behind, for the tests of all these

`inside` imports nothing but the standard library, and a module of guest programs should import
little: a program starts three to ten times slower in there than on the host.
"""
