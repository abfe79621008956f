"""A server that is killed at one point of one deploy: `python -m tests.e2e.faulty_server POINT VERSION FLAGS…`.

Nothing of the product knows about it: the functions are wrapped here, before the server starts.
"""

import os
import signal
import sys
from typing import Any

from onnxpress.__main__ import main
from onnxpress.server.facts import AdminFact
from onnxpress.server.serving.scheduler import Scheduler
from onnxpress.server.versions import desired as deployments
from onnxpress.server.versions.audit import FileAuditLog, Intent
from onnxpress.server.versions.desired import DesiredStore

POINTS = (
    "before the intent",
    "in the middle of the intent",
    "after the intent",
    "before the rename",
    "after the rename",
    "after deployment.json",
    "before the outcome",
    "after the outcome",
    "after the flip",
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Fault:
    """Wraps functions so that the process dies before or after one of them, once the fault is armed."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._armed = False

    def kill(self, owner: Any, name: str, moment: str) -> None:
        original = getattr(owner, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            if self._armed and moment == "before":
                die()
            result = original(*arguments, **named)
            if self._armed and moment == "after":
                die()
            return result

        setattr(owner, name, wrapped)

    def arm_at_audit(self) -> None:
        """The intent is what every deploy begins with."""
        original = FileAuditLog.begin

        def wrapped(log: FileAuditLog, fact: AdminFact) -> Intent:
            self._armed = self._armed or (fact.action == "deploy" and fact.to_version == self._version)
            return original(log, fact)

        FileAuditLog.begin = wrapped  # type: ignore[method-assign]


def write_half(log: FileAuditLog, line: bytes) -> None:
    with log._path.open("ab") as file:
        file.write(line[: len(line) // 2])


def plant(point: str, version: int) -> None:
    """Makes the process die when the deploy of `version` passes `point`."""
    fault = Fault(version)
    where: dict[str, tuple[Any, str, str]] = {
        "before the intent": (FileAuditLog, "_write", "before"),
        "in the middle of the intent": (FileAuditLog, "_write", "half"),
        "after the intent": (FileAuditLog, "_write", "after"),
        "before the rename": (deployments.Path, "replace", "before"),
        "after the rename": (deployments.Path, "replace", "after"),
        "after deployment.json": (DesiredStore, "compare_and_swap", "after"),
        "before the outcome": (FileAuditLog, "finish", "before"),
        "after the outcome": (FileAuditLog, "finish", "after"),
        "after the flip": (Scheduler, "replace_route", "after"),
    }
    owner, name, moment = where[point]
    if moment == "half":
        whole = FileAuditLog._write

        def half(log: FileAuditLog, line: bytes) -> None:
            (write_half if fault._armed else whole)(log, line)

        FileAuditLog._write = half  # type: ignore[method-assign]
        moment = "after"
    fault.kill(owner, name, moment)
    fault.arm_at_audit()


if __name__ == "__main__":
    assert sys.argv[1] in POINTS, sys.argv[1]
    plant(sys.argv[1], int(sys.argv[2]))
    sys.exit(main(["serve", *sys.argv[3:]]))
