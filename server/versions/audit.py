"""The audit log: requested changes (`intent`) and their outcomes (`committed`, `aborted`, `refused`).

A record is on disk before the call that made it returns.

Servers that share a state folder share the log: each append holds the folder's lock and continues the newest record,
whichever server wrote it, so the chain of hashes cannot fork.

A file that is full becomes an archive, and the log goes on in a new one. Its first record continues the chain and
repeats the intents without an outcome, so archives need not be read again when a server starts.
"""

import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import BinaryIO, NamedTuple

from onnxpress.server.errors import StateWriteError
from onnxpress.server.facts import AdminFact
from onnxpress.server.versions.audit_bounds import MESSAGE_MAX, bounded, one_line
from onnxpress.server.versions.audit_chain import BrokenChainError, Place, Record, seal, verified
from onnxpress.server.versions.audit_files import (
    AUDIT_FILE,
    CONTINUES,
    BrokenLogError,
    archive_name,
    archive_numbers,
    broken_link,
    continued_number,
    first_record,
    last_record,
    newest_first,
    parts,
    place_before,
    readable,
)
from onnxpress.server.versions.audit_lock import AuditLock

FILE_BYTES_MAX = 8 << 20
FILE_MODE = 0o640
RECORDS_MAX = 10_000
READ_MAX = 50_000  # to find them, in about 1 s
OK = "ok"
PENDING = "no outcome yet"

logger = logging.getLogger(__name__)


class AuditState(Enum):
    """The state of a change."""

    INTENT = "intent"
    COMMITTED = "committed"
    ABORTED = "aborted"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    BREAK = "break"
    ROTATION = "rotation"  # the first record of a file that continues an archive


@dataclass(frozen=True)
class Intent:
    """A change with an intent and no outcome yet."""

    change: str
    server: str
    fact: AdminFact


class History(NamedTuple):
    """unread: how many records of the log are older than all that were read to find these; 0 if there was no need."""

    records: list[Record]
    unread: int


class FileAuditLog:
    """Owns the file together with the servers that share it; every method may be called from any thread.

    Memory holds the position after the newest record and the open intents, not the log.
    """

    def __init__(self, folder: Path, server: str, bytes_max: int = FILE_BYTES_MAX) -> None:
        """`server` names this process in every record; a file of `bytes_max` becomes an archive.

        Verifies the newest file, and that it continues the newest archive. A broken chain does not prevent serving: the
        file is set aside, the log continues after the last valid record with one that reports the break, and `notice`
        reports it too. Archives are never changed.

        Raises StateWriteError when the folder or the log cannot be read or written.
        """
        self._folder = folder
        self._path = folder / AUDIT_FILE
        self._server = server
        self._bytes_max = bytes_max
        self._lock = AuditLock(folder, server)
        self._place = Place()
        self._inode = 0  # of the file that `_place` is in; 0: there is none
        self._archive = 0  # number of the archive before it; 0: none
        self._open: dict[str, Intent] = {}
        self._broken = self._unlinked = self._unrotated = ""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._lock.held():
                self._read_new()
        except OSError as error:
            raise StateWriteError(
                f"the audit log cannot be opened: {error.strerror}; state_dir names a folder for it"
            ) from error

    @property
    def notice(self) -> str:
        """Problems of the log to show to operators; empty: none."""
        return "; ".join(filter(None, (self._broken, self._unlinked, self._unrotated)))

    def begin(self, fact: AdminFact) -> Intent:
        """Returns once the intent is on disk. Raises StateWriteError; the log is then unchanged."""
        intent = Intent(secrets.token_hex(8), self._server, fact)
        self._append(intent, AuditState.INTENT, PENDING)
        return intent

    def finish(self, intent: Intent, state: AuditState, result: str = OK) -> None:
        """Returns once the outcome is on disk. Raises StateWriteError; the intent then stays open."""
        self._append(intent, state, result)

    def refuse(self, intent: Intent | None, fact: AdminFact, code: str, message: str) -> None:
        """Like `finish`, for a change that its caller was refused; it may have no intent.

        `code` is the gRPC status, by name, and `message` what the caller was told.
        """
        asked = replace(intent or Intent("", self._server, fact), fact=bounded(fact))
        self._append(asked, AuditState.REFUSED, f"refused: {one_line(message, MESSAGE_MAX)}", code)

    def unfinished(self) -> list[Intent]:
        """Intents without an outcome, of all servers that share the log, oldest first."""
        with self._writing():
            return list(self._open.values())

    def history(self, model: str, limit: int) -> History:
        """The newest changes of `model`, or of all for an empty name: at most `limit` and RECORDS_MAX, newest last.

        Each change appears once: its outcome, or its intent if there is none. If the chain is broken, the first record
        reports it. At most READ_MAX records of the log are read.
        """
        chosen: list[Record] = []
        finished: set[str] = set()
        for count, record in enumerate(self._newest_first()):
            if count >= READ_MAX:
                return History(chosen[::-1], record["sequence"])
            change, state = record.get("change", ""), state_of(record)
            if state is AuditState.INTENT and change in finished:
                finished.discard(change)
                continue
            if state is AuditState.ROTATION:
                continue
            if state is not AuditState.INTENT and change:
                finished.add(change)
            if model in ("", record["model"]) or state is AuditState.BREAK:
                chosen.append(record)
            if len(chosen) >= min(limit, RECORDS_MAX):
                break
        return History(chosen[::-1], 0)

    def _newest_first(self) -> Iterator[Record]:
        """Verified records from all files; a break in the chain is reported by a synthetic record."""
        try:
            with parts(self._folder) as files:
                yield from newest_first(files)
        except BrokenLogError as error:
            yield {
                **self._record(Intent("", self._server, ITSELF), AuditState.BREAK, f"broken: {error}"), "sequence": 0
            }  # fmt: skip

    def _append(self, intent: Intent, state: AuditState, result: str, code: str = "") -> None:
        with self._writing():
            record = {**self._record(intent, state, result), **({"code": code} if code else {})}
            if self._full(len(seal(record, self._place)[1])):
                self._rotate()
            if self._archive and not self._place.offset:
                self._start_file()
            self._write_record(record)

    def _record(self, intent: Intent, state: AuditState, result: str) -> Record:
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        about = {"at": at, "server": self._server, "change": intent.change, "state": state.value}
        return {**about, **asdict(intent.fact), "result": result}

    def _write_record(self, record: Record) -> None:
        sealed, line = seal(record, self._place)
        self._write(line)
        self._take(sealed, self._place.after(line, sealed))

    def _take(self, record: Record, place: Place) -> None:
        """Updates the open intents by a verified record."""
        self._place = place
        state, change = state_of(record), record.get("change", "")
        if state is AuditState.INTENT:
            self._open[change] = _intent(record)
        elif state is AuditState.ROTATION:
            self._open = {one["change"]: _intent(one) for one in record["open"]}
        else:
            self._open.pop(change, None)

    def _read_new(self) -> None:
        """Verifies the records that other servers appended, or all of them if the file was replaced.

        The caller holds the lock, so a partial line at the end is from a server that was killed before acknowledging.
        """
        if not self._path.exists():
            self._follow_archive()
            return
        with self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._inode or status.st_size < self._place.offset:
                self._begin_file(file)
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

    def _begin_file(self, file: BinaryIO) -> None:
        """Goes to the start of a file that was not read before, and compares it with the newest archive."""
        first = first_record(file)
        if first is None:
            self._follow_archive()
            return
        self._open, self._archive = {}, continued_number(first)
        self._place = place_before(first) if self._archive else Place()
        self._tell_link(broken_link(self._folder, first))

    def _tell_link(self, trouble: str) -> None:
        self._unlinked = f"the audit log is broken: {trouble}" if trouble else ""
        if trouble:
            logger.error("%s", self._unlinked)

    def _follow_archive(self) -> None:
        """Goes behind the newest archive: a server ended before it wrote the first record of a new file."""
        newest = max(archive_numbers(self._folder), default=0)
        if not self._inode and newest == self._archive and not self._place.offset and self._place.sequence:
            return
        self._inode, self._archive, self._open, self._place = 0, newest, {}, Place()
        if newest:
            with (self._folder / archive_name(newest)).open("rb") as file:
                for record in readable(file):
                    self._take(record, Place(sequence=record["sequence"], hash=record["hash"]))
            whole = last_record(self._folder, newest) is not None
            self._tell_link("" if whole else f"{archive_name(newest)} does not end in a valid record")

    def _full(self, more: int) -> bool:
        """Whether a record of `more` bytes has to go into another file; a file has at least one change in it."""
        return self._place.line > bool(self._archive) and self._place.offset + more > self._bytes_max

    def _rotate(self) -> None:
        """Makes the file an archive. If that is not possible the log goes on in it, and `notice` says so.

        A process that is killed in the middle leaves no `audit.jsonl`; whoever appends next continues the archive.
        """
        number = max(*archive_numbers(self._folder), self._archive, 0) + 1
        try:
            self._prepare(number)  # before anything is renamed: a full disk then changes nothing
            self._path.rename(self._folder / archive_name(number))
        except OSError as error:
            if not self._unrotated:
                logger.error("%s cannot be rotated and grows on: %s", AUDIT_FILE, error.strerror)  # noqa: TRY400
            self._unrotated = f"{AUDIT_FILE} cannot be rotated and grows on: {error.strerror}"
            return
        self._unrotated = ""
        self._inode, self._archive, self._place = 0, number, replace(self._place, offset=0, line=0)
        _fsync(self._folder)

    def _prepare(self, number: int) -> tuple[Path, Record, bytes]:
        """Writes a new file, under another name, whose one record continues the archive `number`. Raises OSError."""
        about = self._record(Intent("", self._server, ITSELF), AuditState.ROTATION, OK)
        left = [{"change": one.change, "server": one.server, **asdict(one.fact)} for one in self._open.values()]
        sealed, line = seal({**about, CONTINUES: archive_name(number), "open": left}, self._place)
        fresh = self._path.with_name(f".{AUDIT_FILE}.new")
        with _created(fresh) as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        return fresh, sealed, line

    def _start_file(self) -> None:
        """Begins the file after the newest archive. Raises OSError."""
        fresh, sealed, line = self._prepare(self._archive)
        fresh.replace(self._path)
        _fsync(self._folder)
        self._inode = self._path.stat().st_ino
        self._take(sealed, Place(len(line), 1, sealed["sequence"], sealed["hash"]))

    def _set_aside(self, file: BinaryIO, error: BrokenChainError) -> None:
        """Copies the broken file and continues after the last valid record in a new one."""
        kept = self._path.with_name(f"{AUDIT_FILE}.broken-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
        shutil.copyfile(self._path, kept)
        _fsync(kept)
        with kept.open("rb") as copied:
            digest = hashlib.file_digest(copied, "sha256").hexdigest()
        what = f"broken: {error}; the file is kept as {kept.name} (SHA-256 {digest}), records from there on only in it"
        self._place = error.good
        if self._archive and not self._place.offset:
            fresh, sealed, line = self._prepare(self._archive)
            self._take(sealed, Place(len(line), 1, sealed["sequence"], sealed["hash"]))
        else:
            fresh = self._path.with_name(f".{AUDIT_FILE}.new")
            _copy_start(file, fresh, error.good.offset)
        sealed, line = seal(self._record(Intent("", self._server, ITSELF), AuditState.BREAK, what), self._place)
        with fresh.open("ab") as copy:
            copy.write(line)
            copy.flush()
            os.fsync(copy.fileno())
        fresh.replace(self._path)
        _fsync(self._folder)
        self._inode = self._path.stat().st_ino
        self._take(sealed, self._place.after(line, sealed))
        self._broken = f"the audit log was {what}"
        logger.error("%s", self._broken)

    def _write(self, line: bytes) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, FILE_MODE)
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
            _fsync(self._folder)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Holds the log's locks, with the records of other servers read."""
        try:
            with self._lock.held():
                self._read_new()
                yield
        except OSError as error:
            raise StateWriteError(f"the audit log cannot be written: {error.strerror}") from error


# What records say that are about the log.
ITSELF = AdminFact("onnxpress", "audit", "", 0, 0, 0, "", "")


def state_of(record: Record) -> AuditState:
    """Records written before states existed have the outcome in `result`."""
    state = record.get("state")
    return AuditState(state) if state else AuditState.COMMITTED if record["result"] == OK else AuditState.ABORTED


def _intent(record: Record) -> Intent:
    fact = AdminFact(**{name: record[name] for name in AdminFact.__dataclass_fields__})
    return Intent(record["change"], record.get("server", ""), fact)


def _copy_start(file: BinaryIO, to: Path, size: int) -> None:
    """Writes the first `size` bytes of a file to another. Raises OSError."""
    file.seek(0)
    with _created(to) as copy:
        while size:
            size -= copy.write(file.read(min(size, 1 << 20)))


def _created(path: Path) -> BinaryIO:
    """An empty file, open for writing. Raises OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "wb")


def _fsync(path: Path) -> None:
    """Fsyncs a file or folder that is not open."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
