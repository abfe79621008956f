"""deployment.json: atomic, durable, compare-and-swap on its epoch."""

import os
import threading
from pathlib import Path

import pytest

from onnxpress.packages.errors import RefusedPackageError
from onnxpress.protos.deployment_pb2 import Deployment
from onnxpress.server.errors import (
    EpochConflictError,
    StateWriteError,
)
from onnxpress.server.versions import desired as deployments
from onnxpress.server.versions.desired import Desired, desired_state, read_deployment, write_deployment


def deployment(epoch: int, live: int = 1) -> Deployment:
    return Deployment(model="churn", epoch=epoch, live_version=live, previous_version=0, reason="because", actor="ada")


def test_written_is_read(tmp_path: Path) -> None:
    """What is written comes back whole, and nothing else lies beside it."""
    assert read_deployment(tmp_path) is None
    write_deployment(tmp_path, deployment(1))
    write_deployment(tmp_path, deployment(2, live=7))
    assert read_deployment(tmp_path) == deployment(2, live=7)
    assert [path.name for path in tmp_path.iterdir()] == ["deployment.json"]


@pytest.mark.parametrize("epoch", [0, 1, 3, 9])
def test_epoch_grows_by_one(tmp_path: Path, epoch: int) -> None:
    """Any epoch but the next is a conflict that names both, and changes nothing."""
    write_deployment(tmp_path, deployment(1))
    before = (tmp_path / "deployment.json").read_bytes()
    with pytest.raises(EpochConflictError, match=f"is at epoch 1, expected {epoch - 1}"):
        write_deployment(tmp_path, deployment(epoch))
    assert (tmp_path / "deployment.json").read_bytes() == before


def test_many_at_once(tmp_path: Path) -> None:
    """Of many writers of the same epoch exactly one wins."""
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def write(live: int) -> None:
        start.wait()
        try:
            write_deployment(tmp_path, deployment(1, live))
            outcomes.append(f"won {live}")
        except EpochConflictError:
            outcomes.append("lost")

    threads = [threading.Thread(target=write, args=(live,)) for live in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = read_deployment(tmp_path)
    assert stored is not None
    assert sorted(outcomes) == ["lost"] * 7 + [f"won {stored.live_version}"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """A disk that fails at any step leaves the former deployment, no litter, and an error that says why."""
    write_deployment(tmp_path, deployment(1))
    before = (tmp_path / "deployment.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else (deployments.Path, "replace")), full)
    with pytest.raises(StateWriteError, match="'churn' cannot be written: No space left on device"):
        write_deployment(tmp_path, deployment(2))
    monkeypatch.undo()
    assert (tmp_path / "deployment.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["deployment.json"]
    write_deployment(tmp_path, deployment(2))


def test_everything_is_synced_before_and_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is on disk before it gets its name, and the name before the call returns."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(file: int) -> None:
        steps.append("sync folder" if Path(f"/proc/self/fd/{file}").resolve() == tmp_path else "sync file")
        fsync(file)

    def renamed(path: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(deployments.Path, "replace", renamed)
    write_deployment(tmp_path, deployment(1))
    assert steps == ["sync file", "rename", "sync folder"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"epoch": "x"}', b'{"epoch": -1}', b"{}", b'{"epoch": 3}']
)
def test_broken_file(tmp_path: Path, content: bytes) -> None:
    """A file that is no deployment is refused, never taken for an empty one."""
    (tmp_path / "deployment.json").write_bytes(content)
    with pytest.raises(RefusedPackageError, match="is not a deployment"):
        read_deployment(tmp_path)


@pytest.mark.parametrize(
    ("stored", "versions", "desired"),
    [
        (None, [], None),
        (None, [1, 2, 10], Desired(10, 0)),  # as Triton does
        (deployment(4, live=2), [1, 2, 10], Desired(2, 4)),  # the deployment's word
        (deployment(4, live=3), [1], Desired(3, 4)),  # even where the folder is gone
    ],
)
def test_desired_state(stored: Deployment | None, versions: list[int], desired: Desired | None) -> None:
    """The deployment decides, or the highest version where there is none."""
    assert desired_state(stored, versions) == desired
