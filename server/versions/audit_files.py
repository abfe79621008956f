"""The files of the audit log, read as one chain: the archives `audit-000001.jsonl`, … and the newest, `audit.jsonl`."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from onnxpress.server.versions.audit_chain import NO_HASH, BrokenChainError, Place, Record, backwards, parse, verified

AUDIT_FILE = "audit.jsonl"
ARCHIVE = re.compile(r"audit-(\d{6,})\.jsonl")
# Of the first record of a file that is not the log's first: the name of the archive that it continues.
CONTINUES = "continues"


class BrokenLogError(Exception):
    """A record or a whole file of the log that was altered, moved or removed. `file` is its name."""

    def __init__(self, file: str, why: str) -> None:
        super().__init__(why)
        self.file = file


@dataclass(frozen=True)
class Part:
    """A file of the log. Archives have the numbers 1, 2, … in their names; `audit.jsonl` has the one that follows."""

    path: Path
    number: int
    newest: BinaryIO | None = None  # audit.jsonl, open, since its name may be another file's while it is read

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Raises OSError."""
        if self.newest is not None:
            yield self.newest
        else:
            with self.path.open("rb") as file:
                yield file

    def inode(self) -> int:
        """Of the file, whatever its name is by now. Raises OSError."""
        return (self.path.stat() if self.newest is None else os.fstat(self.newest.fileno())).st_ino


def archive_name(number: int) -> str:
    return f"audit-{number:06}.jsonl"


def archive_numbers(folder: Path) -> list[int]:
    """The numbers of the archives in the folder, ascending."""
    names = (path.name for path in folder.iterdir())
    found = (ARCHIVE.fullmatch(name) for name in names)
    return sorted(int(match[1]) for match in found if match)


def continued_number(first: Record) -> int:
    """The number of the archive that this first record of a file continues; 0: it continues none."""
    match = ARCHIVE.fullmatch(str(first.get(CONTINUES, "")))
    return int(match[1]) if match else 0


def first_record(file: BinaryIO) -> Record | None:
    """The first record of a file; None if there is none or it is not valid."""
    file.seek(0)
    try:
        return parse(file.readline())
    except ValueError:
        return None


def readable(file: BinaryIO) -> Iterator[Record]:
    """The valid records of a file, without verifying that they continue each other; others are left out."""
    file.seek(0)
    for line in file:
        with suppress(ValueError):
            yield parse(line)


def place_before(first: Record) -> Place:
    """The position before a file's first record, as that record itself has it."""
    return Place(sequence=first["sequence"] - 1, hash=first["previous"])


def last_record(folder: Path, number: int) -> Record | None:
    """The newest record of an archive; None if it is missing or does not end in a valid record."""
    try:
        with (folder / archive_name(number)).open("rb") as file:
            return parse(next(backwards(file), (0, b""))[1])
    except (FileNotFoundError, ValueError):
        return None


def broken_link(folder: Path, first: Record) -> str:
    """What is wrong between `audit.jsonl`, which begins with `first`, and the newest archive; empty: nothing."""
    numbers, number = archive_numbers(folder), continued_number(first)
    if number and number not in numbers:
        return f"{archive_name(number)} is missing"
    if numbers and number != numbers[-1]:
        return f"{AUDIT_FILE} does not continue {archive_name(numbers[-1])}"
    last = last_record(folder, number) if number else None
    if number and (last is None or last["hash"] != first["previous"]):
        return f"{AUDIT_FILE} does not continue what {archive_name(number)} ends with"
    return ""


@contextmanager
def parts(folder: Path) -> Iterator[list[Part]]:
    """The files of the log, oldest first, as they are at one moment: a rotation meanwhile changes none of them.

    Raises OSError.
    """
    while True:
        newest = _opened(folder / AUDIT_FILE)
        try:
            numbers = archive_numbers(folder)
            if _identity(folder / AUDIT_FILE) != (os.fstat(newest.fileno()).st_ino if newest else None):
                continue  # it was rotated while the folder was listed
            found = [Part(folder / archive_name(number), number) for number in numbers]
            if newest is not None:
                number = continued_number(first_record(newest) or {}) or (numbers[-1] if numbers else 0)
                found.append(Part(folder / AUDIT_FILE, number + 1, newest))
            yield found
            return
        finally:
            if newest is not None:
                newest.close()


def verified_parts(files: Sequence[Part], start: Place | None = None) -> Iterator[tuple[Record, Part, Place]]:
    """Every complete record of the files, with its file and the place after it there.

    `start`: the place in the first file to begin at; None: the files are the whole log. Raises BrokenLogError at the
    first record that is not valid, OSError.
    """
    at, before = start or Place(), 0 if start is None else files[0].number - 1
    for part in files:
        place = at
        with part.opened() as file:
            _check_gap(before, part, at, file)
            try:
                for record, place in verified(file, at):
                    yield record, part, place
            except BrokenChainError as error:
                raise BrokenLogError(part.path.name, f"{error}{_lost(part, file, error.good)}") from error
            if part.newest is None and place.offset != (size := file.seek(0, os.SEEK_END)):
                where = f"line {place.line + 1}, bytes {place.offset} to {size}"
                raise BrokenLogError(part.path.name, f"{where}: half a record ends the archive")
        at, before = replace(place, offset=0, line=0), part.number


def newest_first(files: Sequence[Part]) -> Iterator[Record]:
    """The records of the whole log, newest first, each verified when it is yielded.

    Raises BrokenLogError where the chain is broken, OSError.
    """
    newer: Record | None = None
    after: Part | None = None
    for part in reversed(files):
        with part.opened() as file:
            if after is not None:
                _check_gap(part.number, after, None, file)
            for offset, line in backwards(file):
                try:
                    record = parse(line)
                    if newer is not None and newer["previous"] != record["hash"]:
                        raise ValueError("the record after it does not continue it")
                except ValueError as error:
                    where = f"bytes {offset} to {offset + len(line)} of {part.path.name}"
                    raise BrokenLogError(part.path.name, f"{where}: {error}") from error
                yield record
                newer = record
            after = part
    if newer is not None and newer["previous"] != NO_HASH:
        missing = archive_name(after.number - 1) if after is not None and after.number > 1 else ""
        raise BrokenLogError(missing or AUDIT_FILE, f"{missing or 'what stood before its first record'} is missing")


def _check_gap(before: int, part: Part, place: Place | None, file: BinaryIO) -> None:
    """Raises BrokenLogError if archives are missing between number `before`, which ends at `place`, and `part`."""
    if part.number <= before + 1:
        return
    names = [archive_name(number) for number in (before + 1, part.number - 1)]
    what = f"{names[0]} is missing" if names[0] == names[1] else f"{names[0]} to {names[1]} are missing"
    first = first_record(file) if place is not None else None
    if first is not None and place is not None and first["sequence"] > place.sequence + 1:
        what += f", with the records {place.sequence + 1} to {first['sequence'] - 1}"
    raise BrokenLogError(names[0], what)


def _lost(part: Part, file: BinaryIO, good: Place) -> str:
    """For a file whose first record does not continue the archive before it, which records are missing between them."""
    first = first_record(file) if good.line == 0 else None
    if first is None or first["sequence"] <= good.sequence + 1:
        return ""
    return f"; records {good.sequence + 1} to {first['sequence'] - 1} are missing before {part.path.name}"


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _identity(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
