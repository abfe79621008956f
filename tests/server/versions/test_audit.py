"""The audit log: durable before it returns, chained, honest about what it cannot read."""

import json
import os
from pathlib import Path

import pytest

from onnxpress.server.errors import StateWriteError
from onnxpress.server.facts import AdminFact
from onnxpress.server.versions.audit import NO_HASH, FileAuditLog, record_hash


def fact(version: int, model: str = "churn", result: str = "ok") -> AdminFact:
    return AdminFact("ada", "deploy", model, version - 1, version, version, "ab" * 32, "größer", result)


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]


def test_records_are_chained(tmp_path: Path) -> None:
    """Each record holds its own hash and that of the one before; changing any breaks the chain."""
    log = FileAuditLog(tmp_path)
    for version in (1, 2, 3):
        log.append(fact(version))
    records = lines(tmp_path)
    assert [record["sequence"] for record in records] == [1, 2, 3]
    assert [record["previous"] for record in records] == [NO_HASH, records[0]["hash"], records[1]["hash"]]
    assert [record["hash"] for record in records] == [record_hash(record) for record in records]
    assert record_hash({**records[1], "reason": "smaller"}) != records[1]["hash"]


def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    """A new process continues numbers and chain, and remembers what was said."""
    FileAuditLog(tmp_path).append(fact(1))
    log = FileAuditLog(tmp_path)
    log.append(fact(2, "price"))
    log.append(fact(3, result="refused: too new"))
    assert [record["previous"] for record in lines(tmp_path)[1:]] == [record["hash"] for record in lines(tmp_path)[:-1]]
    assert [record["to_version"] for record in log.records("churn", 10)] == [1, 3]
    assert [record["to_version"] for record in log.records("", 2)] == [2, 3]
    assert (log.last_epoch("churn"), log.last_epoch("price"), log.last_epoch("none")) == (1, 2, 0)


def test_on_disk_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced with the record in it, and the folder when the file is new."""
    seen: list[tuple[str, int]] = []
    fsync = os.fsync

    def synced(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").resolve()
        seen.append((path.name, path.stat().st_size if path.is_file() else 0))
        fsync(file)

    monkeypatch.setattr(os, "fsync", synced)
    log = FileAuditLog(tmp_path)
    log.append(fact(1))
    first = (tmp_path / "audit.jsonl").stat().st_size
    log.append(fact(2))
    assert seen == [
        ("audit.jsonl", first),
        (tmp_path.name, 0),
        ("audit.jsonl", (tmp_path / "audit.jsonl").stat().st_size),
    ]


@pytest.mark.parametrize("written", [0, 10])
def test_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    """A record that does not fit leaves no trace, and the next one continues the chain."""
    log = FileAuditLog(tmp_path)
    log.append(fact(1))
    before = (tmp_path / "audit.jsonl").read_bytes()
    write, left = os.write, [written]

    def full(file: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        count, left[0] = left[0], 0
        return write(file, bytes(data)[:count])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StateWriteError, match="No space left on device"):
        log.append(fact(2))
    monkeypatch.undo()
    assert (tmp_path / "audit.jsonl").read_bytes() == before
    log.append(fact(3))
    assert [record["to_version"] for record in lines(tmp_path)] == [1, 3]
    assert lines(tmp_path)[1]["previous"] == lines(tmp_path)[0]["hash"]


def test_torn_record_is_cut(tmp_path: Path) -> None:
    """Half a line at the end, which nobody was told about, is cut off; what stands before it stays."""
    FileAuditLog(tmp_path).append(fact(1))
    whole = (tmp_path / "audit.jsonl").read_bytes()
    for torn in (whole[:40], whole[:-1], b"\xff"):
        (tmp_path / "audit.jsonl").write_bytes(whole + torn)
        assert len(FileAuditLog(tmp_path).records("", 10)) == 1
        assert (tmp_path / "audit.jsonl").read_bytes() == whole


@pytest.mark.parametrize("broken", ["not json\n", "{}\n", "[]\n", "3\n", '{"sequence": 2}\n', "\n"])
def test_broken_record_is_named(tmp_path: Path, broken: str) -> None:
    """A record that cannot be read stops the start and is named by its number."""
    FileAuditLog(tmp_path).append(fact(1))
    with (tmp_path / "audit.jsonl").open("a") as file:
        file.write(broken)
    with pytest.raises(StateWriteError, match="record 2 of the audit log is broken"):
        FileAuditLog(tmp_path)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A state folder that cannot be made is one error with the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateWriteError, match="cannot be opened: Not a directory"):
        FileAuditLog(tmp_path / "file" / "audit")
