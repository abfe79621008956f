"""Real load tests against real servers, each in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.loadtests.packages_made import write_package

ROOT = Path(__file__).parents[2]
PROOF_SERVER = Path(__file__).with_name("proof_server.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
SECONDS_MAX = 120


@dataclass(frozen=True)
class ProofServer:
    process: subprocess.Popen
    target: str
    admin: str

    @classmethod
    def start(cls, repository: Path, *faults: str) -> "ProofServer":
        command = [sys.executable, str(PROOF_SERVER), str(repository), *faults]
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
        said = process.stdout.readline().split()
        assert said[:1] == ["ready"], f"the proof server said {said}"
        return cls(process, *(f"127.0.0.1:{port}" for port in said[1:]))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@dataclass(frozen=True)
class Run:
    """A load test that is over."""

    exit: int
    out: str
    err: str
    folder: Path
    report: dict[str, Any] = field(default_factory=dict)

    def check(self, name: str, where: str) -> dict[str, Any]:
        return next(check for check in self.report["checks"] if (check["name"], check["where"]) == (name, where))

    def broken(self) -> set[str]:
        return {check["name"] for check in self.report["checks"] if not check["held"]}


def wait_until_steady(process: subprocess.Popen) -> None:
    """Reads the progress of a load test that is not headless, up to the first of its steady phase."""
    said = ""
    while "steady:" not in said:
        letter = process.stderr.read(1)
        assert letter, said
        said += letter


def finish(process: subprocess.Popen, folder: Path) -> Run:
    out, err = process.communicate(timeout=SECONDS_MAX)
    report = folder / "report.json"
    said = json.loads(report.read_text()) if report.exists() else {}
    return Run(process.returncode, out, err, folder, said)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of a model that take the same requests and answer differently."""
    folder = tmp_path_factory.mktemp("repository")
    write_package(folder, 1)
    write_package(folder, 2)
    return folder


@pytest.fixture
def proof(repository: Path) -> Iterator[Callable[..., ProofServer]]:
    """`proof("--delay-ms", "80")`: a server with that fault."""
    with ExitStack() as stack:

        def starting(*faults: str) -> ProofServer:
            server = ProofServer.start(repository, *faults)
            stack.callback(server.stop)
            return server

        yield starting


@pytest.fixture
def begin(tmp_path: Path, repository: Path) -> Callable[..., tuple[subprocess.Popen, Path]]:
    """Starts `onnxpress loadtest` and does not wait for it; its version 1 is what a test expects."""

    def beginning(suite: str, server: ProofServer, *flags: str, versions: tuple[int, ...] = (1,)):
        folder = tmp_path / "report"
        packages = [f"--package={repository / 'churn' / str(version)}" for version in versions]
        command = [
            sys.executable, "-m", "onnxpress", "loadtest", suite, "--target", server.target, "--admin",
            server.admin, *packages, "--report-dir", str(folder), "--warmup", "0.5", *flags,
        ]  # fmt: skip
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=ENVIRONMENT, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True), folder

    return beginning


# A short test on busy cores: few samples, a generator that may be pushed aside, latency that only a fault exceeds.
SHORT = (
    "--samples-min", "100", "--lag-p99-ms", "2000", "--cpu-max", "2", "--headless",
    "--p50-ms", "1000", "--p95-ms", "1500", "--p99-ms", "1900", "--deadline-ms", "5000",
)  # fmt: skip


@pytest.fixture
def loadtest(begin) -> Callable[..., Run]:
    """Runs a short load test to its end."""

    def running(suite: str, server: ProofServer, *flags: str, versions: tuple[int, ...] = (1,)) -> Run:
        return finish(*begin(suite, server, *SHORT, *flags, versions=versions))

    return running
