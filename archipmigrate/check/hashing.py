"""The digests of all volumes, as v0.3 or v0.4 serves them: several at once, each streamed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import monotonic

from ..engine.job import Counters
from ..errors import ShareError
from ..jobs.lanes import choose_lanes
from ..maps.blocker.content import Blocks, MissingObject, NoContent, content_map, volume_sha256
from ..maps.blocker.entries import BadEntry
from ..maps.blocker.volume_files import KnownSizes, find_volume_files
from ..maps.format.codec import codec_of
from ..share import open_share
from ..tree.beneath import PIN_DIRECTORY
from ..tree.files import Tree
from ..ui.progress import Subject
from .question import Question
from .sums import Sum

SUBJECT = Subject("check (content)", "volume", "hashed")


@dataclass(frozen=True, slots=True)
class Hashed:
    """The digests of volumes, and why others have none."""

    sums: dict[bytes, Sum] = field(default_factory=dict)
    failed: dict[bytes, str] = field(default_factory=dict)

    def take(self, name: bytes, future: Future[Sum]) -> None:
        """Take in the result of a volume."""
        try:
            self.sums[name] = future.result()
        except (NoContent, MissingObject, BadEntry) as error:
            self.failed[name] = str(error)
        except OSError as error:
            self.failed[name] = error.strerror or str(error)


class _Stopped(Exception):
    """A thread ends because the whole ends."""


@dataclass(slots=True)
class _Source:
    """What the threads read. Once `stopped` is set, each ends within 1 MiB."""

    maps: Tree
    blocks: Blocks
    sizes: KnownSizes
    stopped: bool = False

    def sum_of(self, name: bytes) -> Sum:
        """Hash a volume. Raises NoContent, MissingObject, BadEntry, OSError, _Stopped."""
        file, head = content_map(find_volume_files(self.maps, name, self.sizes))
        codec = codec_of("auto")
        digest = volume_sha256(self.maps, file, head, codec, self.blocks, self._seen)
        return Sum(head.size, digest)

    def _seen(self, _: int) -> None:
        if self.stopped:
            raise _Stopped


def hash_volumes(
    question: Question, names: Sequence[bytes], sizes: KnownSizes, pithos: str
) -> Hashed:
    """Hash the volumes of these *names*, as many at once as a job has lanes.

    *pithos* is Pithos' own directory of blocks ("": none), which only v0.3 reads. Raises
    ShareError.
    """
    site, hashed = question.site, Hashed()
    with ExitStack() as stack:
        maps = _open(site.maps, stack)
        blocks = Blocks(*(_open(path, stack) for path in (site.blocks, pithos) if path))
        source, lanes = _Source(maps, blocks, sizes), _lanes(question)
        threads = stack.enter_context(ThreadPoolExecutor(lanes))
        reporter = stack.enter_context(question.watch(SUBJECT))
        counters, due = Counters(lanes=lanes, total=len(names)), 0.0
        try:
            for busy in _work(threads, source, names, hashed, lanes, reporter.interval):
                if monotonic() < due:
                    continue
                due = monotonic() + reporter.interval
                counters.busy = busy
                counters.tally.entries = len(hashed.sums) + len(hashed.failed)
                counters.tally.changed = len(hashed.sums)
                counters.tally.failed = len(hashed.failed)
                reporter.tick(counters)
        except BaseException:
            source.stopped = True
            raise
    return hashed


def _work(
    threads: ThreadPoolExecutor,
    source: _Source,
    names: Iterable[bytes],
    hashed: Hashed,
    lanes: int,
    interval: float,
) -> Iterable[int]:
    """Hash volumes; yield how many are being hashed, each time one is done or *interval* is over.

    Only a few wait in front of the threads, however many there are.
    """
    left = iter(names)
    waiting: dict[Future[Sum], bytes] = {}
    while True:
        while len(waiting) < 2 * lanes and (name := next(left, None)) is not None:
            waiting[threads.submit(source.sum_of, name)] = name
        if not waiting:
            return
        done, _ = wait(waiting, interval, FIRST_COMPLETED)
        for future in done:
            hashed.take(waiting.pop(future), future)
        yield len(waiting)


def _open(path: str, stack: ExitStack) -> Tree:
    try:
        fd = os.open(path, PIN_DIRECTORY & ~os.O_NOFOLLOW)
    except OSError as error:
        raise ShareError(f"{path}: {error.strerror}") from None
    stack.callback(os.close, fd)
    return Tree(fd)


def _lanes(question: Question) -> int:
    share = open_share(question.site.blocks)
    try:
        return choose_lanes(share, question.options).jobs
    finally:
        share.close()
