"""Tracks the servers that use a state folder: each locks a file of its own while its process runs."""

import fcntl
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path

from onnxpress.server.errors import StateWriteError

FOLDER = "servers"


class StateFolder:
    """The lock file of this server in a state folder; the kernel releases the lock when the process ends.

    Servers of one repository may share a state folder. `_file` is held from construction to `close`.
    """

    def __init__(self, root: Path, repository: Path) -> None:
        """Raises StateWriteError: not writable, or in use by a server of another repository, which is named."""
        host, pid = os.uname().nodename, os.getpid()
        self.server = f"{host}.{pid}.{secrets.token_hex(4)}"
        self._folder = root / FOLDER
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            place = repository.stat()
            told = {"host": host, "pid": pid, "device": place.st_dev, "inode": place.st_ino}
            directory = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(directory, fcntl.LOCK_EX)  # held briefly by a server that registers or cleans up
                self._refuse_strangers(told)
                self._file = os.open(self._folder / self.server, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
                fcntl.flock(self._file, fcntl.LOCK_EX)
                with suppress(OSError):  # a full disk must not prevent serving; only the lock matters
                    os.write(self._file, json.dumps(told).encode())
            finally:
                os.close(directory)
        except OSError as error:
            raise StateWriteError(
                f"the state folder cannot be used: {error.strerror}; state_dir names a folder that can be written"
            ) from error

    def alive(self, server: str) -> bool:
        """Whether that server, this one included, still runs."""
        return server == self.server or (bool(server) and _locked(self._folder / server))

    def close(self) -> None:
        """Leaves the folder."""
        (self._folder / self.server).unlink(missing_ok=True)
        os.close(self._file)

    def _refuse_strangers(self, own: dict[str, object]) -> None:
        """Removes the files of killed servers. Raises StateWriteError if a server of another repository runs.

        Model names would be ambiguous in the shared audit log. Servers on other hosts are not checked, since inodes of
        other hosts are not comparable.
        """
        for path in list(self._folder.iterdir()):
            if not _locked(path):
                path.unlink(missing_ok=True)
                continue
            try:
                other = json.loads(path.read_bytes())
            except ValueError:
                continue
            same = all(other.get(key) == own[key] for key in ("device", "inode"))
            if other.get("host") == own["host"] and not same:
                raise StateWriteError(
                    f"the state folder is in use by pid {other.get('pid')} on {other.get('host')}, "
                    "which serves another repository: give each repository a state_dir of its own"
                )


def _locked(path: Path) -> bool:
    """Whether a process holds the lock on `path`."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
