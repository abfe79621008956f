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
    """A folder with a path short enough for a socket address, unlike pytest's tmp_path."""
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


def test_the_socket_is_in_the_state_folder_and_removed(short: Path):
    """The socket's folder is in the state folder, private to the user, and removed afterwards."""
    with control_socket(short) as address:
        assert address.parent.parent == short
        assert address.parent.stat().st_mode & 0o777 == 0o700
        listen(address).close()
    assert list(short.iterdir()) == []


def test_a_relative_state_folder_gives_an_absolute_address(short: Path, monkeypatch: pytest.MonkeyPatch):
    """Rust and C receive an absolute address, which does not depend on their working directory."""
    monkeypatch.chdir(short.parent)
    with control_socket(Path(short.name)) as address:
        assert address.is_absolute()


def test_a_long_state_folder_falls_back_to_shared_memory(short: Path, monkeypatch: pytest.MonkeyPatch):
    """If the address would exceed the 107 bytes of sun_path, as is common under Kubernetes, /dev/shm is used."""
    (short / "shm").mkdir()
    monkeypatch.setattr(module, "SHARED_MEMORY", short / "shm")
    deep = long_folder(short)
    with control_socket(deep) as address:
        assert address.parent.parent == short / "shm"
        assert list(deep.iterdir()) == [], "the attempt leaves nothing"


def test_without_shared_memory_the_temporary_folder_is_used(short: Path, monkeypatch: pytest.MonkeyPatch):
    """If the state folder's path is too long and there is no /dev/shm, the temporary folder is used."""
    (short / "tmp").mkdir()
    monkeypatch.setattr(module, "SHARED_MEMORY", short / "missing")
    monkeypatch.setattr(tempfile, "tempdir", str(short / "tmp"))
    with control_socket(long_folder(short)) as address:
        assert address.parent.parent == short / "tmp"


@pytest.mark.parametrize("extra", [0, 1])
def test_the_longest_address_works_and_one_byte_more_does_not(short: Path, extra: int, monkeypatch: pytest.MonkeyPatch):
    """The limit of the address is counted in bytes, not characters."""
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


def test_no_usable_folder_is_one_clear_error(short: Path, monkeypatch: pytest.MonkeyPatch):
    """The error names every folder that was tried, the reason for each, and the setting to change."""
    monkeypatch.setattr(module, "SHARED_MEMORY", short / "missing")
    monkeypatch.setattr(tempfile, "tempdir", str(short / "gone"))
    with pytest.raises(UsageError) as refused, control_socket(long_folder(short)):
        pass
    assert "at most 107" in str(refused.value)
    assert str(refused.value).count("No such file or directory") == 2
    assert "state_dir" in str(refused.value)


def test_a_missing_temporary_folder_is_no_error(short: Path, monkeypatch: pytest.MonkeyPatch):
    """On a read-only root `gettempdir` raises; the state folder is used all the same."""

    def missing() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", missing)
    with control_socket(short) as address:
        assert address.parent.parent == short


def test_sockets_of_killed_servers_are_removed(short: Path):
    """Sockets on which nobody listens are removed at the start; the socket of a running server stays."""
    for name in ("sockets-killed", "sockets-running", "audit"):
        (short / name).mkdir()
    listen(short / "sockets-killed/control").close()
    with listen(short / "sockets-running/control"):
        with control_socket(short):
            pass
        assert sorted(path.name for path in short.iterdir()) == ["audit", "sockets-running"]
