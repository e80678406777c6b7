"""Phase 1 beside nodes that behave as v0.3 does, phase 4 beside one that behaves as v0.4 does."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.inprocess import Program
from tests.support.prelinked import STEP, Site

pytestmark = [pytest.mark.privileged, pytest.mark.slow]
VOLUMES = [f"volume-{number:02d}" for number in range(6)]
BLOCKS = range(4)
SIZE = 64
PASSES = 4


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


@pytest.fixture
def site(program: Program, tmp_path: Path) -> Site:
    """A share with volumes of which every second block was written."""
    site = Site(tmp_path / "share", program)
    site.blocks.mkdir(parents=True)
    site.maps.mkdir()
    for volume in VOLUMES:
        for number in BLOCKS[::2]:
            site.write(volume, number, f"{volume} {number}".encode().ljust(SIZE))
        site.write_map(volume, BLOCKS)
    return site


@dataclass(slots=True)
class Node:
    """A node of v0.3: it keeps descriptors by name, and opens with O_CREAT also to read.

    Each node has volumes of its own; the content that it would serve is in `model`.
    """

    site: Site
    volumes: list[str]
    chance: random.Random
    held: dict[tuple[str, int], int] = field(default_factory=dict)
    model: dict[tuple[str, int], bytes] = field(default_factory=dict)

    def act(self) -> None:
        """Do one thing."""
        volume, number = self.chance.choice(self.volumes), self.chance.choice(BLOCKS)
        deed = self.chance.random()
        if deed < 0.6:
            content = self.chance.randbytes(SIZE)
            os.pwrite(self._open(volume, number), content, 0)
            self.model[volume, number] = content
        elif deed < 0.9:
            os.pread(self._open(volume, number), SIZE, 0)
        else:
            self._make_again(volume)

    def _open(self, volume: str, number: int) -> int:
        if (volume, number) not in self.held:
            path = self.site.old(volume, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            self.held[volume, number] = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        return self.held[volume, number]

    def _make_again(self, volume: str) -> None:
        """Delete a volume, the map first, and make it again."""
        for number in BLOCKS:
            fd = self.held.pop((volume, number), -1)
            if fd >= 0:
                os.close(fd)
            self.site.old(volume, number).unlink(missing_ok=True)
            self.model[volume, number] = b""
        time.sleep(STEP)  # a write in the same tick as the unlink would seem to come after it

    def close(self) -> None:
        """Close what is held."""
        for fd in self.held.values():
            os.close(fd)


@contextmanager
def at_work(act: Callable[[], None]) -> Iterator[None]:
    """Act again and again meanwhile; raise what failed."""
    stop, failed = threading.Event(), []

    def work() -> None:
        try:
            while not stop.is_set():
                act()
        except BaseException as error:  # noqa: BLE001 -- for the thread that waits
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failed


def test_phase_1_beside_two_nodes_of_v03_ends_in_what_they_served(site: Site) -> None:
    nodes = [Node(site, VOLUMES[at::2], random.Random(at)) for at in range(2)]
    for node in nodes:
        for volume in node.volumes:
            for number in BLOCKS:
                path = site.old(volume, number)
                node.model[volume, number] = path.read_bytes() if path.exists() else b""
    with at_work(nodes[0].act), at_work(nodes[1].act):
        for _ in range(PASSES):
            ended = site.link()
            assert (ended.status, ended.summary["failed"]) == (0, 0), ended.out + ended.err
    for node in nodes:
        node.close()
    model = {key: content for node in nodes for key, content in node.model.items()}
    for (volume, number), content in model.items():
        path = site.old(volume, number)
        assert (path.read_bytes() if path.exists() else b"") == content
    ended = site.switch()
    assert ended.summary["phase"] == "linked"
    conflicts = {Path(o["path"]).name for o in ended.objects if o.get("class") == "conflict"}
    for (volume, number), content in model.items():
        new = site.new(volume, number)
        if new.name in conflicts:
            continue  # only read since it was made again; or deleted in the tick of its last write
        assert (new.read_bytes() if new.exists() else b"") == content, (volume, number)


def test_phase_4_beside_v04_removes_only_names_and_no_last_one(site: Site) -> None:
    for volume in VOLUMES:
        for number in BLOCKS:
            site.write(volume, number, b"before".ljust(SIZE))
    assert site.link().status == 0
    assert site.switch().status == 0
    chance = random.Random(4)
    model: dict[tuple[str, int], bytes] = {}
    deleted: set[tuple[str, int]] = set()

    def act() -> None:
        volume, number = chance.choice(VOLUMES), chance.choice(BLOCKS)
        if (volume, number) in deleted:
            return
        if chance.random() < 0.05:
            site.new(volume, number).unlink()
            deleted.add((volume, number))
            return
        content = chance.randbytes(SIZE)
        fd = os.open(site.new(volume, number), os.O_RDWR)
        os.pwrite(fd, content, 0)
        os.close(fd)
        model[volume, number] = content

    with at_work(act):
        ended = site.drop()
    assert (ended.status, ended.summary["phase"]) == (0, "dropped"), ended.out + ended.err
    for (volume, number), content in model.items():
        if (volume, number) not in deleted:
            assert site.new(volume, number).read_bytes() == content
            assert site.new(volume, number).stat().st_nlink == 1
    kept = len(site.kept("deleted-v04"))
    assert kept <= len(deleted)
    assert not any(site.old(v, n).exists() for v in VOLUMES for n in BLOCKS)
    listed = [o for o in ended.objects if o.get("class") == "deleted-v04"]
    assert len(listed) == kept
    assert site.back().status == 0
