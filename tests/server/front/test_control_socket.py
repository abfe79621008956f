import os
import socket
import tempfile
from pathlib import Path

import pytest

from onnxpress.server.errors import UsageError
from onnxpress.server.front import control_socket as module
from onnxpress.server.front.control_socket import ADDRESS_BYTES_MAX, control_socket


@pytest.fixture
def short():
    """A folder whose name leaves room for a socket, unlike pytest's own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def long_folder(parent: Path) -> Path:
    folder = parent / ("x" * ADDRESS_BYTES_MAX)
    folder.mkdir()
    return folder


def listen(address: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen()
    return listener


def test_lives_in_the_state_folder_and_leaves_nothing(short: Path):
    """What the server writes lies in one place, and is gone after it."""
    with control_socket(short) as address:
        assert address.parent.parent == short
        assert address.parent.stat().st_mode & 0o777 == 0o700
        listen(address).close()
    assert list(short.iterdir()) == []


def test_a_relative_state_folder_gives_an_absolute_address(short: Path, monkeypatch: pytest.MonkeyPatch):
    """The address is said to Rust and to C, whose idea of the working folder is not ours to rely on."""
    monkeypatch.chdir(short.parent)
    with control_socket(Path(short.name)) as address:
        assert address.is_absolute()


def test_long_state_folder_gives_way_to_shared_memory(short: Path, monkeypatch: pytest.MonkeyPatch):
    """sun_path holds 107 bytes; deeper state folders are common under Kubernetes."""
    (short / "shm").mkdir()
    monkeypatch.setattr(module, "SHARED_MEMORY", short / "shm")
    deep = long_folder(short)
    with control_socket(deep) as address:
        assert address.parent.parent == short / "shm"
        assert list(deep.iterdir()) == [], "the attempt leaves nothing"


def test_without_shared_memory_the_temporary_folder_serves(short: Path, monkeypatch: pytest.MonkeyPatch):
    """Some sandboxes have no /dev/shm."""
    (short / "tmp").mkdir()
    monkeypatch.setattr(module, "SHARED_MEMORY", short / "missing")
    monkeypatch.setattr(tempfile, "tempdir", str(short / "tmp"))
    with control_socket(long_folder(short)) as address:
        assert address.parent.parent == short / "tmp"


@pytest.mark.parametrize("extra", [0, 1])
def test_the_longest_address_works_and_one_byte_more_does_not(short: Path, extra: int, monkeypatch: pytest.MonkeyPatch):
    """The bound is the system's, counted in bytes: an umlaut is two."""
    (short / "shm").mkdir()
    monkeypatch.setattr(module, "SHARED_MEMORY", short / "shm")
    with control_socket(short) as address:
        tail = len(os.fsencode(address)) - len(os.fsencode(short))
    fill = ADDRESS_BYTES_MAX - len(os.fsencode(short)) - tail - len("/ü".encode()) + extra
    state = short / ("ü" + "x" * fill)
    state.mkdir()
    with control_socket(state) as address:
        assert address.parent.parent == (short / "shm" if extra else state)
        listen(address).close()


def test_nowhere_to_listen_is_one_clear_error(short: Path, monkeypatch: pytest.MonkeyPatch):
    """It names every folder that was tried, why not, and the setting that helps."""
    monkeypatch.setattr(module, "SHARED_MEMORY", short / "missing")
    monkeypatch.setattr(tempfile, "tempdir", str(short / "gone"))
    with pytest.raises(UsageError) as refused, control_socket(long_folder(short)):
        pass
    assert "at most 107" in str(refused.value)
    assert str(refused.value).count("No such file or directory") == 2
    assert "state_dir" in str(refused.value)


def test_no_temporary_folder_at_all_is_no_crash(short: Path, monkeypatch: pytest.MonkeyPatch):
    """On a read-only root Python finds no temporary folder and raises; the state folder needs none."""

    def missing() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", missing)
    with control_socket(short) as address:
        assert address.parent.parent == short


def test_sockets_of_killed_servers_are_swept_and_living_ones_are_not(short: Path):
    """A crash loop must not fill the state folder; a server that still drains beside us keeps its socket."""
    for name in ("sockets-dead", "sockets-living", "audit"):
        (short / name).mkdir()
    listen(short / "sockets-dead/control").close()
    with listen(short / "sockets-living/control"):
        with control_socket(short):
            pass
        assert sorted(path.name for path in short.iterdir()) == ["audit", "sockets-living"]
