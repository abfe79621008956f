"""The files of recorded windows: taken over after a crash, bounded, and never in the way of a rollout."""

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from onnxpress.server.rollouts.recorder import FILES_MAX, PENDING_MAX, Recorder
from onnxpress.server.rollouts.records import Entry, Header, entry_of, lost
from onnxpress.server.rollouts.windows import Window
from tests.server.rollouts.recorded import served

HEADER = Header("churn", 8, "c0ffee", "beef")
WINDOWS = served(5, 40)


def recorder(folder: Path, server: str = "one", alive: Callable[[str], bool] = bool, **more: int) -> Recorder:
    """By default every other server runs."""
    return Recorder(folder, server, alive, **more)


def gone(_server: str) -> bool:
    return False


def kept(folder: Path, header: Header = HEADER, count: int = 40) -> Path:
    """The file of a server `one` that has recorded so many windows and ended."""
    made = recorder(folder)
    made.begin(header)
    for entry in WINDOWS[:count]:
        made.keep(header.model, entry)
    return folder / header.model / f"{header.rollout}@one.jsonl"


def test_what_was_recorded_is_read_again(tmp_path: Path) -> None:
    """Every window in its order, by the same server and by the next one; numbers go on."""
    kept(tmp_path)
    assert recorder(tmp_path).begin(HEADER) == WINDOWS
    second = recorder(tmp_path, "two", gone)
    assert second.begin(HEADER) == WINDOWS
    second.keep("churn", replace(WINDOWS[0], seq=0))
    assert recorder(tmp_path, "three", gone).begin(HEADER)[-1].seq == 41
    assert [path.name for path in (tmp_path / "churn").iterdir()] == ["8@three.jsonl"]


def test_a_running_servers_record_is_its_own(tmp_path: Path) -> None:
    """A replica beside it counts for itself."""
    kept(tmp_path)
    assert recorder(tmp_path, "two").begin(HEADER) == []
    assert len(list((tmp_path / "churn").iterdir())) == 2


def test_replicas_that_start_together_share_nothing(tmp_path: Path) -> None:
    """Of two records of servers that ended each gets one, the first the newer one."""
    old = kept(tmp_path, count=10)
    old.rename(old.with_name("8@zero.jsonl"))
    os.utime(old.with_name("8@zero.jsonl"), (1, 1))
    kept(tmp_path, count=20)
    ended = {"zero", "one"}.isdisjoint
    alive = lambda server: ended({server})  # noqa: E731
    assert len(recorder(tmp_path, "two", alive).begin(HEADER)) == 20
    assert len(recorder(tmp_path, "three", alive).begin(HEADER)) == 10
    assert recorder(tmp_path, "four", alive).begin(HEADER) == []


@pytest.mark.parametrize("other", [replace(HEADER, champion="dead"), replace(HEADER, candidate="dead")])
def test_other_packages_begin_anew(other: Header, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A version whose files were replaced in the middle of a rollout has no evidence yet."""
    kept(tmp_path)
    second = recorder(tmp_path)
    assert second.begin(other) == []
    assert "about other packages" in caplog.text
    second.keep("churn", WINDOWS[0])
    assert recorder(tmp_path).begin(other) == WINDOWS[:1]


@pytest.mark.parametrize(
    ("damage", "windows"),
    [
        (lambda data: data[:-20], 39),  # torn
        (lambda data: data + b'{"seq":41,"wind', 40),
        (lambda data: data + b"\0" * 4096, 40),  # blocks that were never written
        (lambda data: data.replace(b'"seq":11,', b'"seq":"x",'), 10),
        (lambda data: data.replace(b'"format":1', b'"format":9'), 0),
        (lambda data: data[5:], 0),
        (lambda _data: b"", 0),
    ],
)
def test_the_good_prefix_is_used(
    damage: Callable[[bytes], bytes], windows: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is damaged is cut off and told, and recording goes on behind it."""
    path = kept(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    second = recorder(tmp_path)
    assert second.begin(HEADER) == WINDOWS[:windows]
    assert "damaged" in caplog.text
    second.keep("churn", Entry(window=WINDOWS[0].window))
    caplog.clear()
    again = recorder(tmp_path).begin(HEADER)
    assert [entry.seq for entry in again] == list(range(1, windows + 2))
    assert not caplog.text


def test_a_file_is_bounded(tmp_path: Path) -> None:
    """Beyond its size windows are merged in pairs: each count stays, and the newest windows are whole."""
    made = recorder(tmp_path, file_bytes_max=10_000)
    made.begin(HEADER)
    for number in range(500):
        made.keep("churn", replace(WINDOWS[number % 40], step=0, action="", paused=False))
        assert sum(path.stat().st_size for path in (tmp_path / "churn").iterdir()) <= 10_000
    again = recorder(tmp_path).begin(HEADER)
    assert sum((entry.window for entry in again), Window()) == sum(
        (WINDOWS[number % 40].window for number in range(500)), Window()
    )
    assert sum(entry.merged for entry in again) == again[-1].seq == 500
    assert lost(again) == 0
    assert again[-1].merged == 1


def test_an_unwritable_folder_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file where the folder should be: recording fails without an error, and goes on by itself once it can."""
    (tmp_path / "churn").write_text("in the way")
    made = recorder(tmp_path)
    assert made.begin(HEADER) == []
    for _ in range(PENDING_MAX + 5):
        made.keep("churn", WINDOWS[0])
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "cannot be recorded" in caplog.text
    (tmp_path / "churn").unlink()
    with caplog.at_level(logging.INFO):
        made.keep("churn", WINDOWS[0])
    assert "recorded again, 6 were lost" in caplog.text
    again = recorder(tmp_path).begin(HEADER)
    assert (len(again), lost(again)) == (PENDING_MAX, 6)


def test_nothing_of_other_packages_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when another rollout's record is to be replaced; what is written later is all that counts."""
    kept(tmp_path)
    other, made = replace(HEADER, candidate="dead"), recorder(tmp_path)

    def full(_path: Path, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as planted:
        planted.setattr(Path, "write_bytes", full)
        assert made.begin(other) == []
    made.keep("churn", WINDOWS[0])
    assert recorder(tmp_path).begin(other) == WINDOWS[:1]


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line is written, then the disk is full; the file ends with the last whole line, and nothing is lost."""
    made = recorder(tmp_path)
    made.begin(HEADER)
    made.keep("churn", WINDOWS[0])
    path = tmp_path / "churn" / "8@one.jsonl"
    whole, real, calls = path.read_bytes(), os.pwrite, []

    def full(file: int, data: bytes, offset: int) -> int:
        calls.append(offset)
        if len(calls) % 2:
            return real(file, data[:20], offset)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as planted:
        planted.setattr(os, "pwrite", full)
        for entry in WINDOWS[1:4]:
            made.keep("churn", entry)
            assert path.read_bytes() == whole
    assert len(calls) == 6
    made.keep("churn", WINDOWS[4])
    assert recorder(tmp_path).begin(HEADER) == WINDOWS[:5]


def test_a_removed_file_is_begun_again(tmp_path: Path) -> None:
    """Somebody cleans up in the middle of a rollout: later windows are recorded, the others are known to be lost."""
    path = kept(tmp_path, count=0)
    made = recorder(tmp_path)
    made.begin(HEADER)
    made.keep("churn", WINDOWS[0])
    path.unlink()
    made.keep("churn", WINDOWS[1])
    again = recorder(tmp_path).begin(HEADER)
    assert again == [WINDOWS[1]]
    assert lost(again) == 1


def test_ended_rollouts_are_removed(tmp_path: Path) -> None:
    """With the model's next rollout, but not those that a running server may still count for."""
    kept(tmp_path, count=3)
    kept(tmp_path, replace(HEADER, model="other"), count=3)
    recorder(tmp_path, "two").begin(replace(HEADER, rollout=12))
    assert {path.name for path in (tmp_path / "churn").iterdir()} == {"8@one.jsonl", "12@two.jsonl"}
    recorder(tmp_path, "three", lambda server: server != "one").begin(replace(HEADER, rollout=12))
    assert {path.name for path in (tmp_path / "churn").iterdir()} == {"12@two.jsonl", "12@three.jsonl"}
    assert {path.name for path in (tmp_path / "other").iterdir()} == {"8@one.jsonl"}


def test_files_are_bounded_in_number(tmp_path: Path) -> None:
    """The oldest go first, with their folders; those of this server's active rollouts stay."""
    made = recorder(tmp_path, "two", gone)
    made.begin(replace(HEADER, model="active"))
    for number in range(FILES_MAX + 5):
        os.utime(kept(tmp_path, replace(HEADER, model=f"m{number}"), count=1), (number, number))
    made.begin(replace(HEADER, model="last"))
    left = {folder.name for folder in tmp_path.iterdir()}
    assert left == {"active", "last", *(f"m{number}" for number in range(5, FILES_MAX + 5))}


@pytest.mark.parametrize("name", ["../churn", "a/b", "", ".hidden"])
def test_names_that_are_no_model_names(name: str, tmp_path: Path) -> None:
    """Nothing is written, least of all outside of the folder."""
    made = recorder(tmp_path / "rollouts")
    assert made.begin(replace(HEADER, model=name)) == []
    made.keep(name, WINDOWS[0])
    assert list(tmp_path.iterdir()) == []


def test_lines_are_for_people_too(tmp_path: Path) -> None:
    """A window a line, as JSON."""
    lines = kept(tmp_path).read_bytes().splitlines(keepends=True)
    assert len(lines) == 41
    assert entry_of(lines[7]) == WINDOWS[6]
