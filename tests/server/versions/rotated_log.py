"""Audit logs of several small files; `python -m tests.server.versions.rotated_log` writes one until it is killed."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnxpress.server.facts import AdminFact
from onnxpress.server.versions.audit import AuditState, FileAuditLog
from onnxpress.server.versions.audit_chain import Record
from onnxpress.server.versions.audit_files import parts, verified_parts

BYTES_MAX = 2000  # header and four to six records
POINTS = ("before the new file", "before the archive", "after the archive", "before the rename", "after the rename")


def fact(version: int, model: str = "churn") -> AdminFact:
    return AdminFact("ada", "deploy", model, version - 1, version, version, "", "größer")


def opened(folder: Path, server: str = "here.1.00") -> FileAuditLog:
    return FileAuditLog(folder, server, BYTES_MAX)


def change(log: FileAuditLog, version: int) -> None:
    log.finish(log.begin(fact(version)), AuditState.COMMITTED)


def rotated(folder: Path, archives: int = 2) -> FileAuditLog:
    """A log with so many archives and at least one change in the newest file."""
    log, version = opened(folder), 0
    while len(list(folder.glob("audit-*.jsonl"))) < archives:
        version += 1
        change(log, version)
    return log


def records(folder: Path) -> list[Record]:
    """All records, after proving that they are one chain."""
    with parts(folder) as files:
        return [record for record, _, _ in verified_parts(files)]


def changes(folder: Path) -> list[tuple[int, str]]:
    """Version and state of each record that is about a change."""
    return [(one["to_version"], one["state"]) for one in records(folder) if one["state"] != "rotation"]


def plant(point: str) -> None:
    """Makes the process die at this point of the next rotation."""

    def dying(owner: Any, name: str, moment: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def wrapped(*arguments: Any) -> Any:
            if moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, wrapped)

    where = {"file": (FileAuditLog, "_prepare"), "archive": (Path, "rename"), "rename": (Path, "replace")}
    moment, _, what = point.partition(" the ")
    dying(*where[what.removeprefix("new ")], moment)


def main(folder: Path, server: str, first: int, point: str) -> None:
    """Writes changes with the numbers from `first` on, and prints each when it is acknowledged."""
    log = opened(folder, server)
    if point:
        plant(point)
    version = first
    while True:
        change(log, version)
        print(version, flush=True)
        version += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
