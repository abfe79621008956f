"""Child processes: started with a log, awaited by a line of it, measured with their children, stopped by id."""

import os
import re
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep

import psutil

ROOT = Path(__file__).parents[1]
PATIENCE_S = 120.0
STOP_S = 20.0
LOOK_S = 0.05


class ChildError(RuntimeError):
    """A child did not start; the message ends with its log."""


class Child:
    """One process tree."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
                stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._tree = psutil.Process(self._process.pid)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in the log. Raises ChildError when the process ends or takes too long."""
        compiled, deadline = re.compile(pattern), monotonic() + PATIENCE_S
        while True:
            text = self._log.read_text(errors="replace")
            if match := compiled.search(text):
                return match
            if self._process.poll() is not None or monotonic() > deadline:
                raise ChildError(f"never logged {pattern!r}:\n{text[-4000:]}")
            sleep(LOOK_S)

    def cpu_s(self) -> float:
        """User and system seconds of the process and its children, so far."""
        total = 0.0
        for process in [self._tree, *self._tree.children(recursive=True)]:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total

    def stop(self) -> None:
        """SIGTERM, then SIGKILL for what remains of the process tree."""
        try:
            family = self._tree.children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for process in family:
            if process.is_running():
                process.kill()
        psutil.wait_procs(family, STOP_S)


def free_port() -> int:
    """A free port for servers that cannot bind port 0; another process may take it first."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
