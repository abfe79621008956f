"""The audit log: durable before it returns, one chain for all who share it, honest about what it cannot read."""

import gc
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest

from onnxpress.server.errors import StateWriteError
from onnxpress.server.facts import AdminFact
from onnxpress.server.versions import audit
from onnxpress.server.versions.audit import AuditState, FileAuditLog, Intent
from onnxpress.server.versions.audit_chain import Place, Record, seal, verified
from tests.server_process import PATIENCE_S, ROOT

COMMITTED, ABORTED = AuditState.COMMITTED, AuditState.ABORTED
FILE = "audit.jsonl"


def fact(version: int, model: str = "churn") -> AdminFact:
    return AdminFact("ada", "deploy", model, version - 1, version, version, "ab" * 32, "größer")


def opened(folder: Path, server: str = "here.1.00") -> FileAuditLog:
    return FileAuditLog(folder, server)


def lines(folder: Path) -> list[Record]:
    """The records on disk, after proving that they are one chain."""
    with (folder / FILE).open("rb") as file:
        found = [record for record, _ in verified(file, Place())]
    assert len(found) == len((folder / FILE).read_bytes().splitlines())
    return found


def told(log: FileAuditLog, model: str = "", limit: int = 100) -> list[tuple[int, str, str]]:
    return [(record["to_version"], record["state"], record["result"]) for record in log.history(model, limit).records]


def test_an_intent_and_its_outcome_are_one_change(tmp_path: Path) -> None:
    """The file holds both; the history shows a change once, with its outcome, or as an intent while there is none."""
    log = opened(tmp_path)
    first, second, third = (log.begin(fact(version)) for version in (1, 2, 3))
    log.finish(first, COMMITTED)
    log.finish(second, ABORTED, "refused: too new")
    assert [record["state"] for record in lines(tmp_path)] == ["intent"] * 3 + ["committed", "aborted"]
    assert told(log) == [(3, "intent", "no outcome yet"), (1, "committed", "ok"), (2, "aborted", "refused: too new")]
    assert log.unfinished() == [third]


def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    """A new process continues numbers and chain, and remembers what was said and what has no outcome."""
    log = opened(tmp_path)
    log.finish(log.begin(fact(1)), COMMITTED)
    left = log.begin(fact(2, "price"))
    log = opened(tmp_path, "here.2.00")
    log.finish(log.begin(fact(3)), ABORTED, "refused: too new")
    assert log.unfinished() == [left]
    assert (left.server, left.fact) == ("here.1.00", fact(2, "price"))
    assert [version for version, _, _ in told(log, "churn")] == [1, 3]
    assert [version for version, _, _ in told(log, limit=2)] == [2, 3]
    assert [record["sequence"] for record in lines(tmp_path)] == [1, 2, 3, 4, 5]


def test_on_disk_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced with the record in it, and the folder when the file is new."""
    seen: list[tuple[str, int]] = []
    fsync = os.fsync

    def synced(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").resolve()
        seen.append((path.name, path.stat().st_size if path.is_file() else 0))
        fsync(file)

    monkeypatch.setattr(os, "fsync", synced)
    log = opened(tmp_path)
    intent = log.begin(fact(1))
    first = (tmp_path / FILE).stat().st_size
    log.finish(intent, COMMITTED)
    assert seen == [(FILE, first), (tmp_path.name, 0), (FILE, (tmp_path / FILE).stat().st_size)]


@pytest.mark.parametrize("written", [0, 10])
def test_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    """A record that does not fit leaves no trace, and the next one continues the chain."""
    log = opened(tmp_path)
    log.begin(fact(1))
    before = (tmp_path / FILE).read_bytes()
    write, left = os.write, [written]

    def full(file: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        count, left[0] = left[0], 0
        return write(file, bytes(data)[:count])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StateWriteError, match="No space left on device"):
        log.begin(fact(2))
    monkeypatch.undo()
    assert (tmp_path / FILE).read_bytes() == before
    log.begin(fact(3))
    assert [record["to_version"] for record in lines(tmp_path)] == [1, 3]


def test_torn_record_is_cut(tmp_path: Path) -> None:
    """Half a line at the end, which nobody was told about, is cut off; what stands before it stays."""
    opened(tmp_path).begin(fact(1))
    whole = (tmp_path / FILE).read_bytes()
    for torn in (whole[:40], whole[:-1], b"\xff"):
        (tmp_path / FILE).write_bytes(whole + torn)
        assert len(opened(tmp_path).history("", 10).records) == 1
        assert (tmp_path / FILE).read_bytes() == whole


def test_a_broken_chain_is_set_aside(tmp_path: Path) -> None:
    """The broken file is kept whole; the log goes on behind the last right record with one that names the break."""
    log = opened(tmp_path)
    intents = [log.begin(fact(version)) for version in (1, 2, 3)]
    log.finish(intents[0], COMMITTED)
    raw = bytearray((tmp_path / FILE).read_bytes())
    second = raw.index(b"\n") + 1
    raw[second + 30] ^= 1
    (tmp_path / FILE).write_bytes(raw)
    log = opened(tmp_path, "here.2.00")
    (kept,) = tmp_path.glob(f"{FILE}.broken-*")
    assert kept.read_bytes() == raw
    assert [(record["to_version"], record["state"]) for record in lines(tmp_path)] == [(1, "intent"), (0, "break")]
    for words in (f"line 2, bytes {second} to ", kept.name):
        assert words in log.notice
        assert words in log.history("churn", 1).records[0]["result"]
    # Its outcome stood behind the break: it has to be found out again.
    assert log.unfinished() == [intents[0]]
    log.begin(fact(4))
    assert [record["state"] for record in lines(tmp_path)] == ["intent", "break", "intent"]
    assert opened(tmp_path).notice == ""


def test_a_break_under_a_running_server_is_told(tmp_path: Path) -> None:
    """What was changed in the file after it was opened ends the history with a record that says where."""
    log = opened(tmp_path)
    for version in (1, 2, 3):
        log.begin(fact(version))
    raw = bytearray((tmp_path / FILE).read_bytes())
    second = raw.index(b"\n") + 1
    raw[second + 30] ^= 1
    (tmp_path / FILE).write_bytes(raw)
    assert [(version, state) for version, state, _ in told(log)] == [(0, "break"), (3, "intent")]
    assert log.history("", 9).records[0]["result"].startswith(f"broken: bytes {second} to ")


def test_servers_that_share_a_folder_write_one_chain(tmp_path: Path) -> None:
    """Whoever appends continues the newest record, whoever wrote it, and sees the intents of all."""
    here, there = opened(tmp_path), opened(tmp_path, "there.1.00")
    intent = here.begin(fact(1))
    assert there.unfinished() == [intent]
    there.begin(fact(2, "price"))
    here.finish(intent, COMMITTED)
    assert [record["server"] for record in lines(tmp_path)] == ["here.1.00", "there.1.00", "here.1.00"]
    assert told(there) == told(here)


WRITER = """
import sys
from pathlib import Path
from onnxpress.server.facts import AdminFact
from onnxpress.server.versions.audit import AuditState, FileAuditLog
log = FileAuditLog(Path(sys.argv[1]), sys.argv[2])
sys.stdin.readline()
for number in range(20):
    log.finish(log.begin(AdminFact(sys.argv[2], "load", "churn", 0, number, 0, "", "")), AuditState.COMMITTED)
"""


def test_processes_do_not_fork_the_chain(tmp_path: Path) -> None:
    """Three processes that append as fast as they can leave one chain with every record of each, in its order."""
    names = ("a", "b", "c")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), name], cwd=ROOT, stdin=subprocess.PIPE, text=True
        )
        for name in names
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.close()
    assert [writer.wait(PATIENCE_S) for writer in writers] == [0, 0, 0]
    for name in names:
        written = [(r["to_version"], r["state"]) for r in lines(tmp_path) if r["actor"] == name]
        assert written == [(number, state) for number in range(20) for state in ("intent", "committed")]


def test_a_log_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    """When another server sets the file aside, or somebody removes it, the chain of the file that is there goes on."""
    log = opened(tmp_path)
    log.begin(fact(1))
    (tmp_path / FILE).unlink()
    log.begin(fact(2))
    assert [(record["sequence"], record["to_version"]) for record in lines(tmp_path)] == [(1, 2)]
    raw = (tmp_path / FILE).read_bytes().replace(b"churn", b"chirn")
    (tmp_path / FILE).write_bytes(raw)
    other = opened(tmp_path, "there.1.00")
    log.begin(fact(3))
    assert [(r["server"], r["state"]) for r in lines(tmp_path)] == [("there.1.00", "break"), ("here.1.00", "intent")]
    assert other.notice


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """After a thousand changes the log holds no more than after ten."""
    log = opened(tmp_path)

    def change(count: int) -> int:
        for version in range(1, count + 1):
            log.finish(log.begin(fact(version)), COMMITTED)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = change(10)
        assert change(1000) - early < 50_000
    finally:
        tracemalloc.stop()
    assert len(log.history("", 5000).records) == 1010


def test_logs_without_states_are_read(tmp_path: Path) -> None:
    """Records of the first format say in their result whether they were carried out."""
    old = {"at": "2026-11-20T07:00:00.000000+00:00", "actor": "ada", "action": "deploy", "model": "churn",
           "from_version": 0, "to_version": 1, "epoch": 1, "digest": "", "reason": ""}  # fmt: skip
    place, text = Place(), b""
    for result in ("ok", "refused: no"):
        sealed, line = seal({**old, "result": result}, place)
        place, text = Place(len(text + line), place.line + 1, sealed["sequence"], sealed["hash"]), text + line
    (tmp_path / FILE).write_bytes(text)
    log = opened(tmp_path, "here.2.00")
    assert [audit.state_of(record) for record in log.history("", 9).records] == [COMMITTED, ABORTED]
    assert log.unfinished() == []


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A folder that cannot be made is one error with the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateWriteError, match="cannot be opened: Not a directory"):
        opened(tmp_path / "file" / "audit")


def test_a_full_disk_does_not_keep_it_from_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that restarts on a full disk reads its log; only changes are refused."""
    opened(tmp_path).begin(fact(1))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    for name in ("write", "pwrite", "ftruncate"):
        monkeypatch.setattr(os, name, full)
    log = opened(tmp_path, "here.2.00")
    assert [state for _, state, _ in told(log)] == ["intent"]
    assert len(log.unfinished()) == 1
    with pytest.raises(StateWriteError, match="No space left on device"):
        log.begin(fact(2))


def test_threads_do_not_fork_the_chain(tmp_path: Path) -> None:
    """Changes of several models at once are one chain too."""
    log = opened(tmp_path)
    done: list[Intent] = []

    def change(model: str) -> None:
        for version in range(1, 11):
            intent = log.begin(fact(version, model))
            log.finish(intent, COMMITTED)
            done.append(intent)

    threads = [threading.Thread(target=change, args=(model,)) for model in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(tmp_path)) == 60
    assert len({json.dumps(intent.change) for intent in done}) == 30
