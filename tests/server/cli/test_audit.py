"""`onnxpress audit`: a log that holds, and every way in which one may be tampered with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxpress.__main__ import main
from onnxpress.server.facts import AdminFact
from onnxpress.server.versions.audit import AuditState, FileAuditLog
from onnxpress.server.versions.audit_files import AUDIT_FILE, archive_numbers
from tests.documented import check_documented
from tests.server.versions.rotated_log import records, rotated
from tests.server_process import PATIENCE_S, ROOT

CHANGES = 4


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of four changes, each an intent and its outcome."""
    audit = FileAuditLog(tmp_path / "audit", "host.1.aa")
    for number in range(1, CHANGES + 1):
        add(audit, number)
    return tmp_path / "audit" / AUDIT_FILE


def add(audit: FileAuditLog, number: int) -> None:
    fact = AdminFact("ada", "deploy", "churn", number - 1, number, number, "ab" * 32, "größer")
    audit.finish(audit.begin(fact), AuditState.COMMITTED)


def run(capsys: pytest.CaptureFixture[str], log: Path, action: str, *flags: str) -> tuple[int, str, str]:
    code = main(["audit", action, str(log.parents[1]), *flags])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_log_that_holds(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How many records, and the hash of the newest, to be kept elsewhere; as JSON with the documented keys."""
    code, out, _ = run(capsys, log, "verify")
    newest = json.loads(log.read_text().splitlines()[-1])
    assert code == 0
    assert "8 records hold" in out
    assert out.endswith(f"hash {newest['hash']}\n")
    told = json.loads(run(capsys, log, "verify", "--output", "json")[1])
    check_documented(told)
    assert (told["records"], told["newest_hash"]) == (2 * CHANGES, newest["hash"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_byte_that_was_changed_is_found(log: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject) -> None:
    """Exit code 3, and the line in which it is, or the one after it."""
    original = log.read_bytes()
    place = data.draw(st.integers(0, len(original) - 1))
    flipped = bytearray(original)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    log.write_bytes(flipped)
    try:
        code, _, err = run(capsys, log, "verify")
        line = original[:place].count(b"\n") + 1
        assert code == 3, (place, err)
        assert f"line {line}, bytes " in err
    finally:
        log.write_bytes(original)


@pytest.mark.parametrize("place", range(2 * CHANGES - 1))
def test_a_record_that_was_removed_is_found(log: Path, capsys: pytest.CaptureFixture[str], place: int) -> None:
    """Any but the newest: the next one does not continue the one before."""
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:place] + lines[place + 1 :]))
    code, _, err = run(capsys, log, "verify")
    assert (code, f"line {place + 1}, " in err) == (3, True)


def test_records_that_were_exchanged_are_found(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The order is part of the chain."""
    lines = log.read_bytes().splitlines(keepends=True)
    lines[2], lines[3] = lines[3], lines[2]
    log.write_bytes(b"".join(lines))
    code, _, err = run(capsys, log, "verify")
    assert (code, "line 3, " in err) == (3, True)


def test_a_log_that_was_cut_off_is_found_by_its_newest_hash(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is left is consistent, so the hash that was kept elsewhere must be in it."""
    lines = log.read_bytes().splitlines(keepends=True)
    newest = json.loads(lines[-1])["hash"]
    assert run(capsys, log, "verify", "--contains", newest.upper())[0] == 0
    log.write_bytes(b"".join(lines[:-2]))
    assert run(capsys, log, "verify")[0] == 0
    code, _, err = run(capsys, log, "verify", "--contains", newest)
    assert (code, f"none of its 6 records has the hash {newest}" in err) == (3, True)


def test_export_is_the_log(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON lines, byte for byte; a log that does not hold ends with exit code 3 after what does."""
    assert run(capsys, log, "export")[1] == log.read_text()
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:3] + lines[4:]))
    code, out, _ = run(capsys, log, "export")
    assert (code, out.count("\n")) == (3, 3)


def test_tail_is_for_people(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest records: who, what, when, why and with what result."""
    out = run(capsys, log, "tail", "--lines", "2")[1].splitlines()
    assert [line.split()[0] for line in out] == ["7", "8"]
    assert "churn  deploy    3 -> 4  epoch 4  committed  ok  by ada  'größer'" in out[1]


def test_tail_follows(log: Path) -> None:
    """A record that is written later is printed as soon as it is on disk."""
    command = [sys.executable, "-m", "onnxpress", "audit", "tail", str(log.parents[1]), "--lines", "1", "--follow"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline().split()[0] == "8"
            add(FileAuditLog(log.parent, "host.2.bb"), 5)
            assert [child.stdout.readline().split()[0] for _ in range(2)] == ["9", "10"]
        finally:
            child.kill()
            child.wait(PATIENCE_S)


def test_a_log_in_several_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """verify counts them, export is all of them, tail reads as many as it needs; a missing one is named."""
    folder = tmp_path / "audit"
    rotated(folder, archives=3)
    files = [*sorted(folder.glob("audit-*.jsonl")), folder / AUDIT_FILE]
    text = "".join(path.read_text() for path in files)
    count, newest = text.count("\n"), len((folder / AUDIT_FILE).read_text().splitlines())
    assert f"{count} records in 4 files hold" in run(capsys, files[-1], "verify")[1]
    assert json.loads(run(capsys, files[-1], "verify", "--output", "json")[1])["files"] == 4
    assert run(capsys, files[-1], "export")[1] == text
    for lines in (0, 1, newest, newest + 1, count - 1, count, count + 1):
        out = run(capsys, files[-1], "tail", "--lines", str(lines))[1].splitlines()
        assert [int(line.split()[0]) for line in out] == list(range(1, count + 1))[max(0, count - lines) :]
    files[1].unlink()
    code, _, err = run(capsys, files[-1], "verify")
    assert (code, f"{files[1]}: audit-000002.jsonl is missing, with the records " in err) == (3, True)
    assert run(capsys, files[-1], "tail", "--lines", "1")[0] == 0


def test_tail_follows_into_new_files(tmp_path: Path) -> None:
    """No record is left out or printed twice when the file that is followed becomes an archive."""
    log = rotated(tmp_path / "audit", archives=1)
    command = [sys.executable, "-m", "onnxpress", "audit", "tail", str(tmp_path), "--lines", "1", "--follow"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            first = int(child.stdout.readline().split()[0])
            while len(archive_numbers(tmp_path / "audit")) < 4:
                add(log, 5)
            newest = records(tmp_path / "audit")[-1]["sequence"]
            seen = [int(child.stdout.readline().split()[0]) for _ in range(newest - first)]
            assert seen == list(range(first + 1, newest + 1))
        finally:
            child.kill()
            child.wait(PATIENCE_S)


def test_tail_follows_a_file_that_was_replaced(log: Path) -> None:
    """As a log is that was set aside: what stands in both is not printed again."""
    command = [sys.executable, "-m", "onnxpress", "audit", "tail", str(log.parents[1]), "--lines", "1", "--follow"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline().split()[0] == "8"
            copy = log.with_name("copy")
            copy.write_bytes(log.read_bytes())
            copy.replace(log)
            add(FileAuditLog(log.parent, "host.2.bb"), 5)
            assert [child.stdout.readline().split()[0] for _ in range(2)] == ["9", "10"]
        finally:
            child.kill()
            child.wait(PATIENCE_S)


def test_a_folder_without_a_log_is_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, naming what is asked for."""
    assert main(["audit", "verify", str(tmp_path)]) == 2
    assert f"{tmp_path} holds no audit/{AUDIT_FILE}" in capsys.readouterr().err
