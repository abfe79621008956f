"""The audit log in several files: one chain, whatever is done to a file, and whenever a server ends."""

import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest

from onnxpress.server.errors import StateWriteError
from onnxpress.server.versions import audit, audit_chain, audit_files
from onnxpress.server.versions.audit import AuditState
from onnxpress.server.versions.audit_files import (
    AUDIT_FILE,
    BrokenLogError,
    archive_numbers,
    newest_first,
    parts,
    verified_parts,
)
from tests.server.versions.rotated_log import BYTES_MAX, POINTS, change, changes, fact, opened, records, rotated
from tests.server_process import PATIENCE_S, ROOT

FIRST, SECOND = "audit-000001.jsonl", "audit-000002.jsonl"
NAMES = (FIRST, SECOND, AUDIT_FILE)
FRESH = f".{AUDIT_FILE}.new"


def broken(folder: Path, *, backwards: bool = True) -> BrokenLogError:
    """Why the log does not hold, read from the start; asserts that it does not hold read from the end either."""
    with parts(folder) as files:
        with pytest.raises(BrokenLogError) as forward:
            list(verified_parts(files))
        if backwards:
            with pytest.raises(BrokenLogError):
                list(newest_first(files))
    return forward.value


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_full_file_becomes_an_archive(tmp_path: Path) -> None:
    """Numbers, names, sizes; every file but the first begins with a record that continues the archive before it."""
    log = rotated(tmp_path, archives=3)
    assert archive_numbers(tmp_path) == [1, 2, 3]
    whole = records(tmp_path)
    assert [record["sequence"] for record in whole] == list(range(1, len(whole) + 1))
    sizes = [(tmp_path / f"audit-00000{number}.jsonl").stat().st_size for number in (1, 2, 3)]
    assert all(BYTES_MAX / 2 < size <= BYTES_MAX for size in sizes)
    headers = [record for record in whole if record["state"] == "rotation"]
    assert [record["continues"] for record in headers] == [f"audit-00000{number}.jsonl" for number in (1, 2, 3)]
    versions = [version for version, state in changes(tmp_path) if state == "committed"]
    assert versions == list(range(1, versions[-1] + 1))
    assert [record["to_version"] for record in log.history("churn", 100).records] == versions
    assert [record["to_version"] for record in log.history("", 3).records] == versions[-3:]


def test_a_record_larger_than_a_file_stays_whole(tmp_path: Path) -> None:
    """It has a file for itself, after the record that continues the chain."""
    log = opened(tmp_path)
    for _ in range(3):
        log.begin(fact(1, "m" * BYTES_MAX))
        assert log.notice == ""
    assert archive_numbers(tmp_path) == [1, 2]
    assert [len(lines(tmp_path / name)) for name in NAMES] == [1, 2, 2]
    assert len(changes(tmp_path)) == 3


def test_intents_outlive_their_file(tmp_path: Path) -> None:
    """An intent without an outcome is known after any number of rotations, to every server, and after a restart."""
    log = opened(tmp_path)
    left = log.begin(fact(99, "price"))
    while len(archive_numbers(tmp_path)) < 3:
        change(log, 1)
    other = opened(tmp_path, "here.2.00")
    assert log.unfinished() == other.unfinished() == [left]
    other.finish(left, AuditState.ABORTED, "it had ended")
    while len(archive_numbers(tmp_path)) < 4:
        change(log, 1)
    assert opened(tmp_path, "here.3.00").unfinished() == []
    assert [record["state"] for record in log.history("price", 9).records] == ["aborted"]


def test_every_byte_that_is_changed_is_found(tmp_path: Path) -> None:
    """Whichever bit of whichever byte of two archives and the newest file is flipped, file and line are named."""
    rotated(tmp_path)
    assert archive_numbers(tmp_path) == [1, 2]
    for name in NAMES:
        path, original = tmp_path / name, (tmp_path / name).read_bytes()
        for at in range(len(original)):
            flipped = bytearray(original)
            flipped[at] ^= 1 << at % 8
            path.write_bytes(flipped)
            # Without its last newline the newest record looks to the history as if it were being written.
            found = broken(tmp_path, backwards=(name, at) != (AUDIT_FILE, len(original) - 1))
            line = original[:at].count(b"\n") + 1
            assert (found.file, str(found).startswith(f"line {line}, bytes ")) == (name, True), (at, str(found))
        path.write_bytes(original)
    assert records(tmp_path)


def test_every_record_that_is_removed_or_moved_is_found(tmp_path: Path) -> None:
    """Any but the newest may be removed, and any two neighbours exchanged, also at the border of two files."""
    rotated(tmp_path)
    whole = [(name, line) for name in NAMES for line in lines(tmp_path / name)]

    def check(kept: list[tuple[str, bytes]], at: int) -> None:
        for name in NAMES:
            (tmp_path / name).write_bytes(b"".join(line for of, line in kept if of == name))
        found = broken(tmp_path)
        after = whole[at + 1][0] if len(kept) < len(whole) else whole[at][0]  # the next record is what does not fit
        assert found.file in (whole[at][0], after), (at, str(found))

    for at in range(len(whole) - 1):
        check(whole[:at] + whole[at + 1 :], at)
        (name, line), (next_name, next_line) = whole[at : at + 2]
        check([*whole[:at], (name, next_line), (next_name, line), *whole[at + 2 :]], at)


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    """With its name and the records in it, whichever it is, and also if the others are renamed to hide that."""
    rotated(tmp_path, archives=3)
    sequences = [
        [audit_chain.parse(line)["sequence"] for line in lines(tmp_path / f"audit-00000{number}.jsonl")]
        for number in (1, 2, 3)
    ]
    for number, inside in enumerate(sequences, 1):
        path = tmp_path / f"audit-00000{number}.jsonl"
        hidden = path.rename(tmp_path / "hidden")
        found = broken(tmp_path)
        assert found.file == path.name
        assert str(found) == f"{path.name} is missing, with the records {inside[0]} to {inside[-1]}"
        hidden.rename(path)
    (tmp_path / FIRST).rename(tmp_path / "hidden")
    (tmp_path / SECOND).rename(tmp_path / "hidden too")
    assert str(broken(tmp_path)).startswith(f"{FIRST} to {SECOND} are missing, with the records 1 to ")
    (tmp_path / "hidden").rename(tmp_path / FIRST)
    (tmp_path / "audit-000003.jsonl").rename(tmp_path / SECOND)
    found = broken(tmp_path)
    assert found.file == SECOND
    assert f"records {sequences[1][0]} to {sequences[1][-1]} are missing before {SECOND}" in str(found)


def test_exchanged_archives_are_named(tmp_path: Path) -> None:
    """The first that is not what its number says."""
    rotated(tmp_path)
    (tmp_path / FIRST).rename(tmp_path / "hidden")
    (tmp_path / SECOND).rename(tmp_path / FIRST)
    (tmp_path / "hidden").rename(tmp_path / SECOND)
    assert broken(tmp_path).file == FIRST


def test_an_archive_that_was_cut_off_is_named(tmp_path: Path) -> None:
    """In the middle of a record: the archive; behind one: the file after it, with the records that are missing."""
    rotated(tmp_path)
    archived = lines(tmp_path / SECOND)
    (tmp_path / SECOND).write_bytes(b"".join(archived)[:-5])
    assert (broken(tmp_path).file, str(broken(tmp_path)).endswith("half a record ends the archive")) == (SECOND, True)
    (tmp_path / SECOND).write_bytes(b"".join(archived[:-2]))
    newest = audit_chain.parse(archived[-1])["sequence"]
    found = broken(tmp_path)
    assert found.file == AUDIT_FILE
    assert f"records {newest - 1} to {newest} are missing before {AUDIT_FILE}" in str(found)


def test_a_server_tells_of_archives_that_do_not_fit(tmp_path: Path) -> None:
    """At its start it compares the newest file with the newest archive; it goes on and changes neither."""
    rotated(tmp_path)
    kept = {name: (tmp_path / name).read_bytes() for name in NAMES}
    hidden = (tmp_path / SECOND).rename(tmp_path / "hidden")
    log = opened(tmp_path, "here.2.00")
    assert log.notice == f"the audit log is broken: {SECOND} is missing"
    assert log.history("", 99).records[0]["result"].startswith("broken: ")
    log.begin(fact(50))
    hidden.rename(tmp_path / SECOND)
    (tmp_path / SECOND).write_bytes(b"".join(lines(tmp_path / SECOND)[:-1]))
    assert f"does not continue what {SECOND} ends with" in opened(tmp_path, "here.3.00").notice
    (tmp_path / SECOND).write_bytes(kept[SECOND])
    assert opened(tmp_path, "here.4.00").notice == ""
    assert (tmp_path / AUDIT_FILE).read_bytes().startswith(kept[AUDIT_FILE])
    assert changes(tmp_path)[-1] == (50, "intent")


def test_a_broken_newest_file_is_set_aside(tmp_path: Path) -> None:
    """Even if its first record is what is broken: the log goes on behind the archive, with what that leaves open."""
    log = rotated(tmp_path)
    left = log.begin(fact(99))
    while len(archive_numbers(tmp_path)) < 3:
        change(log, 1)
    raw = (tmp_path / AUDIT_FILE).read_bytes()
    (tmp_path / AUDIT_FILE).write_bytes(raw.replace(b"rotation", b"rotatiom", 1))
    log = opened(tmp_path, "here.2.00")
    assert "line 1, bytes 0 to " in log.notice
    (kept,) = tmp_path.glob(f"{AUDIT_FILE}.broken-*")
    assert kept.read_bytes() == raw.replace(b"rotation", b"rotatiom", 1)
    assert [record["state"] for record in records(tmp_path)][-2:] == ["rotation", "break"]
    assert left in log.unfinished()


def test_a_torn_record_after_a_rotation_is_cut(tmp_path: Path) -> None:
    """Right after the record that continues the chain, or of that one, as a file system may leave it."""
    rotated(tmp_path)
    header = lines(tmp_path / AUDIT_FILE)[0]
    before = len(changes(tmp_path)) - len(lines(tmp_path / AUDIT_FILE)[1:])
    for torn, kept in ((header + header[:40], header), (header[:40], b""), (b"", b"")):
        (tmp_path / AUDIT_FILE).write_bytes(torn)
        log = opened(tmp_path, "here.2.00")
        assert (tmp_path / AUDIT_FILE).read_bytes() == kept
        change(log, 50)
        assert changes(tmp_path)[before:] == [(50, "intent"), (50, "committed")]
        assert log.notice == ""


def write(folder: Path, server: str, first: int, point: str = "") -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.server.versions.rotated_log", str(folder), server, str(first), point]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("point", POINTS)
def test_killed_in_a_rotation(tmp_path: Path, point: str) -> None:
    """Killed at this point, the log verifies as it is; what was acknowledged is in it, and the next server goes on."""
    with write(tmp_path, "here.1.00", 1, point) as writer:
        said, _ = writer.communicate(timeout=PATIENCE_S)
    assert writer.returncode < 0
    acknowledged = [int(line) for line in said.split()]
    assert acknowledged
    assert [version for version, state in changes(tmp_path) if state == "committed"] == acknowledged
    log = opened(tmp_path, "here.2.00")
    assert log.notice == ""
    open_before = {one.fact.to_version for one in log.unfinished()}
    assert open_before == {version for version, _ in changes(tmp_path)} - set(acknowledged)
    change(log, 1000)
    assert changes(tmp_path)[-2:] == [(1000, "intent"), (1000, "committed")]
    assert archive_numbers(tmp_path) == [1]
    assert [r["to_version"] for r in log.history("", 99).records if r["state"] == "committed"] == [*acknowledged, 1000]


@pytest.mark.parametrize("kills", [5, pytest.param(60, marks=pytest.mark.long)])
def test_killed_anywhere(tmp_path: Path, kills: int) -> None:
    """Two servers write one log and are killed at random moments, again and again: nothing acknowledged is lost."""
    chance = random.Random(kills)
    acknowledged: list[int] = []
    for round_ in range(kills):
        writers = [
            write(tmp_path, f"{name}.{round_}.00", 10_000 * round_ + start) for name, start in (("a", 1), ("b", 5001))
        ]
        for writer in writers:
            assert writer.stdout is not None
            acknowledged.append(int(writer.stdout.readline()))
        timers = [Timer(chance.random() * 0.2, writer.kill) for writer in writers]
        for timer in timers:
            timer.start()
        for writer in writers:
            said, _ = writer.communicate(timeout=PATIENCE_S)
            acknowledged += [int(line) for line in said.split("\n") if line]
        found = {version for version, state in changes(tmp_path) if state == "committed"}
        assert set(acknowledged) <= found
    assert len(archive_numbers(tmp_path)) > kills
    assert opened(tmp_path).notice == ""


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond `size` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def full(folder: Path) -> int:
    """Changes until the next record does not fit in the newest file any more; returns how many."""
    log, version = opened(folder), 0
    while (folder / AUDIT_FILE).stat().st_size + 300 < BYTES_MAX if version else True:
        version += 1
        change(log, version)
    return version


def test_disk_that_is_full_in_a_rotation(tmp_path: Path) -> None:
    """Neither a new file nor the old one takes the record: it is refused as ever, and nothing has changed."""
    count = full(tmp_path)
    log, before = opened(tmp_path), (tmp_path / AUDIT_FILE).read_bytes()
    with file_size_limit(100), pytest.raises(StateWriteError, match="the audit log cannot be written: File too large"):
        log.begin(fact(50))
    assert (tmp_path / AUDIT_FILE).read_bytes() == before
    assert archive_numbers(tmp_path) == []
    assert "cannot be rotated and grows on: File too large" in log.notice
    change(log, 51)
    assert archive_numbers(tmp_path) == [1]
    assert log.notice == ""
    assert changes(tmp_path)[2 * count :] == [(51, "intent"), (51, "committed")]


def test_disk_that_is_full_after_a_rotation(tmp_path: Path) -> None:
    """The new file takes its first record and no other: the change is refused, and the next one goes on there."""
    count = full(tmp_path)
    log = opened(tmp_path)
    with file_size_limit(600), pytest.raises(StateWriteError, match="File too large"):
        log.begin(fact(50))
    assert archive_numbers(tmp_path) == [1]
    assert len(lines(tmp_path / AUDIT_FILE)) == 1
    change(log, 51)
    assert changes(tmp_path)[2 * count :] == [(51, "intent"), (51, "committed")]


def test_a_rotation_that_is_not_possible_refuses_nothing(tmp_path: Path) -> None:
    """The file grows on, operators are told, and it is rotated as soon as that works."""
    count = full(tmp_path)
    log = opened(tmp_path)
    (tmp_path / FRESH).mkdir()
    change(log, 50)
    assert "cannot be rotated and grows on: Is a directory" in log.notice
    assert archive_numbers(tmp_path) == []
    (tmp_path / FRESH).rmdir()
    change(log, 51)
    assert (archive_numbers(tmp_path), log.notice) == ([1], "")
    assert changes(tmp_path)[2 * count :] == [
        (50, "intent"), (50, "committed"), (51, "intent"), (51, "committed"),
    ]  # fmt: skip


def test_a_start_reads_the_newest_file_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many archives there are: that file, and the last record of the newest archive."""
    rotated(tmp_path, archives=12)
    counted, parse = [0], audit_chain.parse

    def count(line: bytes) -> audit_chain.Record:
        counted[0] += 1
        return parse(line)

    for module in (audit_chain, audit_files):
        monkeypatch.setattr(module, "parse", count)
    log = opened(tmp_path, "here.2.00")
    newest = len(lines(tmp_path / AUDIT_FILE))
    assert counted[0] <= newest + 2
    counted[0] = 0
    assert len(log.history("", 2).records) == 2
    assert counted[0] <= newest + len(lines(tmp_path / "audit-000012.jsonl")) + 1


def test_a_history_reads_so_much_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is older than the records that may be read is counted, unless enough was found before."""
    monkeypatch.setattr(audit, "READ_MAX", 10)
    log = rotated(tmp_path, archives=4)
    sequence = records(tmp_path)[-1]["sequence"]
    assert log.history("price", 5) == ([], sequence - 10)
    found = log.history("churn", 100)
    assert (0 < len(found.records) < 10, found.unread) == (True, sequence - 10)
    assert log.history("churn", 2).unread == 0
    monkeypatch.setattr(audit, "READ_MAX", sequence)
    assert log.history("price", 5) == ([], 0)


def test_a_rotation_while_files_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that was open by then is an archive now: all are listed again."""
    log, pending, numbers = rotated(tmp_path), [True], audit_files.archive_numbers

    def rotating(folder: Path) -> list[int]:
        if pending:
            pending.clear()
            while len(numbers(tmp_path)) < 3:
                change(log, 50)
        return numbers(folder)

    monkeypatch.setattr(audit_files, "archive_numbers", rotating)
    with parts(tmp_path) as files:
        assert [part.number for part in files] == [1, 2, 3, 4]
        assert sum(1 for _ in verified_parts(files)) > 0


def test_reading_during_rotations(tmp_path: Path) -> None:
    """Whoever reads while a server writes and rotates always finds one chain that holds."""
    with write(tmp_path, "here.1.00", 1) as writer:
        try:
            assert writer.stdout is not None
            writer.stdout.readline()
            while len(archive_numbers(tmp_path)) < 20:
                with parts(tmp_path) as files:
                    assert sum(1 for _ in verified_parts(files)) > 0
                    assert sum(1 for _ in newest_first(files)) > 0
        finally:
            writer.kill()
