"""What serves on the loopback: nfs-ganesha, and the proxy that adds latency."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.nfs.ganesha import Ganesha
from tests.nfs.latency import LOOPBACK, Latency
from tests.nfs.packages import CLIENT, require
from tests.nfs.traces import leaving_nothing, processes

pytestmark = pytest.mark.privileged

ONE_WAY = 0.02  # seconds: far above what a busy machine adds
PATIENCE = 20.0  # seconds for what takes a tenth of one on an idle machine
Serve = Callable[..., Ganesha]


def _client(*words: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.parametrize("version", [3, 4])
def test_ganesha_serves_what_is_in_a_directory(version: int, ganesha: Serve, share: Path) -> None:
    require(CLIENT)
    (share / "file").write_text("content", encoding="ascii")
    url = ganesha(share).url(version)
    listed = _client("nfs-ls", url)
    assert listed.stdout.split()[-1] == "file", listed.stderr
    assert _client("nfs-cat", url.replace("?", "/file?")).stdout == "content"


def test_ganesha_serves_again_after_a_restart(ganesha: Serve, share: Path) -> None:
    require(CLIENT)
    server = ganesha(share)
    (share / "file").touch()
    server.restart()
    assert "file" in _client("nfs-ls", server.url()).stdout
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, server.port))
    server.start()
    assert "file" in _client("nfs-ls", server.url()).stdout


def test_ganesha_squashes_root_and_serves_read_only(ganesha: Serve, share: Path) -> None:
    require(CLIENT)
    (share / "file").write_text("secret", encoding="ascii")
    (share / "file").chmod(0o600)
    share.chmod(0o777)
    squashed = ganesha(share, squash="Root_Squash").url().replace("?", "/file?")
    assert _client("nfs-cat", squashed).returncode != 0
    frozen = ganesha(share, read_only=True).url()
    assert _client("nfs-cat", frozen.replace("?", "/file?")).stdout == "secret"
    assert _client("nfs-cp", __file__, frozen.replace("?", "/new?")).returncode != 0
    assert [file.name for file in share.iterdir()] == ["file"]


def test_ganesha_answers_nothing_while_it_is_paused(ganesha: Serve, share: Path) -> None:
    require(CLIENT)
    (share / "file").touch()
    server = ganesha(share)
    server.pause()
    with pytest.raises(subprocess.TimeoutExpired):
        _client("nfs-ls", server.url(), timeout=0.3)
    server.resume()
    assert "file" in _client("nfs-ls", server.url()).stdout


@pytest.mark.usefixtures("ganesha")
def test_ganesha_leaves_nothing(share: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    left = tmp_path_factory.mktemp("left")
    with leaving_nothing(left), Ganesha(share):
        assert processes(left)


def test_ganesha_says_why_it_does_not_start(ganesha: Serve, share: Path) -> None:
    server = ganesha(share)
    server.stop()
    with (
        socket.create_server((LOOPBACK, server.port)),
        pytest.raises(RuntimeError, match="Address already in use"),
    ):
        server.start()


def test_ganesha_answers_through_latency(ganesha: Serve, share: Path) -> None:
    require(CLIENT)
    (share / "file").touch()
    server = ganesha(share)
    with Latency(server.port, ONE_WAY) as nfs, Latency(server.mount_port, ONE_WAY) as mount:
        start = time.monotonic()
        listed = _client("nfs-ls", server.url(port=nfs.port, mount_port=mount.port))
    assert "file" in listed.stdout, listed.stderr
    assert time.monotonic() - start >= 4 * ONE_WAY  # a call each at least


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets, to one client after another."""

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # the test is over
                return
            with connection, contextlib.suppress(ConnectionResetError):
                while got := connection.recv(1 << 16):
                    connection.sendall(got)

    with socket.create_server((LOOPBACK, 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_latency_delays_each_way(echo: int) -> None:
    with Latency(echo, ONE_WAY) as proxy, socket.create_connection((LOOPBACK, proxy.port)) as near:
        start = time.monotonic()
        near.sendall(b"x")
        near.recv(1)
        assert time.monotonic() - start >= 2 * ONE_WAY


def test_latency_takes_all_that_is_sent_before_it_delivers_the_first_byte(echo: int) -> None:
    """So that it does not limit throughput. The sockets' buffers have room for much less."""
    with Latency(echo, 60) as proxy, socket.create_connection((LOOPBACK, proxy.port)) as near:
        near.sendall(bytes(64 << 20))
        near.setblocking(False)
        with pytest.raises(BlockingIOError):
            near.recv(1)


def test_latency_delivers_what_was_sent(echo: int) -> None:
    sent = os.urandom(4 << 20)
    with Latency(echo, ONE_WAY) as proxy, socket.create_connection((LOOPBACK, proxy.port)) as near:
        writer = threading.Thread(target=near.sendall, args=(sent,))
        writer.start()
        received = bytearray()
        while len(received) < len(sent):
            received += near.recv(1 << 16)
        writer.join()
    assert received == sent


def test_latency_resets_connections_when_cut(echo: int) -> None:
    with Latency(echo, 0) as proxy:
        with socket.create_connection((LOOPBACK, proxy.port)) as near:
            near.sendall(b"x")
            assert near.recv(1) == b"x"
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                near.recv(1)
        with socket.create_connection((LOOPBACK, proxy.port)) as near:
            near.sendall(b"y")
            near.shutdown(socket.SHUT_WR)
            assert near.recv(2) == b"y"
            assert near.recv(1) == b""


def test_latency_closes_when_nobody_is_behind() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
    with Latency(port, 0) as proxy, socket.create_connection((LOOPBACK, proxy.port)) as near:
        near.settimeout(PATIENCE)
        assert near.recv(1) == b""
