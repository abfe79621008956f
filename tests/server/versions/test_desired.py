"""deployment.json: atomic, durable, compare-and-swap on its epoch."""

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from onnxpress.packages.errors import RefusedPackageError
from onnxpress.server.errors import EpochConflictError, StateWriteError, UnknownModelError
from onnxpress.server.sources.folder import FolderSource
from onnxpress.server.versions import desired as deployments
from onnxpress.server.versions.desired import CHANGES_MAX, Desired, DesiredStore, Target, undeployed

AT = datetime(2026, 11, 23, 7, 5, 7, 250_000, UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of the model churn, in a repository that is otherwise empty."""
    (tmp_path / "churn").mkdir()
    return tmp_path / "churn"


@pytest.fixture
def store(folder: Path) -> DesiredStore:
    return DesiredStore(FolderSource(folder.parent))


def desired(epoch: int, live: int = 1) -> Desired:
    return Desired("churn", live, epoch, (5, 3), "because", "ada", AT, ("aa", "bb"))


def test_written_is_read(store: DesiredStore, folder: Path) -> None:
    """What is written comes back whole, and nothing else lies beside it."""
    assert store.read("churn") is None
    store.compare_and_swap(desired(1))
    store.compare_and_swap(desired(2, live=7))
    assert store.read("churn") == desired(2, live=7)
    assert [path.name for path in folder.iterdir()] == ["deployment.json"]


def test_the_file_is_readable_json(store: DesiredStore, folder: Path) -> None:
    """Engineers read and write it by hand: one object with the field names of deployment.proto."""
    store.compare_and_swap(desired(1))
    told = json.loads((folder / "deployment.json").read_text())
    assert told == {
        "model": "churn", "epoch": "1", "live_version": "1", "previous_version": "3", "reason": "because",
        "actor": "ada", "updated_at": "2026-11-23T07:05:07.250Z", "history": ["5", "3"], "changes": ["aa", "bb"],
    }  # fmt: skip


def test_the_next_epoch() -> None:
    """A change gives the next epoch its id; the file names as many as are needed to settle an audit log."""
    state = undeployed("churn", [1, 2])
    for number in range(CHANGES_MAX + 3):
        state = state.after(str(number), Target(number + 1, (9,)), "why", "ada")
    assert (state.epoch, state.version, state.previous, state.reason) == (CHANGES_MAX + 3, CHANGES_MAX + 3, 9, "why")
    assert state.changes == tuple(map(str, range(3, CHANGES_MAX + 3)))
    assert state.updated_at is not None


@pytest.mark.parametrize("epoch", [0, 1, 3, 9])
def test_epoch_grows_by_one(store: DesiredStore, folder: Path, epoch: int) -> None:
    """Any epoch but the next is a conflict that names both, and changes nothing."""
    store.compare_and_swap(desired(1))
    before = (folder / "deployment.json").read_bytes()
    with pytest.raises(EpochConflictError, match=f"is at epoch 1, expected {epoch - 1}"):
        store.compare_and_swap(desired(epoch))
    assert (folder / "deployment.json").read_bytes() == before


def test_a_name_that_is_a_path_is_no_model(store: DesiredStore, folder: Path) -> None:
    """Nothing is read or written outside the repository."""
    (folder.parent.parent / "deployment.json").write_text('{"epoch": 1, "live_version": 1}')
    assert store.read("..") is None
    with pytest.raises(UnknownModelError):
        store.compare_and_swap(Desired("..", 1, 2))


def test_many_at_once(store: DesiredStore) -> None:
    """Of many writers of the same epoch exactly one wins."""
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def write(live: int) -> None:
        start.wait()
        try:
            store.compare_and_swap(desired(1, live))
            outcomes.append(f"won {live}")
        except EpochConflictError:
            outcomes.append("lost")

    threads = [threading.Thread(target=write, args=(live,)) for live in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = store.read("churn")
    assert stored is not None
    assert sorted(outcomes) == ["lost"] * 7 + [f"won {stored.version}"]


def test_changed_tells_each_change_once(store: DesiredStore, folder: Path) -> None:
    """A deployment that is new or another file is told at the next call, then not again; others are not told."""
    (folder.parent / "price").mkdir()
    assert store.changed() == []
    store.compare_and_swap(desired(1))
    assert (store.changed(), store.changed()) == (["churn"], [])
    other = DesiredStore(FolderSource(folder.parent))
    other.compare_and_swap(desired(2))
    other.compare_and_swap(Desired("price", 1, 1))
    assert (sorted(store.changed()), store.changed()) == (["churn", "price"], [])
    (folder / "deployment.json").unlink()
    assert store.changed() == []


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_disk_that_refuses(store: DesiredStore, folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """A disk that fails at any step leaves the former deployment, no litter, and an error that says why."""
    store.compare_and_swap(desired(1))
    before = (folder / "deployment.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else (deployments.Path, "replace")), full)
    with pytest.raises(StateWriteError, match="'churn' cannot be written: No space left on device"):
        store.compare_and_swap(desired(2))
    monkeypatch.undo()
    assert (folder / "deployment.json").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["deployment.json"]
    store.compare_and_swap(desired(2))


def test_everything_is_synced_before_and_after_the_rename(
    store: DesiredStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is on disk before it gets its name, and the name before the call returns."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(file: int) -> None:
        steps.append("sync folder" if Path(f"/proc/self/fd/{file}").resolve() == folder else "sync file")
        fsync(file)

    def renamed(path: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(deployments.Path, "replace", renamed)
    store.compare_and_swap(desired(1))
    assert steps == ["sync file", "rename", "sync folder"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"epoch": "x"}', b'{"epoch": -1}', b"{}", b'{"epoch": 3}']
)
def test_broken_file(store: DesiredStore, folder: Path, content: bytes) -> None:
    """A file that is no deployment is refused, never taken for an empty one."""
    (folder / "deployment.json").write_bytes(content)
    with pytest.raises(RefusedPackageError, match="is not a deployment"):
        store.read("churn")


def test_files_by_hand_and_of_older_versions(store: DesiredStore, folder: Path) -> None:
    """Epoch and live version are enough; the version before is the history where there is none."""
    (folder / "deployment.json").write_text('{"epoch": 4, "live_version": 2}')
    assert store.read("churn") == Desired("churn", 2, 4)
    (folder / "deployment.json").write_text('{"epoch": 4, "live_version": 2, "previous_version": 1, "more": true}')
    assert store.read("churn") == Desired("churn", 2, 4, (1,))


@pytest.mark.parametrize(("versions", "version"), [([], 0), ([1, 2, 10], 10)])
def test_without_a_deployment(versions: list[int], version: int) -> None:
    """The highest version is live, as in Triton."""
    assert undeployed("churn", versions) == Desired("churn", version, 0)
