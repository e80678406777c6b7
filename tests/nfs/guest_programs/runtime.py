"""Runtime of guest programs: an NFS server, mounts of its export, delay, counted calls, reports.

A guest program is a function in a module of its own that imports this one. It runs in the guest as
root; what it reports is all that is left of it, and what it writes below OUT. It need not clean up:
the guest ends with it. Everything here raises CalledProcessError or OSError where something fails.

    def chmod_costs(version: str) -> None:
        serve()
        (EXPORT / "file").touch()
        mount(version)
        with calls() as made:
            os.chmod(MOUNT / "file", 0o640)
        report("chmod", made)

"Another client" is either EXPORT, the server's own directory, where changes reach clients as those
of others do; or a second mount with `nosharecache`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/run/bed")
EXPORT = ROOT / "export"
MOUNT = ROOT / "mount"
STATE = ROOT / "state"  # local, for journals
NFSD = Path("/proc/fs/nfsd")
MOUNTD_PORT = 20048
THREADS = 16
# A mount trusts attributes for 3 s or more. On a busy machine some expire during a run, and are
# asked for again; with this option none do, and the number of calls is always the same.
KEEP_ATTRIBUTES = "hard,actimeo=600"
REPORTS = ROOT / "reports"
OUT = ROOT / "out"  # the caller's directory on the host: what is written there stays


def run(*command: object) -> None:
    """Run a command to its end; its output goes where this program's goes."""
    subprocess.run([str(word) for word in command], check=True)


def archipmigrate(*args: object) -> subprocess.CompletedProcess[str]:
    """Run the program as users do, its state in STATE unless the environment says otherwise."""
    return subprocess.run(
        [sys.executable, "-m", "archipmigrate", *map(str, args)],
        env={"ARCHIPMIGRATE_STATE": str(STATE), **os.environ},
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )


def report(name: str, value: object) -> None:
    """Send a JSON value to the host. It is there on return, even if the guest dies next."""
    with REPORTS.open("a", encoding="ascii") as reports:
        reports.write(json.dumps({name: value}) + "\n")
        reports.flush()
        os.fsync(reports.fileno())


def serve(
    options: str = "rw,no_root_squash",
    *,
    filesystem: str = "tmpfs",
    size: str = "200M",
    quota: bool = False,
) -> None:
    """Make a filesystem (tmpfs or ext4) in EXPORT and serve it, v3 and v4. Options: exports(5).

    With *quota* an ext4 counts what groups have, and keeps their limits.
    """
    EXPORT.mkdir()
    if filesystem == "tmpfs":
        run("mount", "-t", "tmpfs", "-o", f"mode=755,nr_inodes=0,size={size}", "tmpfs", EXPORT)
    else:
        disk = ROOT / "disk"  # on /run, a tmpfs
        run("truncate", f"--size={size}", disk)
        more = ["-O", "quota"] if quota else []
        run(f"mkfs.{filesystem}", "-q", "-i", "4096", *more, disk)
        run("mount", "-o", "loop,grpquota" if quota else "loop", disk, EXPORT)
    for place in ("/var/lib/nfs/nfsdcld", "/var/lib/nfs/sm", "/run/rpc_pipefs", "/run/rpcbind"):
        os.mkdir(place)
    run("mount", "-t", "nfsd", "nfsd", NFSD)
    run("mount", "-t", "rpc_pipefs", "sunrpc", "/run/rpc_pipefs")
    run("rpcbind")
    run("nfsdcld")  # without it each start waits a second for it, and then for lost clients
    export(options)
    run("rpc.mountd", "--port", MOUNTD_PORT, "--no-udp")
    start_server()


def export(options: str) -> None:
    """Export EXPORT with these options from now on, also while it is served and mounted."""
    always = "async,insecure,no_subtree_check,fsid=0,sec=sys"
    Path("/etc/exports").write_text(f"{EXPORT} 127.0.0.1({always},{options})\n", encoding="ascii")
    run("exportfs", "-r")
    run("exportfs", "-f")


def start_server() -> None:
    """Start the server's threads. v4 clients may open files once all have reclaimed theirs."""
    for time in ("nfsv4leasetime", "nfsv4gracetime"):
        (NFSD / time).write_text("10", encoding="ascii")  # seconds; the least that is allowed
    run("rpc.nfsd", THREADS)


def stop_server() -> None:
    """Stop the server's threads: clients with hard mounts wait until start_server."""
    run("rpc.nfsd", 0)


def mount(version: str, options: str = "hard", *, at: Path = MOUNT) -> Path:
    """Mount the export by the kernel's client, nothing cached, and return where. See nfs(5)."""
    at.mkdir(exist_ok=True)
    always = f"vers={version},proto=tcp,sec=sys"
    source = "127.0.0.1:/"
    if version == "3":  # without locks there is no need for statd
        always += f",nolock,mountproto=tcp,mountport={MOUNTD_PORT}"
        source = f"127.0.0.1:{EXPORT}"
    run("mount", "-t", "nfs", "-o", f"{always},{options}", source, at)
    return at


def umount(at: Path = MOUNT) -> None:
    """Unmount, so that the next mount begins with nothing cached."""
    run("umount", at)


def delay(milliseconds: float) -> None:
    """Delay every packet from now on; a round trip takes twice *milliseconds*."""
    # netem keeps 1,000 packets unless told otherwise and drops the rest.
    run(
        "tc",
        "qdisc",
        "replace",
        "dev",
        "lo",
        "root",
        "netem",
        "delay",
        f"{milliseconds}ms",
        "limit",
        100_000,
    )


@contextlib.contextmanager
def calls(at: Path = MOUNT) -> Iterator[Counter[str]]:
    """Count the NFS calls that a mount makes: a counter by operation, filled in at the end.

    Exact: it is what the kernel's client counts itself. Mounts that share their cache (the same
    options, no `nosharecache`) share their counts too.
    """
    made: Counter[str] = Counter()
    before = calls_so_far(at)
    yield made
    made.update(calls_so_far(at) - before)


@contextlib.contextmanager
def in_flight(at: Path = MOUNT) -> Iterator[list[float]]:
    """Count the calls that were without a reply when another one was sent: the average, at the end.

    Unlike times it does not depend on how busy the machine is.
    """
    average: list[float] = []
    sends, waiting = _sends_so_far(at)
    yield average
    sends_now, waiting_now = _sends_so_far(at)
    average.append((waiting_now - waiting) / (sends_now - sends))


def _sends_so_far(at: Path) -> tuple[int, int]:
    """Return how many calls were sent, and the sum of those in flight at each.

    Format: xs_tcp_print_stats in net/sunrpc/xprtsock.c; the latter is `req_u`.
    """
    ours = False
    with open("/proc/self/mountstats", encoding="utf-8") as stats:
        for line in stats:
            if line.startswith("device "):
                ours = f" mounted on {at} with " in line
            elif ours and line.split()[:2] == ["xprt:", "tcp"]:
                figures = line.split()
                return int(figures[7]), int(figures[10])
    raise LookupError(f"no TCP transport of {at}")


def calls_so_far(at: Path = MOUNT) -> Counter[str]:
    """Return the calls by operation since the mount. Format: nfs_show_stats, fs/nfs/super.c."""
    found: Counter[str] = Counter()
    ours = operations = False
    with open("/proc/self/mountstats", encoding="utf-8") as stats:
        for line in stats:
            if line.startswith("device "):
                ours, operations = f" mounted on {at} with " in line, False
            elif "per-op statistics" in line:
                operations = ours
            elif operations and ":" in line:
                name, figures = line.split(":", 1)
                found[name.strip()] = int(figures.split()[0])
    return found


def main() -> None:
    """Run the program that `program` in the bed's directory names."""
    bed, out = map(Path, sys.argv[1:])
    # Synchronous: the output is on the host even if the guest is killed the next moment.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_SYNC
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(bed / name, flags), number)
    STATE.mkdir(mode=0o700, parents=True)
    REPORTS.symlink_to(bed / REPORTS.name)
    OUT.symlink_to(out)
    program = json.loads((bed / "program").read_text(encoding="ascii"))
    function = getattr(importlib.import_module(program["module"]), program["function"])
    function(*program["arguments"])


if __name__ == "__main__":
    main()
