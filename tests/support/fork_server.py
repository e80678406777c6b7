"""The process that `Loaded` starts: it loads the program, and forks for each order on its stdin.

An order is a line of JSON: args, env, and the files out and err. The answers are lines: the pid of
the child, then its exit status once it has ended.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

from archipmigrate.cli.main import main
from archipmigrate.engine import controllers
from tests.support import inprocess  # loads all commands


def run(order: dict[str, Any]) -> None:
    """Run the program in this process, and end it."""
    os.environ.update(order["env"])
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    status = 1
    try:
        status = main(order["args"])
    except BaseException:  # noqa: BLE001 -- a test reads what it was
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)


def serve() -> None:
    """Take orders until the end of stdin."""
    controllers.FIRST_PAUSE = inprocess.FIRST_PAUSE
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            run(json.loads(line))
        print(pid, flush=True)  # noqa: T201 -- the answer
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)  # noqa: T201


if __name__ == "__main__":
    serve()
