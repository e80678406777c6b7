"""Names of jobs: only the registry and a job's own package know them, only jobs/ compares them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipmigrate.jobs.registry import KINDS, UNDO

PACKAGE = Path(__file__).parents[2] / "archipmigrate"
JOBS = PACKAGE / "jobs"
REGISTRY = JOBS / "registry.py"
# Where the name of a job is a word for something else: a directory, a topic.
OTHER_MEANINGS = {
    "locks": ("check/finding.py", "check/site.py", "maps/locate.py", "testshare/make.py")
}
OF_PREFIX = ("startswith", "removeprefix", "split", "partition", "rsplit", "rpartition")


def own_package(name: str) -> Path:
    """Return the package of a kind: its line in the registry is ..PACKAGE.kind."""
    return PACKAGE / KINDS[name].removeprefix("..").partition(".")[0]


def modules(name: str) -> list[Path]:
    """Return the modules in which the name of a job is none of their business."""
    if name == UNDO:
        return [path for path in sorted(PACKAGE.rglob("*.py")) if path != REGISTRY]
    own = own_package(name)
    every = sorted(PACKAGE.rglob("*.py"))
    others = {REGISTRY, *(PACKAGE / path for path in OTHER_MEANINGS.get(name, ()))}
    return [path for path in every if path not in others and own not in path.parents]


def compared(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the constants that something is compared with, or looked up by."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for operand in (node.left, *node.comparators):
                yield from ast.walk(operand)
        elif isinstance(node, ast.MatchValue | ast.Subscript):
            yield from ast.walk(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in OF_PREFIX:
                yield from ast.walk(node)
        elif isinstance(node, ast.Match):
            yield from ast.walk(node.subject)
        elif isinstance(node, ast.Dict):
            yield from (key for key in node.keys if key is not None)


def is_name_of_a_job(node: ast.AST) -> bool:
    """Whether an expression is what headers and others call `job`."""
    return isinstance(node, ast.Attribute) and node.attr == "job"


def is_constant(node: ast.AST, *values: str) -> bool:
    return isinstance(node, ast.Constant) and node.value in values


@pytest.mark.parametrize("name", [*KINDS, UNDO])
def test_names_of_jobs_and_prefixes_of_run_names_are_not_compared(name: str) -> None:
    for path in modules(name):
        tree = ast.parse(path.read_text())
        found = [n for n in compared(tree) if is_constant(n, name, f"{name}-")]
        assert not found, f"{path.relative_to(PACKAGE)}: ask the kind of job (jobs.registry)"


def test_jobs_of_runs_are_compared_in_the_room_of_jobs_only() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        if JOBS in path.parents:
            continue
        found = [n for n in compared(ast.parse(path.read_text())) if is_name_of_a_job(n)]
        assert not found, f"{path.relative_to(PACKAGE)}: ask jobs.registry (is_of, known_kind)"


@pytest.mark.parametrize("name", KINDS)
def test_name_of_a_job_stands_in_its_package_and_in_commands_only(name: str) -> None:
    for path in modules(name):
        if path.parent == PACKAGE / "cli":
            continue
        found = [n for n in ast.walk(ast.parse(path.read_text())) if is_constant(n, name)]
        assert not found, f"{path.relative_to(PACKAGE)} knows the job {name}"


@pytest.mark.parametrize(
    ("command", "kinds"),
    [("perms", ["perms"]), ("verify", ["perms"]), ("mapfiles", ["mapfiles"])]
    + [(command, []) for command in ("undo", "resume", "status", "forget")],
)
def test_command_imports_the_job_that_it_is_of_and_no_other(command: str, kinds: list[str]) -> None:
    code = f"import sys, archipmigrate.cli.{command}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    packages = {name: f"archipmigrate.{own_package(name).name}" for name in KINDS}
    assert kinds == [name for name, package in packages.items() if package in loaded]


@pytest.mark.parametrize(
    "code",
    [
        'header.job == "perms"',
        'job in ("perms", "copy")',
        'run.startswith("perms-")',
        '{"perms": 1}[job]',
        'match job:\n    case "perms":\n        pass',
    ],
)
def test_comparison_is_noticed(code: str) -> None:
    assert any(is_constant(node, "perms", "perms-") for node in compared(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "header.job != kind.name",
        "kind.name == header.job",
        "header.job in KINDS",
        "KINDS[header.job]",
        "match header.job:\n    case _:\n        pass",
    ],
)
def test_comparison_of_a_job_is_noticed(code: str) -> None:
    assert any(map(is_name_of_a_job, compared(ast.parse(code))))
