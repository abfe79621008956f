"""The Unix socket through which the native front forwards calls to the control plane, in a folder of its own.

The state folder is tried first, because it is always writable, while the root file system may be read-only and /tmp may
be missing or cleaned. If its path is too long for a socket address (`sun_path`), or it is on a network file system
without sockets, the folder is created in shared memory, or else in the temporary folder.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onnxpress.server.errors import UsageError

PREFIX = "sockets-"
NAME = "control"
ANSWER_S = 1.0
# sun_path of Linux holds 108 bytes, the last of them zero.
ADDRESS_BYTES_MAX = 107
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 -- mkdtemp creates a folder inside that only this user can access


@contextmanager
def control_socket(state_dir: Path) -> Iterator[Path]:
    """Yields an address on which binding has been tested; its folder is removed afterwards.

    Raises UsageError when no folder can hold a socket.
    """
    sweep(state_dir)
    folder = _socket_folder((state_dir, SHARED_MEMORY, *_temporary()))
    try:
        yield folder / NAME
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(state_dir: Path) -> None:
    """Removes the socket folders of killed servers: those whose socket refuses connections."""
    for folder in state_dir.glob(f"{PREFIX}*"):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(ANSWER_S)
            try:
                caller.connect(str(folder / NAME))
            except ConnectionRefusedError:
                shutil.rmtree(folder, ignore_errors=True)
            except OSError:
                # The socket is being created at this moment, or its state cannot be determined: leave it.
                continue


def _temporary() -> tuple[Path, ...]:
    try:
        return (Path(tempfile.gettempdir()),)
    except FileNotFoundError:
        return ()


def _socket_folder(parents: Iterable[Path]) -> Path:
    """Creates a folder in the first of `parents` where a socket can be bound. Raises UsageError."""
    failures = []
    for parent in parents:
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent.absolute()))
        except OSError as error:
            failures.append(f"{parent}: {error.strerror}")
            continue
        why = _why_not(folder / NAME)
        if not why:
            return folder
        failures.append(f"{parent}: {why}")
        shutil.rmtree(folder, ignore_errors=True)
    raise UsageError(f"no folder can hold the control socket ({'; '.join(failures)}): set a short, writable state_dir")


def _why_not(address: Path) -> str:
    """Returns why no socket can be bound to `address`, or an empty string if one can."""
    length = len(os.fsencode(address))
    if length > ADDRESS_BYTES_MAX:
        return f"a socket address there has {length} bytes, the system allows at most {ADDRESS_BYTES_MAX}"
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(str(address))
        except OSError as error:
            return error.strerror or "sockets are not supported"
    with suppress(FileNotFoundError):
        address.unlink()
    return ""
