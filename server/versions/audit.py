"""The audit log: requested changes (`intent`) and their outcomes (`committed`, `aborted`).

A record is on disk before the call that made it returns.

Servers that share a state folder share the log: each append holds the folder's lock and continues the newest record,
whichever server wrote it, so the chain of hashes cannot fork.
"""

import fcntl
import hashlib
import logging
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from time import monotonic
from typing import Any

from onnxpress.server.errors import StateWriteError
from onnxpress.server.facts import AdminFact
from onnxpress.server.versions.audit_chain import BrokenChainError, Place, Record, backwards, parse, seal, verified

AUDIT_FILE = "audit.jsonl"
LOCK_FILE = "audit.lock"
# Seconds. An append takes milliseconds, so a lock that is held for longer is held by a hanging process.
LOCK_S = 10.0
LOCK_TRY_S = 0.005
RECORDS_MAX = 10_000
NAME_MAX = 255  # of a model that does not exist
OK = "ok"
PENDING = "no outcome yet"

logger = logging.getLogger(__name__)


class AuditState(Enum):
    """The state of a change."""

    INTENT = "intent"
    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"
    BREAK = "break"


@dataclass(frozen=True)
class Intent:
    """A change with an intent and no outcome yet."""

    change: str
    server: str
    fact: AdminFact


class FileAuditLog:
    """Owns the file together with the servers that share it; every method may be called from any thread.

    Memory holds the position after the newest record and the open intents, not the log.
    """

    def __init__(self, folder: Path, server: str) -> None:
        """`server` names this process in every record. Verifies the whole chain.

        A broken chain does not prevent serving: the file is set aside, the log continues after the last valid record
        with one that reports the break, and `notice` reports it too.

        Raises StateWriteError when the folder or the log cannot be read or written.
        """
        self._path = folder / AUDIT_FILE
        self._server = server
        self._lock = threading.Lock()
        self._place = Place()
        self._inode = 0
        self._open: dict[str, Intent] = {}
        self.notice = ""  # a problem of the log to show to operators; empty: none
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._exclusive():
                self._read_new()
        except OSError as error:
            raise StateWriteError(
                f"the audit log cannot be opened: {error.strerror}; state_dir names a folder for it"
            ) from error

    def begin(self, fact: AdminFact) -> Intent:
        """Returns once the intent is on disk. Raises StateWriteError; the log is then unchanged."""
        intent = Intent(secrets.token_hex(8), self._server, fact)
        self._append(intent, AuditState.INTENT, PENDING)
        return intent

    def finish(self, intent: Intent, state: AuditState, result: str = OK) -> None:
        """Returns once the outcome is on disk. Raises StateWriteError; the intent then stays open."""
        self._append(intent, state, result)

    def refuse(self, intent: Intent | None, fact: AdminFact, result: str) -> None:
        """Like `finish`, for a change that was not made and may have no intent."""
        named = replace(fact, model=fact.model[:NAME_MAX])
        asked = intent or Intent(secrets.token_hex(8), self._server, named)
        self.finish(replace(asked, fact=named), AuditState.ABORTED, result)

    def unfinished(self) -> list[Intent]:
        """Intents without an outcome, of all servers that share the log, oldest first."""
        with self._writing():
            return list(self._open.values())

    def records(self, model: str, limit: int) -> list[Record]:
        """The newest changes of `model`, or of all for an empty name: at most `limit` and RECORDS_MAX, newest last.

        Each change appears once: its outcome, or its intent if there is none. If the chain is broken, the last record
        reports it.
        """
        chosen: list[Record] = []
        finished: set[str] = set()
        for record in self._newest_first():
            change, state = record.get("change", ""), state_of(record)
            if state is AuditState.INTENT and change in finished:
                finished.discard(change)
                continue
            if state is not AuditState.INTENT and change:
                finished.add(change)
            if model in ("", record["model"]) or state is AuditState.BREAK:
                chosen.append(record)
            if len(chosen) >= min(limit, RECORDS_MAX):
                break
        return chosen[::-1]

    def _newest_first(self) -> Iterator[Record]:
        """Verified records from the file; a break in the chain is reported by a synthetic record."""
        if not self._path.exists():
            return
        newer: Record | None = None
        with self._path.open("rb") as file:
            for offset, line in backwards(file):
                try:
                    record = parse(line)
                    if newer is not None and newer["previous"] != record["hash"]:
                        raise ValueError("the record after it does not continue it")
                except ValueError as error:
                    where = f"broken: bytes {offset} to {offset + len(line)} of {AUDIT_FILE}: {error}"
                    yield {**self._record(Intent("", self._server, BREAK), AuditState.BREAK, where), "sequence": 0}
                    return
                yield record
                newer = record

    def _append(self, intent: Intent, state: AuditState, result: str) -> None:
        with self._writing():
            self._write_record(self._record(intent, state, result))

    def _record(self, intent: Intent, state: AuditState, result: str) -> Record:
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        about = {"at": at, "server": self._server, "change": intent.change, "state": state.value}
        return {**about, **asdict(intent.fact), "result": result}

    def _write_record(self, record: Record) -> None:
        sealed, line = seal(record, self._place)
        self._write(line)
        place = self._place
        self._take(sealed, Place(place.offset + len(line), place.line + 1, sealed["sequence"], sealed["hash"]))

    def _take(self, record: Record, place: Place) -> None:
        """Updates the open intents by a verified record."""
        self._place = place
        state, change = state_of(record), record.get("change", "")
        if state is AuditState.INTENT:
            fact = AdminFact(**{name: record[name] for name in AdminFact.__dataclass_fields__})
            self._open[change] = Intent(change, record.get("server", ""), fact)
        else:
            self._open.pop(change, None)

    def _read_new(self) -> None:
        """Verifies the records that other servers appended, or all of them if the file was replaced.

        The caller holds the lock, so a partial line at the end is from a server that was killed before acknowledging.
        """
        if not self._path.exists():
            self._place, self._inode, self._open = Place(), 0, {}
            return
        with self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._inode or status.st_size < self._place.offset:
                self._place, self._open = Place(), {}
            try:
                for record, place in verified(file, self._place):
                    self._take(record, place)
            except BrokenChainError as error:
                self._set_aside(file, error)
                return
            self._inode = status.st_ino
        if status.st_size > self._place.offset:
            logger.warning("the audit log ended in a torn record; it was cut off")
            os.truncate(self._path, self._place.offset)

    def _set_aside(self, file: Any, error: BrokenChainError) -> None:
        """Renames the broken file and continues after the last valid record in a new one."""
        kept = self._path.with_name(f"{AUDIT_FILE}.broken-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
        shutil.copyfile(self._path, kept)
        _fsync(kept)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        fresh = self._path.with_name(f".{AUDIT_FILE}.new")
        file.seek(0)
        with fresh.open("wb") as copy:
            left = error.good.offset
            while left:
                left -= copy.write(file.read(min(left, 1 << 20)))
            self._place = error.good
            what = (
                f"broken: {error}; the file is kept as {kept.name} (SHA-256 {digest}), records from there on only in it"
            )
            sealed, line = seal(self._record(Intent("", self._server, BREAK), AuditState.BREAK, what), error.good)
            copy.write(line)
            copy.flush()
            os.fsync(copy.fileno())
        fresh.replace(self._path)
        _fsync(self._path.parent)
        self._inode = self._path.stat().st_ino
        good = error.good
        self._take(sealed, Place(good.offset + len(line), good.line + 1, sealed["sequence"], sealed["hash"]))
        self.notice = f"the audit log was {what}"
        logger.error("%s", self.notice)

    def _write(self, line: bytes) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            status = os.fstat(file)
            try:
                view = memoryview(line)
                while view:
                    view = view[os.write(file, view) :]
                os.fsync(file)
            except OSError:
                os.ftruncate(file, status.st_size)
                raise
        finally:
            os.close(file)
        self._inode = status.st_ino
        if not status.st_size:
            _fsync(self._path.parent)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Holds the log's locks, with the records of other servers read."""
        try:
            with self._exclusive():
                self._read_new()
                yield
        except OSError as error:
            raise StateWriteError(f"the audit log cannot be written: {error.strerror}") from error

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Holds the log's locks: that of this process, and the file lock of the servers that share the folder."""
        with self._lock:
            file = os.open(self._path.with_name(LOCK_FILE), os.O_RDWR | os.O_CREAT, 0o640)
            try:
                self._await_lock(file)
                yield
            finally:
                os.close(file)

    def _await_lock(self, file: int) -> None:
        until = monotonic() + LOCK_S
        pause = threading.Event()
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if monotonic() > until:
                    holder = os.pread(file, 256, 0).decode(errors="replace")
                    raise StateWriteError(
                        f"the audit log is locked by server {holder}, which has not let go for {LOCK_S:.0f} s"
                    ) from None
                pause.wait(LOCK_TRY_S)
            else:
                with suppress(OSError):  # a full disk: only the name in another server's error message is then missing
                    os.ftruncate(file, 0)
                    os.pwrite(file, self._server.encode(), 0)
                return


BREAK = AdminFact("onnxpress", "audit", "", 0, 0, 0, "", "")


def state_of(record: Record) -> AuditState:
    """Records written before states existed have the outcome in `result`."""
    state = record.get("state")
    return AuditState(state) if state else AuditState.COMMITTED if record["result"] == OK else AuditState.ABORTED


def _fsync(path: Path) -> None:
    """Fsyncs a file or folder that is not open."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
