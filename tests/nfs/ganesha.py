"""nfs-ganesha on the loopback: a real NFS server in user space, v3 and v4, on free ports.

For clients that speak NFS themselves; for the kernel's client see guest.py. Owns one server and its
run directory; the export's files are the caller's. Nothing of it outlives `close` or this process.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import compiled

ANSWERS = 20.0  # seconds to start, or to stop; on an idle machine it takes 0.1, and 2
SHOWN = 2000  # characters of the end of the log of a server that does not start
SETTINGS = """\
NFS_CORE_PARAM {{
    NFS_Port = {nfs}; MNT_Port = {mount}; NLM_Port = 0; Rquota_Port = 0; Bind_addr = {bind};
    Protocols = {protocols}; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;
    mount_path_pseudo = false; Dbus_Name_Prefix = "p{nfs}";
}}
NFSV4 {{
    Graceless = true; RecoveryBackend = fs_ng; RecoveryRoot = "{run}/recovery";
    Minor_Versions = 0, 1, 2; {owners}
}}
NFS_KRB5 {{ Active_krb5 = false; }}
EXPORT {{
    Export_Id = 1; Path = "{export}"; Pseudo = "{pseudo}";
    Protocols = {protocols}; Transports = TCP; PrivilegedPort = false;
    Access_Type = {access}; Squash = {squash}; SecType = sys; Manage_Gids = false;
    FSAL {{ Name = VFS; }}
}}
LOG {{ Default_Log_Level = EVENT; }}
"""
NUMBERS = "Only_Numeric_Owners = true;"
NAMES = """\
Only_Numeric_Owners = false; Allow_Numeric_Owners = false;
    UseGetpwnam = true; DomainName = {domain};
"""


class Ganesha:
    """A server of one directory, started by `with` or `start`.

    The ports stay the same over restarts. v3 clients mount the directory's own path, v4 clients
    *pseudo*. With a *domain*, owners are names of this host's users in it, and the server refuses
    numbers; without, owners are numbers. *address* may be 0.0.0.0, for all on the loopback.
    """

    def __init__(
        self,
        export: Path,
        *,
        squash: str = "No_Root_Squash",
        read_only: bool = False,
        versions: tuple[int, ...] = (3, 4),
        domain: str = "",
        pseudo: str = "/export",
        address: str = "127.0.0.1",
        ports: tuple[int, int] | None = None,
    ) -> None:
        self.pseudo, self._versions = pseudo, versions
        self.export = export.resolve(strict=True)  # ganesha would serve nothing
        self.address = address
        self.port, self.mount_port = ports or _free_ports()
        self._run = Path(tempfile.mkdtemp(prefix="archipmigrate-ganesha-"))
        (self._run / "recovery").mkdir()
        self._preload = compiled.library("norpcbind")
        (self._run / "conf").write_text(
            SETTINGS.format(
                bind=address,
                nfs=self.port,
                mount=self.mount_port,
                run=self._run,
                export=self.export,
                pseudo=pseudo,
                protocols=", ".join(map(str, versions)),
                owners=NAMES.format(domain=domain) if domain else NUMBERS,
                access="RO" if read_only else "RW",
                squash=squash,
            ),
            encoding="utf-8",
        )
        self._process: subprocess.Popen[bytes] | None = None

    def url(
        self, version: int = 3, *, port: int = 0, mount_port: int = 0, servers: str = ""
    ) -> str:
        """Return the URL; the ports can be those of a proxy, *servers* other addresses."""
        path = self.export if version == 3 else self.pseudo
        ports = f"nfsport={port or self.port}&mountport={mount_port or self.mount_port}"
        where = servers or ("127.0.0.1" if self.address == "0.0.0.0" else self.address)
        return f"nfs://{where}{path}?{ports}&version={version}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        log = self._run / "log"
        ports = (self.port, self.mount_port) if 3 in self._versions else (self.port,)
        words = ["ganesha.nfsd", "-F", "-N", "NIV_EVENT", "-f", str(self._run / "conf")]
        words += ["-L", str(log), "-p", str(self._run / "pid")]
        with (self._run / "said").open("ab") as said:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *words],
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LD_PRELOAD": str(self._preload)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + ANSWERS
        while self._process.poll() is None and time.monotonic() < end:
            if all(_answers(self.address, port) for port in ports):
                return
            time.sleep(0.02)
        self.kill()
        shown = log.read_text(errors="backslashreplace")[-SHOWN:] if log.exists() else ""
        raise RuntimeError(f"ganesha does not start:\n{shown}")

    def stop(self) -> None:
        """Send SIGTERM and wait; do nothing if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL and wait, as in a crash; do nothing if it does not run."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop the server, as if it hung, until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a paused server."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill the server and start it again."""
        self.kill()
        self.start()

    def close(self) -> None:
        """Kill the server and remove its run directory."""
        self.kill()
        shutil.rmtree(self._run)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _signal(self, number: int) -> None:
        if not self._process:
            raise RuntimeError("ganesha does not run")
        self._process.send_signal(number)

    def _end(self, number: int) -> None:
        if self._process:
            self._process.send_signal(number)
            try:
                self._process.wait(ANSWERS)
            finally:
                self._process.kill()
                self._process.wait()
                self._process = None


def _free_ports() -> tuple[int, int]:
    """Return two free ports. Somebody may take them before the server does: that is not prevented.

    They are below those that the kernel gives to clients, which could take them during a restart.
    """
    found: list[int] = []
    while len(found) < 2:
        port = random.randrange(10_000, 32_768)  # ip(7): ip_local_port_range begins there
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            found.append(port)
    return found[0], found[1]


def _answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True
