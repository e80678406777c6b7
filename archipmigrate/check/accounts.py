"""The user and the group of v0.4: whether they are there, and have one number everywhere.

NFS with sec=sys hands numbers around: where a node has another number for the group, its daemons
may not open what perms gave to the group.
"""

from __future__ import annotations

import grp
import pwd
import shlex
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from ..config.blocker import OWNER
from .finding import Finding, Topic, blocker, ok, warning
from .question import Question, number_of

SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10")
SECONDS = 30.0  # for a node to answer
AT_ONCE = 8
MARK = "--"


def user(question: Question) -> Iterator[Finding]:
    """Look the user up here, and see whom v0.4 is configured to run as."""
    name = question.site.user
    uid = number_of(name, lambda text: pwd.getpwnam(text).pw_uid)
    if uid is None:
        yield blocker(
            Topic.USER,
            f"there is no user {name} on this host",
            f"create it with the same number on every node: adduser --system --uid N {name}",
            user=name,
        )
    else:
        yield ok(Topic.USER, f"user {name} is {uid} here", user=name, uid=uid)
    configured = question.site.configured
    if "root" in configured:
        yield warning(
            Topic.USER,
            f"USER and GROUP of {question.site.config} are {configured[0]} and {configured[1]}",
            f"right until perms is done; then set them to {OWNER} on every node",
            user=configured[0],
            group=configured[1],
        )


def group(question: Question) -> Iterator[Finding]:
    """Look the group up here."""
    name = question.site.group
    gid = number_of(name, lambda text: grp.getgrnam(text).gr_gid)
    if gid is None:
        yield blocker(
            Topic.GROUP,
            f"there is no group {name} on this host",
            f"create it with the same number on every node: addgroup --system --gid N {name}",
            group=name,
        )
    else:
        yield ok(Topic.GROUP, f"group {name} is {gid} here", group=name, gid=gid)


def hosts(question: Question) -> Iterator[Finding]:
    """Ask other nodes, by ssh, for the numbers of user and group."""
    site = question.site
    here = (
        number_of(site.user, lambda text: pwd.getpwnam(text).pw_uid),
        number_of(site.group, lambda text: grp.getgrnam(text).gr_gid),
    )
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = threads.map(lambda host: _ask(host, site.user, site.group), question.hosts)
        for host, answer in zip(question.hosts, answers, strict=True):
            yield _compared(host, answer, here, (site.user, site.group))


def _ask(host: str, user_name: str, group_name: str) -> tuple[int | None, int | None] | str:
    """Return the numbers that a node has (None: it knows none), or why it was not asked."""
    asked = (
        f"getent passwd {shlex.quote(user_name)}; echo {MARK}; "
        f"getent group {shlex.quote(group_name)}; true"
    )
    try:
        done = subprocess.run(  # noqa: S603 -- names are quoted, hosts are no options
            [*SSH, host, asked],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS:.0f} s"
    except OSError as error:
        return f"ssh: {error.strerror}"
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        return f"ssh: {last[0]}"
    users, mark, groups = done.stdout.partition(f"{MARK}\n")
    return (_number(users), _number(groups)) if mark else "ssh: no answer to getent"


def _number(line: str) -> int | None:
    fields = line.split(":")
    return int(fields[2]) if len(fields) > 2 and fields[2].isdecimal() else None


def _compared(
    host: str,
    answer: tuple[int | None, int | None] | str,
    here: tuple[int | None, int | None],
    names: tuple[str, str],
) -> Finding:
    if isinstance(answer, str):
        todo = f"see that this works: ssh -o BatchMode=yes {host} true"
        return warning(Topic.HOSTS, f"{host}: not checked: {answer}", todo, host=host)
    data: dict[str, object] = {"host": host, "uid": answer[0], "gid": answer[1]}
    wrong = []
    for what, name, there, ours in zip(("user", "group"), names, answer, here, strict=True):
        if there is None:
            wrong.append(f"has no {what} {name}")
        elif ours is not None and there != ours:
            wrong.append(f"has {what} {name} as {there}, this host as {ours}")
    if wrong:
        todo = "give both the same numbers on every node, before perms: usermod -u, groupmod -g"
        return blocker(Topic.HOSTS, f"{host} {' and '.join(wrong)}", todo, **data)
    return ok(Topic.HOSTS, f"{host} has the same numbers", **data)
