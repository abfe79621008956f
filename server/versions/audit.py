"""The audit log: append-only JSON lines, each with the hash of the one before; on disk before an admin call returns."""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from onnxpress.server.errors import StateWriteError
from onnxpress.server.facts import AdminFact

AUDIT_FILE = "audit.jsonl"
NO_HASH = "0" * 64
REQUIRED = {"sequence", "at", "hash", *(field.name for field in fields(AdminFact))}

logger = logging.getLogger(__name__)


class FileAuditLog:
    """Owns the file; `append` and the readers may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        """Raises StateWriteError when the folder cannot be made or the log not read."""
        self._path = folder / AUDIT_FILE
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._cut_torn_record()
            self._records = list(self._read())
        except OSError as error:
            raise StateWriteError(
                f"the audit log cannot be opened: {error.strerror}; state_dir names a folder for it"
            ) from error
        self._hash = self._records[-1]["hash"] if self._records else NO_HASH

    def append(self, fact: AdminFact) -> None:
        """Returns once the record is on disk. Raises StateWriteError; then the log is as it was."""
        with self._lock:
            sequence = self._records[-1]["sequence"] + 1 if self._records else 1
            at = datetime.now(UTC).isoformat(timespec="microseconds")
            record: dict[str, Any] = {"sequence": sequence, "at": at, **asdict(fact), "previous": self._hash}
            record["hash"] = record_hash(record)
            line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
            try:
                self._write(line)
            except OSError as error:
                raise StateWriteError(f"the audit log cannot be written: {error.strerror}") from error
            self._hash = record["hash"]
            self._records.append(record)

    def records(self, model: str, limit: int) -> list[dict[str, Any]]:
        """The newest `limit` records of `model`, or of all for an empty name; newest last."""
        with self._lock:
            chosen = [record for record in self._records if model in ("", record["model"])]
        return chosen[-limit:]

    def last_epoch(self, model: str) -> int:
        """Epoch of the newest change of `model` that was carried out; 0 where there is none."""
        with self._lock:
            epochs = [r["epoch"] for r in self._records if r["model"] == model and r["result"] == "ok"]
        return int(epochs[-1]) if epochs else 0

    def _write(self, line: bytes) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            size = os.fstat(file).st_size
            try:
                view = memoryview(line)
                while view:
                    view = view[os.write(file, view) :]
                os.fsync(file)
            except OSError:
                os.ftruncate(file, size)
                raise
        finally:
            os.close(file)
        if not size:
            _fsync_folder(self._path.parent)

    def _cut_torn_record(self) -> None:
        """A crash in the middle of a write leaves half a line, which nobody was told about."""
        if not self._path.exists():
            return
        raw = self._path.read_bytes()
        if raw and not raw.endswith(b"\n"):
            logger.warning("the audit log ended in a torn record; it was cut off")
            os.truncate(self._path, raw.rfind(b"\n") + 1)

    def _read(self) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        for number, line in enumerate(self._path.read_bytes().splitlines(), 1):
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError(f"a {type(record).__name__} and no object")  # noqa: TRY004 -- the file is wrong
                missing = REQUIRED - set(record)
                if missing:
                    raise ValueError(f"no {min(missing)}")
            except ValueError as error:
                raise StateWriteError(f"record {number} of the audit log is broken: {error}") from error
            yield record


def record_hash(record: dict[str, Any]) -> str:
    """SHA-256 over every field but the hash itself; `previous` chains it to the record before."""
    content = {key: value for key, value in record.items() if key != "hash"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _fsync_folder(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
