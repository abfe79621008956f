"""A real `onnxpress serve` in a child process, on free ports, waited for by what it logs."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[1]
SERVE = (sys.executable, "-m", "onnxpress", "serve")
# Far beyond what any step takes on a busy machine; only a hang reaches it.
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Footprint:
    """What a process holds."""

    rss: int  # KiB
    descriptors: int
    threads: int


class ServerProcess:
    """One child. As a context manager it is killed at the end unless it was stopped."""

    def __init__(
        self,
        repository: Path,
        *flags: str,
        front: str = "native",
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = SERVE,
    ) -> None:
        """`command` replaces `python -m onnxpress serve` for children with a fault planted before they start."""
        self.repository = repository
        arguments = [
            *command, "--repository", str(repository), "--front", front, "--host", "127.0.0.1",
            "--grpc-port", "0", "--http-port", "0", "--admin-address", "127.0.0.1:0", *flags,
        ]  # fmt: skip
        self.lines: list[str] = []
        self._told = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            arguments,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._told:
                self.lines.append(line.rstrip())
                self._told.notify_all()
        with self._told:
            self._ended = True
            self._told.notify_all()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match of `pattern` in a logged line, now or to come. AssertionError with the log otherwise."""
        compiled, deadline = re.compile(pattern), monotonic() + PATIENCE_S
        with self._told:
            while True:
                for line in self.lines:
                    if match := compiled.search(line):
                        return match
                if self._ended or not self._told.wait(deadline - monotonic()):
                    raise AssertionError(f"never logged {pattern!r}:\n{self.log}")

    def ready(self) -> Self:
        """Waits until it serves, and learns its ports."""
        ports = self.wait_for(r"listening: grpc (\d+), http (\d+), admin (\d+)")
        self.grpc, self.http, self.admin = (f"127.0.0.1:{port}" for port in ports.groups())
        self.wait_for(r"ready: ")
        return self

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def footprint(self) -> Footprint:
        proc = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        descriptors = sum(1 for _ in (proc / "fd").iterdir())
        return Footprint(int(status["VmRSS"].split()[0]), descriptors, int(status["Threads"]))

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """The exit code, with the log complete."""
        code = self.process.wait(timeout_s)
        self._reader.join(PATIENCE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    def stop(self) -> int:
        """SIGTERM, then the exit code."""
        self.send(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """As power loss would: nothing is flushed, nobody is told."""
        self.send(signal.SIGKILL)
        self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.kill()
        if kind is not None:
            sys.stderr.write(f"log of the server:\n{self.log}\n")
