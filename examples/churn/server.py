"""The server as a child process on free ports."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ONNXPRESS = str(Path(sys.executable).with_name("onnxpress"))
START_S = 60.0
STOP_S = 30.0
POLL_S = 0.05
LISTENING = re.compile(r"listening: grpc (\d+), http (\d+), admin (\d+)")


@dataclass
class Served:
    """A running server; `stop` sends SIGTERM and returns the exit code."""

    process: subprocess.Popen[bytes]
    grpc: str
    http: str
    admin: str

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


@contextmanager
def serving(repository: Path, log: Path) -> Iterator[Served]:
    """Serves `repository` until the block ends. Raises RuntimeError with the log's end when it does not start."""
    command = [ONNXPRESS, "serve", "--repository", str(repository), "--host", "127.0.0.1"]
    command += ["--grpc-port", "0", "--http-port", "0", "--admin-address", "127.0.0.1:0"]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
    try:
        until = time.monotonic() + START_S
        while "ready: " not in (text := log.read_text()):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the server did not start; {log} ends with:\n{text[-2000:]}")
            time.sleep(POLL_S)
        ports = LISTENING.search(text)
        if ports is None:
            raise RuntimeError(f"the server has not logged its ports; see {log}")
        yield Served(process, *(f"127.0.0.1:{port}" for port in ports.groups()))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
