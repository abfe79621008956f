"""`onnxpress serve` in a child process, on free ports, for as long as the gate tests a package against it."""

import re
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

STOP_S = 30.0
LISTENING = re.compile(r"listening: grpc (\d+),")
READY = re.compile(r"\bready: ([^\"]*)")
ERROR = re.compile(r' ERROR |"level": "ERROR"')


class NotServedError(Exception):
    """The server did not become ready with the model; the message is the reason, in one line of its log."""


class Served:
    """One server process; a context manager that stops it.

    A thread copies the server's output to `log` and keeps what `port` waits for: the data port, the models that are
    ready, the first error and the last line. All of it is under one lock.
    """

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        self._log = log
        self._changed = threading.Condition()
        self._port: int | None = None
        self._models: list[str] | None = None
        self._error = self._last = ""
        self._ended = False
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._follow, name="server log")
        self._reader.start()

    def port(self, model: str, timeout_s: float) -> int:
        """The data port, once the server is ready. Raises NotServedError where it does not serve `model`."""
        with self._changed:
            self._changed.wait_for(lambda: self._models is not None or self._ended, timeout_s)
            # The server logs a version that it cannot load as an error, and lives on for its other models.
            if self._error or self._ended:
                raise NotServedError(self._error or self._last or "the server ended without a word")
            if self._models is None or self._port is None:
                raise NotServedError(f"the server was not ready after {timeout_s:g} s: {self._last}")
            if model not in self._models:
                raise NotServedError(f"the server is ready without model {model!r}")
            return self._port

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after 30 s."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        with self._log.open("w", encoding="utf-8") as log, self._process.stdout as lines:
            for line in lines:
                log.write(line)
                log.flush()
                self._note(line.strip())
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _note(self, line: str) -> None:
        listening, ready = LISTENING.search(line), READY.search(line)
        with self._changed:
            self._last = line or self._last
            if listening:
                self._port = int(listening[1])
            if ERROR.search(line) and not self._error:
                self._error = line
            if ready and self._models is None:
                self._models = ready[1].split(", ")
                self._changed.notify_all()
