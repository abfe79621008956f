"""The records of the audit log: JSON lines, each with the hash of the one before, read in both directions."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, BinaryIO

from onnxpress.server.facts import AdminFact

Record = dict[str, Any]
NO_HASH = "0" * 64
REQUIRED = {"sequence", "at", "hash", "previous", "result", *(field.name for field in fields(AdminFact))}
BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class Place:
    """The position after a record: the offset of the next one, and the sequence and hash that it must continue."""

    offset: int = 0  # bytes
    line: int = 0
    sequence: int = 0
    hash: str = NO_HASH

    def after(self, line: bytes, record: Record) -> "Place":
        """The place after `record`, which is written as `line` here."""
        return Place(self.offset + len(line), self.line + 1, record["sequence"], record["hash"])


class BrokenChainError(Exception):
    """A record that was altered or moved. `good` is the place after the last valid one."""

    def __init__(self, good: Place, size: int, why: str) -> None:
        super().__init__(f"line {good.line + 1}, bytes {good.offset} to {good.offset + size}: {why}")
        self.good = good


def seal(record: Record, place: Place) -> tuple[Record, bytes]:
    """The record as the next one of the chain, and its line."""
    sealed = {"sequence": place.sequence + 1, **record, "previous": place.hash}
    sealed["hash"] = record_hash(sealed)
    return sealed, line_of(sealed)


def record_hash(record: Record) -> str:
    """SHA-256 over every field but the hash itself; `previous` chains it to the record before."""
    content = {key: value for key, value in record.items() if key != "hash"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def verified(file: BinaryIO, place: Place) -> Iterator[tuple[Record, Place]]:
    """Yields every complete record from `place` on, with the place after it; skips a partial line at the end.

    Raises BrokenChainError at the first invalid one.
    """
    file.seek(place.offset)
    for line in file:
        if not line.endswith(b"\n"):
            if _continues(line[:-1] + b"\n", place):
                raise BrokenChainError(place, len(line), f"it ends in byte {line[-1]:#04x} and not in a newline")
            return
        try:
            record = parse(line)
        except ValueError as error:
            raise BrokenChainError(place, len(line), str(error)) from error
        if record["previous"] != place.hash:
            raise BrokenChainError(place, len(line), "it does not continue the record before")
        if record["sequence"] != place.sequence + 1:
            raise BrokenChainError(place, len(line), f"it is record {record['sequence']}, not {place.sequence + 1}")
        place = place.after(line, record)
        yield record, place


def parse(line: bytes) -> Record:
    """Parses and verifies a record. Raises ValueError."""
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError(f"a {type(record).__name__} and no object")  # noqa: TRY004 -- the file is wrong
    if missing := REQUIRED - set(record):
        raise ValueError(f"no {min(missing)}")
    if record_hash(record) != record["hash"]:
        raise ValueError("its content is not what its hash was taken of")
    if line_of(record) != line:
        raise ValueError("its bytes are not those that were written")
    return record


def line_of(record: Record) -> bytes:
    """Parses a record without verifying it."""
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def _continues(line: bytes, place: Place) -> bool:
    """Whether a line is the valid record after `place`."""
    try:
        return bool(parse(line)["previous"] == place.hash)
    except ValueError:
        return False


def backwards(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yields complete lines, newest first, with their offsets; at most one block and one line are in memory."""
    end = file.seek(0, os.SEEK_END)
    tail = b""
    while end:
        start = max(0, end - BLOCK_BYTES)
        file.seek(start)
        tail = file.read(end - start) + tail
        end = start
        first, *lines = tail.splitlines(keepends=True)
        offset = start + len(tail)
        for line in reversed(lines):
            offset -= len(line)
            if line.endswith(b"\n"):
                yield offset, line
        tail = first
    if tail.endswith(b"\n"):
        yield 0, tail
