"""A server in the image: its ports, readiness, user and exit."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from image.engine import EngineError

READY_S = 60
STOP_S = 30
POLL_S = 0.1


@dataclass(frozen=True)
class Ports:
    """Free ports, since the host network is used and the default ports may be taken."""

    grpc: int
    http: int
    admin: int

    def environment(self) -> dict[str, str]:
        return {
            "ONNXPRESS_GRPC_PORT": str(self.grpc),
            "ONNXPRESS_HTTP_PORT": str(self.http),
            "ONNXPRESS_ADMIN_ADDRESS": f"127.0.0.1:{self.admin}",
        }


def free_ports() -> Ports:
    """Three ports that were free when this was called."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    numbers = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return Ports(*numbers)


class Running:
    """The process of `command`, which may be the server itself or an engine around it."""

    def __init__(self, command: Sequence[str], ports: Ports, log: Path) -> None:
        self._ports = ports
        self._log = log
        self._started = time.monotonic()
        with log.open("w") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for process in (*psutil.Process(self._process.pid).children(recursive=True),) if self._alive() else ():
            process.kill()
        self._process.kill()
        self._process.wait()
        if isinstance(error, AssertionError | EngineError):
            error.add_note(self._tail())

    def wait_ready(self) -> float:
        """Waits until /readyz is OK; the seconds since the start."""
        while time.monotonic() < self._started + READY_S:
            if not self._alive():
                raise EngineError(f"the server ended with {self._process.returncode}:\n{self._tail()}")
            if self._ready():
                return time.monotonic() - self._started
            time.sleep(POLL_S)
        raise EngineError(f"the server was not ready after {READY_S} s:\n{self._tail()}")

    def user(self) -> int:
        """The numeric id of the server's user."""
        return int(self._server().uids().real)

    def stop(self) -> float:
        """Stops the server; the seconds from SIGTERM to exit 0. Raises EngineError for any other end."""
        started = time.monotonic()
        os.kill(self._server().pid, signal.SIGTERM)
        try:
            code = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"still running {STOP_S} s after SIGTERM:\n{self._tail()}") from error
        if code:
            raise EngineError(f"SIGTERM ended it with {code} instead of 0:\n{self._tail()}")
        return time.monotonic() - started

    def _server(self) -> psutil.Process:
        """The process that runs the console script with Python."""
        outer = psutil.Process(self._process.pid)
        for process in (outer, *outer.children(recursive=True)):
            program, script = (*process.cmdline(), "", "")[:2]
            if Path(program).name.startswith("python") and Path(script).name == "onnxpress":
                return process
        raise EngineError(f"no process of the server:\n{self._tail()}")

    def _alive(self) -> bool:
        return self._process.poll() is None

    def _ready(self) -> bool:
        probe = http.client.HTTPConnection("127.0.0.1", self._ports.http, timeout=2)
        try:
            probe.request("GET", "/readyz")
            return probe.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            probe.close()

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
