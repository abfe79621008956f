"""Keeps the windows of active rollouts in the state folder, so that a restarted server goes on with its evidence.

One file per rollout and server, `<model>/<rollout>@<server>.jsonl`: a header, then a window a line. A server that
starts takes over the file of one that has ended. Lines are written without fsync: they survive the process, and what a
power failure tears is cut off.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from onnxpress.packages.names import is_model_name
from onnxpress.server.rollouts.records import LINE_MAX, Entry, Header, entry_of, header_of, merged_in_pairs, to_line

# A file that would be larger is rewritten with its windows merged in pairs: an hour of a window a second, read in 2 s.
FILE_BYTES_MAX: Final = 1 << 20
# Windows that wait while the folder cannot be written. Overflow policy: the oldest is lost and counted.
PENDING_MAX: Final = 600
# Files of ended rollouts, of all models together; the oldest go first.
FILES_MAX: Final = 100
SUFFIX: Final = ".jsonl"

logger = logging.getLogger(__name__)


@dataclass
class _File:
    """The open record of one rollout; size: of what is known to be whole."""

    header: Header
    path: Path
    size: int = 0
    seq: int = 0
    pending: deque[bytes] = field(default_factory=deque)
    lost: int = 0
    failing: bool = False


class Recorder:
    """Owns the files of this server. Used by one thread at a time; no method raises for what happens on the disk."""

    def __init__(
        self, folder: Path, server: str, alive: Callable[[str], bool], file_bytes_max: int = FILE_BYTES_MAX
    ) -> None:
        """`alive`: whether another server, by its name, still runs."""
        self._folder, self._server, self._alive, self._file_bytes_max = folder, server, alive, file_bytes_max
        self._files: dict[str, _File] = {}

    def begin(self, header: Header) -> list[Entry]:
        """Starts to record a rollout. Returns what this server, or an ended one, has recorded of it already."""
        if not is_model_name(header.model):
            return []
        file = _File(header, self._folder / header.model / f"{header.rollout}@{self._server}{SUFFIX}")
        self._files[header.model] = file
        entries: list[Entry] = []
        try:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            if self._claim(file):
                entries = self._recorded(file)
            if not file.size:
                line = to_line(header)
                file.path.write_bytes(line)
                file.size = len(line)
            self._prune()
        except OSError as error:
            self._failed(file, error)
        file.seq = entries[-1].seq if entries else 0
        return entries

    def keep(self, model: str, entry: Entry) -> None:
        """Records a window; its number is given here."""
        file = self._files.get(model)
        if file is None:
            return
        file.seq += 1
        if len(file.pending) == PENDING_MAX:
            file.pending.popleft()
            file.lost += 1
        file.pending.append(to_line(replace(entry, seq=file.seq)))
        try:
            self._write(file)
        except OSError as error:
            self._failed(file, error)
        else:
            if file.failing:
                logger.info("model %r: windows are recorded again, %d were lost", model, file.lost)
            file.failing = False

    def _write(self, file: _File) -> None:
        """Appends what is pending, all of it or nothing."""
        if not file.path.exists():  # it was removed, or could not be written before
            file.size = 0
        if not file.size:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            file.pending.appendleft(to_line(file.header))
        try:
            data = b"".join(file.pending)
            if file.size + len(data) > self._file_bytes_max:
                self._shrink(file)
            _append(file.path, data, file.size)
        except OSError:
            if not file.size:
                file.pending.popleft()
            raise
        file.size += len(data)
        file.pending.clear()

    def _shrink(self, file: _File) -> None:
        """Rewrites a file that has become too large, with fewer windows of the same counts."""
        _, entries = _read(file.path)
        data = b"".join([to_line(file.header), *map(to_line, merged_in_pairs(entries))])
        other = file.path.with_suffix(".new")
        other.write_bytes(data)
        other.replace(file.path)
        file.size = len(data)

    def _claim(self, file: _File) -> bool:
        """Whether there is a record of this rollout: of this server, or renamed from that of an ended one.

        Replicas that start together cannot take the same one, since only one of two renames succeeds.
        """
        if file.path.exists():
            return True
        ended = [path for path in self._others(file.path.parent) if _rollout(path) == file.header.rollout]
        for path in sorted(ended, key=_age, reverse=True):
            with suppress(FileNotFoundError):
                path.rename(file.path)
                return True
        return False

    def _recorded(self, file: _File) -> list[Entry]:
        """The windows of a claimed file, cut off where it is damaged; none if they are of other packages."""
        header, entries = _read(file.path)
        if header != file.header:
            if header is not None:
                logger.warning(
                    "model %r: what was recorded of rollout %d is about other packages: its evidence begins anew",
                    file.header.model, file.header.rollout,
                )  # fmt: skip
            else:
                logger.warning("model %r: the record of rollout %d is damaged", file.header.model, file.header.rollout)
            return []
        file.size = _whole(file.path, len(entries) + 1)
        if damaged := file.path.stat().st_size - file.size:
            logger.warning(
                "model %r: the last %d bytes of the record of rollout %d are damaged: %d windows are used",
                file.header.model, damaged, file.header.rollout, len(entries),
            )  # fmt: skip
            os.truncate(file.path, file.size)
        return entries

    def _prune(self) -> None:
        """Removes files of rollouts that ended: of a model with a newer one, and the oldest beyond FILES_MAX."""
        current = {file.path for file in self._files.values()}
        ended: list[Path] = []
        for folder in self._folder.iterdir():
            newest = self._files.get(folder.name)
            for path in self._others(folder):
                if newest is not None and _rollout(path) != newest.header.rollout:
                    path.unlink(missing_ok=True)
                elif path not in current:
                    ended.append(path)
        for path in sorted(ended, key=_age)[: max(0, len(ended) - FILES_MAX)]:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # another rollout of the model is in it
                path.parent.rmdir()

    def _others(self, folder: Path) -> Iterator[Path]:
        """The files in a model's folder that no other running server writes."""
        for path in list(folder.glob(f"*@*{SUFFIX}")):
            server = path.name.removesuffix(SUFFIX).partition("@")[2]
            if server == self._server or not self._alive(server):
                yield path

    def _failed(self, file: _File, error: OSError) -> None:
        """Says once that windows are not recorded; decisions go on without."""
        if not file.failing:
            logger.error(
                "model %r: the windows of its rollout cannot be recorded, so a restart would count anew: %s",
                file.header.model, error.strerror,
            )  # fmt: skip
        file.failing = True


def _read(path: Path) -> tuple[Header | None, list[Entry]]:
    """The header, None if it is damaged, and the windows before the first damage. Raises OSError."""
    entries: list[Entry] = []
    with path.open("rb") as file:
        try:
            header = header_of(file.readline(LINE_MAX))
        except ValueError:
            return None, []
        while line := file.readline(LINE_MAX):
            try:
                entry = entry_of(line)
            except ValueError:
                break
            entries.append(entry)
    return header, entries


def _whole(path: Path, lines: int) -> int:
    """The bytes that the first lines take."""
    with path.open("rb") as file:
        return sum(len(file.readline(LINE_MAX)) for _ in range(lines))


def _append(path: Path, data: bytes, size: int) -> None:
    """Writes `data` at `size`, where the whole lines end. Raises OSError; then the file is as long as before."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | (0 if size else os.O_TRUNC), 0o640)
    try:
        written = 0
        while written < len(data):
            written += os.pwrite(file, data[written:], size + written)
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise
    finally:
        os.close(file)


def _rollout(path: Path) -> int:
    number = path.name.partition("@")[0]
    return int(number) if number.isdecimal() else -1


def _age(path: Path) -> float:
    """When it was written last."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
