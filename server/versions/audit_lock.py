"""The lock of the audit log, held for each append by one of the servers that share a folder."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

from onnxpress.server.errors import StateWriteError

LOCK_FILE = "audit.lock"
# Seconds. An append takes milliseconds, so a lock that is held for longer is held by a hanging process.
LOCK_S = 10.0
LOCK_TRY_S = 0.005


class AuditLock:
    """Excludes the threads of this process and, by a file lock, the servers that share the folder."""

    def __init__(self, folder: Path, server: str) -> None:
        """`server` names this process to those that wait for it."""
        self._path = folder / LOCK_FILE
        self._server = server
        self._lock = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Raises StateWriteError when another server does not let go of the lock, OSError when there can be none."""
        with self._lock:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o640)
            try:
                self._await_lock(file)
                yield
            finally:
                os.close(file)

    def _await_lock(self, file: int) -> None:
        until = monotonic() + LOCK_S
        pause = threading.Event()
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if monotonic() > until:
                    holder = os.pread(file, 256, 0).decode(errors="replace")
                    raise StateWriteError(
                        f"the audit log is locked by server {holder}, which has not let go for {LOCK_S:.0f} s"
                    ) from None
                pause.wait(LOCK_TRY_S)
            else:
                with suppress(OSError):  # a full disk: only the name in another server's error message is then missing
                    os.ftruncate(file, 0)
                    os.pwrite(file, self._server.encode(), 0)
                return
