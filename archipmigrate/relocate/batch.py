"""Works off a batch in two halves: what an object gets is durable before what it leaves goes.

each object    begin: its new name, or its copy
barrier        all of that is durable
each object    finish, if it is half done: its old name goes
barrier        that is durable, before the outcome is
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ..engine.stop import DENIED
from ..model import Outcome, StopFlag
from .copying import Copied
from .roots import leads_out
from .steps import Different, Gone, Step

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Done:
    """How it ended with one object: a failure has operation and errno."""

    outcome: Outcome
    operation: str = ""
    errno: int = 0
    note: str = ""
    copy: Copied | None = None  # of what was carried: what it is, and was


UNTRIED = Done(Outcome.UNTRIED)


class Worker(Protocol[T_contra]):
    """What is done with each object. Every method but `operation` may raise OSError."""

    def operation(self, item: T_contra, /) -> str:
        """Return what a failure is reported with."""

    def begin(self, item: T_contra, /, *, settling: bool) -> Step:
        """Do the first half; when *settling*, only find out how far it is. Raises Gone, Different.

        With `HALF_DONE` it is finished after the barrier.
        """

    def finish(self, item: T_contra, /) -> None:
        """Do the second half. Raises Different."""

    def barrier(self, items: Sequence[T_contra], /) -> None:
        """Make durable what was done with these."""


def work_off(
    worker: Worker[T], items: Sequence[T], stop: StopFlag, deny_limit: int = 0
) -> list[Done]:
    """Work off a batch; return how each ended, UNCHANGED if it was as it should be.

    After *stop*, or *deny_limit* refusals without a success (0: no limit), none is begun: UNTRIED.
    Raises OSError if a barrier fails: what was done may then not be durable, and must be settled.
    """
    return _work_off(worker, items, stop, deny_limit, settling=False)


def settle(worker: Worker[T], items: Sequence[T]) -> list[Done]:
    """Finish what is half done of a batch that was cut off; what is not begun is UNCHANGED.

    Raises OSError as `work_off` does.
    """
    return _work_off(worker, items, b"\0", 0, settling=True)


def _work_off(
    worker: Worker[T], items: Sequence[T], stop: StopFlag, deny_limit: int, *, settling: bool
) -> list[Done]:
    done: list[Done] = []
    half_done: list[int] = []
    denied, succeeded = 0, False
    for index, item in enumerate(items):
        if stop[0] or (deny_limit and denied >= deny_limit and not succeeded):
            done.append(UNTRIED)
            continue
        steps: list[Step] = []
        with _judged(worker, item, done):
            steps.append(worker.begin(item, settling=settling))
        if not steps:
            denied += done[-1].errno in DENIED
            continue
        succeeded = True
        if steps[0] is Step.HALF_DONE:
            half_done.append(index)
        done.append(Done(_outcome(steps[0], settling=settling)))
    worker.barrier([i for i, d in zip(items, done, strict=True) if d.outcome == Outcome.CHANGED])
    for index in half_done:
        ended: list[Done] = []
        with _judged(worker, items[index], ended):
            worker.finish(items[index])
        if ended:
            done[index] = ended[0]
    worker.barrier([items[index] for index in half_done])
    return done


def _outcome(step: Step, *, settling: bool) -> Outcome:
    if step in (Step.HALF_DONE, Step.MADE) or (settling and step is Step.ALREADY):
        return Outcome.CHANGED
    return Outcome.UNCHANGED


@contextlib.contextmanager
def _judged(worker: Worker[T], item: T, done: list[Done]) -> Iterator[None]:
    """Add how it ended with an object if it did not succeed."""
    try:
        yield
    except Gone:
        done.append(Done(Outcome.GONE))
    except Different:
        done.append(Done(Outcome.DIFFERENT))
    except OSError as error:
        if leads_out(error):
            done.append(Done(Outcome.DIFFERENT))
            return
        number = error.errno or errno.EIO
        note = "" if error.strerror == os.strerror(number) else error.strerror or ""
        done.append(Done(Outcome.FAILED, worker.operation(item), number, note))
