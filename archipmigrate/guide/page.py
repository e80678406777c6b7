"""Steps as a page of text, or as JSON, one object a line; and the exit status."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..ui.report import Report
from ..ui.text import count
from .back import Back
from .step import Step

LEFT = 4  # exit status
INDENT = "      "


def show_guide(steps: Sequence[Step], back: tuple[str, list[Back]], report: Report) -> int:
    """Print the steps that remain, and the way back; return the exit status."""
    begins, undos = back
    if report.is_json:
        for number, step in enumerate(steps, 1):
            report.emit(_object(number, step))
        for undo in undos:
            report.emit({"type": "back", "text": undo.text, "command": undo.command})
    else:
        for line in _lines(steps, begins, undos):
            report.line(line)
    status = "steps" if steps else "done"
    thing = {
        "type": "summary",
        "job": "guide",
        "status": status,
        "steps": len(steps),
        "back": begins,
    }
    words = f"{count(len(steps), 'step')} left" if steps else "nothing is left to do"
    report.summary([words], thing)
    return LEFT if steps else 0


def _lines(steps: Sequence[Step], begins: str, undos: Iterable[Back]) -> Iterable[str]:
    for number, step in enumerate(steps, 1):
        yield f"{number:3}. [ ] {step.where}: {step.text}"
        yield from (f"{INDENT}    $ {command}" for command in step.commands)
        if step.note:
            yield f"{INDENT}    ({step.note})"
    if steps:
        yield f"the way back: {begins}"
        for undo in undos:
            yield f"{INDENT}- {undo.text}: {undo.command}"


def _object(number: int, step: Step) -> dict[str, object]:
    return {
        "type": "step",
        "number": number,
        "key": step.key,
        "where": step.where,
        "text": step.text,
        "commands": list(step.commands),
        "note": step.note,
    }
