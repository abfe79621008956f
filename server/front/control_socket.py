"""Where the native front meets the control plane: a Unix socket in a folder of its own.

The root may be read-only and /tmp missing or swept, so the state folder comes first: it is ours and writable by
definition. Socket addresses are short (`sun_path`), and some network file systems hold no sockets: then shared memory,
then the temporary folder.
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
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 -- the folder inside is made by mkdtemp, for us alone


@contextmanager
def control_socket(state_dir: Path) -> Iterator[Path]:
    """An address to listen on, free and tried; its folder is removed afterwards.

    Raises UsageError when there is no folder that can hold a socket.
    """
    sweep(state_dir)
    folder = _socket_folder((state_dir, SHARED_MEMORY, *_temporary()))
    try:
        yield folder / NAME
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(state_dir: Path) -> None:
    """Removes what servers left behind that were killed: nobody listens there any more."""
    for folder in state_dir.glob(f"{PREFIX}*"):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(ANSWER_S)
            try:
                caller.connect(str(folder / NAME))
            except ConnectionRefusedError:
                shutil.rmtree(folder, ignore_errors=True)
            except OSError:
                # Being made just now, or not ours to judge.
                continue


def _temporary() -> tuple[Path, ...]:
    try:
        return (Path(tempfile.gettempdir()),)
    except FileNotFoundError:
        return ()


def _socket_folder(parents: Iterable[Path]) -> Path:
    """A new folder in the first of `parents` where listening works."""
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
    """Empty when a socket can be bound to `address`."""
    length = len(os.fsencode(address))
    if length > ADDRESS_BYTES_MAX:
        return f"its sockets would have {length} bytes in their address, at most {ADDRESS_BYTES_MAX} are possible"
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(str(address))
        except OSError as error:
            return error.strerror or "no sockets there"
    with suppress(FileNotFoundError):
        address.unlink()
    return ""
