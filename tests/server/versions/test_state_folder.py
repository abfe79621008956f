"""Who uses a state folder, and who may."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from onnxpress.server.errors import StateWriteError
from onnxpress.server.versions.state_folder import StateFolder
from tests.server_process import ROOT

OTHER = """
import sys
from pathlib import Path
from onnxpress.server.versions.state_folder import StateFolder
print(StateFolder(Path(sys.argv[1]), Path(sys.argv[2])).server, flush=True)
sys.stdin.read()
"""


class Other:
    """A process that holds a place in a state folder until it is killed."""

    def __init__(self, root: Path, repository: Path) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(root), str(repository)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.child.stdout is not None
        self.server = self.child.stdout.readline().strip()

    def kill(self) -> None:
        with self.child:
            self.child.kill()


def test_alive_is_whose_process_lives(tmp_path: Path) -> None:
    """Servers of one repository share the folder and see each other; a killed one is gone at once."""
    state = StateFolder(tmp_path / "state", tmp_path)
    other = Other(tmp_path / "state", tmp_path)
    assert (state.alive(state.server), state.alive(other.server)) == (True, True)
    assert not any(state.alive(name) for name in ("", "nobody.1.00000000"))
    other.kill()
    assert not state.alive(other.server)
    state.close()


def test_a_server_of_another_repository_is_refused(tmp_path: Path) -> None:
    """Two repositories would mix their models in one audit log: the second server is told who holds the folder."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    other = Other(tmp_path / "state", tmp_path / "a")
    host = other.server.split(f".{other.child.pid}.", maxsplit=1)[0]
    with pytest.raises(StateWriteError, match=rf"in use by pid {other.child.pid} on {host}, which serves another"):
        StateFolder(tmp_path / "state", tmp_path / "b")
    other.kill()
    StateFolder(tmp_path / "state", tmp_path / "b").close()


def test_nothing_stays(tmp_path: Path) -> None:
    """A server that stops removes its file; what a killed one left goes with the next that comes."""
    Other(tmp_path / "state", tmp_path).kill()
    assert len(list((tmp_path / "state/servers").iterdir())) == 1
    state = StateFolder(tmp_path / "state", tmp_path)
    assert [path.name for path in (tmp_path / "state/servers").iterdir()] == [state.server]
    state.close()
    assert list((tmp_path / "state/servers").iterdir()) == []


def test_a_full_disk_does_not_keep_a_server_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its place cannot be described, the lock alone says that it lives."""

    def full(_file: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    one = StateFolder(tmp_path / "state", tmp_path)
    two = StateFolder(tmp_path / "state", tmp_path)
    assert two.alive(one.server)
    one.close()
    assert not two.alive(one.server)
    two.close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """The error says why, and which setting helps."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateWriteError, match="cannot be used: Not a directory; state_dir"):
        StateFolder(tmp_path / "file", tmp_path)
