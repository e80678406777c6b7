"""Findings as a page of text, or as JSON, one object a line; and the exit status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ..ui.printer import RED, YELLOW
from ..ui.report import Report
from ..ui.text import count
from .finding import Finding, Level

STATUS = {Level.OK: 0, Level.WARNING: 4, Level.BLOCKER: 5}
# The last line of a page: of a site, and of its volumes.
Verdict = Mapping[Level, str]
SITE: Verdict = {
    Level.OK: "ready: nothing is left to do",
    Level.WARNING: "no blockers",
    Level.BLOCKER: "not ready",
}
VOLUMES: Verdict = {
    Level.OK: "all volumes are as they should be",
    Level.WARNING: "not all volumes are as they should be",
    Level.BLOCKER: "not all volumes are as they should be",
}
COLORS = {Level.OK: "", Level.WARNING: YELLOW, Level.BLOCKER: RED}
WIDTH, TOPIC_WIDTH = 7, 10  # of columns
INDENT = WIDTH + 1 + TOPIC_WIDTH


def show_page(found: Iterable[Finding], report: Report, verdict: Verdict = SITE) -> int:
    """Print findings as they come, then the verdict; return the exit status."""
    levels: Counter[Level] = Counter()
    for finding in found:
        levels[finding.level] += 1
        if report.is_json:
            report.emit(finding_object(finding))
        elif finding.level is not Level.OK or not report.is_quiet:
            for line in finding_lines(finding):
                report.line(line, COLORS[finding.level])
    worst = max(levels, default=Level.OK)
    counts = {level.word: levels[level] for level in Level}
    thing = {"type": "summary", "job": "check", "status": worst.word, **counts}
    words = f"{count(levels[Level.BLOCKER], 'blocker')}, {count(levels[Level.WARNING], 'warning')}"
    report.summary([f"{verdict[worst]} ({words}, {levels[Level.OK]:,} ok)"], thing)
    return STATUS[worst]


def finding_lines(finding: Finding) -> list[str]:
    """Return the lines of a finding: what is, and what to do."""
    first = f"{finding.level.word:<{WIDTH}} {finding.topic:<{TOPIC_WIDTH}} {finding.text}"
    return [first, f"{'':<{INDENT}} -> {finding.todo}"] if finding.todo else [first]


def finding_object(finding: Finding) -> dict[str, object]:
    """Return a finding for JSON."""
    return {
        "type": "finding",
        "topic": finding.topic.value,
        "level": finding.level.word,
        "text": finding.text,
        "todo": finding.todo,
        "data": dict(finding.data),
    }
