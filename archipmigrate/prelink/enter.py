"""Entering a phase: in one transaction, before anything of it is done."""

from __future__ import annotations

from dataclasses import replace

from ..journal.store import Journal
from ..model import JobTables
from ..packed.moves import Root
from ..relocate.classify import Class
from .job import RETURN_MAPS, RETURN_NAMES
from .judge import EMPTY, TAKEN, WRITTEN
from .judges import ALIVE
from .phases import Phase, next_phase
from .tables import (
    begin_walk,
    forget_waiting,
    prepare_tables,
    put_walks,
    set_standing,
    standing,
    walks,
)

# From these on old names may be gone.
NAMES_MAY_BE_GONE = (Phase.LOOK, Phase.DROP, Phase.DROPPED)


def enter(journal: Journal, wanted: Phase) -> None:
    """Have a run go on with a phase, or begin it. Durable on return.

    Raises FatalError if the run is in a phase from which that makes no sense, JournalError.
    """
    journal.commit([prepare_tables])
    now = standing(journal)
    phase = next_phase(now.phase, wanted)
    header = journal.read_header()
    header.status = "interrupted"
    goes_on = phase is now.phase and not (phase is Phase.LINK and _has_passed(journal))

    def write(journal: Journal) -> None:
        journal.write_header(header)
        if goes_on:
            return
        for number, _ in list(journal.units()):  # of the phase that this one ends
            journal.remove_unit(number)
        _begin(journal, now.phase, phase)
        set_standing(journal, replace(now, phase=phase, began=0))

    journal.commit([write])


def _has_passed(journal: Journal) -> bool:
    """Whether a pass of phase 1 is over."""
    return not walks(journal) and next(journal.units(), None) is None


def _begin(journal: JobTables, before: Phase, phase: Phase) -> None:
    if phase is Phase.BACK:
        journal.execute("DELETE FROM walk")
        forget_waiting(journal)
        names = [RETURN_NAMES] if before in NAMES_MAY_BE_GONE else []
        put_walks(journal, Root.MAPS, [RETURN_MAPS, *names])
        return
    begin_walk(journal, maps=phase is not Phase.LINK)
    if phase is Phase.SURVEY:
        _forget_verdicts(journal)
    elif phase is Phase.LOOK:
        forget_waiting(journal)
        journal.execute("DELETE FROM found WHERE class = ?", ALIVE)


def _forget_verdicts(journal: JobTables) -> None:
    """Forget what an earlier survey found, before a way back: it is judged anew."""
    journal.execute("DELETE FROM found WHERE class = ?", Class.MISSING)
    for note in (WRITTEN, EMPTY, TAKEN):
        journal.execute("DELETE FROM found WHERE class = ? AND note = ?", Class.CONFLICT, note)
