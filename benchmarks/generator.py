"""h2load, the load generator: written in C, faster than a Python client, with a log line for each request."""

import os
import re
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.bodies import Bodies

METHOD = "/inference.GRPCInferenceService/ModelInfer"
SHIM = Path(__file__).with_name("own_bodies.c")
HEADERS = ("content-type: application/grpc", "te: trailers")
SLACK_S = 30.0
_FINISHED = re.compile(r"finished in ([\d.]+)(us|ms|s), ([\d.]+) req/s")
_REQUESTS = re.compile(r"requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored")
_UNIT_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class GeneratorError(RuntimeError):
    """The measurement is invalid: the generator is missing, has failed, or its figures are inconsistent."""


@dataclass(frozen=True)
class Shape:
    """Concurrent calls. `per_connection_s`: calls/s of each connection; 0: the next as soon as one is answered."""

    connections: int
    streams: int
    per_connection_s: int = 0

    def __str__(self) -> str:
        paced = f" at {self.connections * self.per_connection_s}/s" if self.per_connection_s else ""
        return f"{self.connections}x{self.streams}{paced}"


@dataclass(frozen=True)
class Load:
    """One run as the generator measured it; it takes HTTP 200 for success. Latencies in microseconds."""

    requests: int
    seconds: float
    cpu_s: float
    latencies_us: np.ndarray


class Generator:
    """Owns the folder of logs and the compiled shim."""

    def __init__(self, folder: Path) -> None:
        """Raises GeneratorError when h2load or a C compiler is missing."""
        if shutil.which("h2load") is None:
            raise GeneratorError("h2load is not installed (Debian: apt install nghttp2-client)")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._shim = compile_shim(folder)

    def run(self, port: int, bodies: Bodies, shape: Shape, seconds: float) -> Load:
        """Loads the target on `port` for `seconds`. Raises GeneratorError."""
        return self.start(port, bodies, shape, seconds).finish()

    def start(self, port: int, bodies: Bodies, shape: Shape, seconds: float) -> "Running":
        """The same in the background; the caller must call `finish`."""
        log = self._folder / f"h2load-{port}-{bodies.first.stem}.log"
        log.unlink(missing_ok=True)
        command = ["h2load", "-D", f"{round(seconds * 1000)}ms", f"-c{shape.connections}", f"-m{shape.streams}"]
        command += [argument for header in HEADERS for argument in ("-H", header)]
        command += [f"--rps={shape.per_connection_s}"] if shape.per_connection_s else []
        command += ["-d", str(bodies.first), f"--log-file={log}", f"http://127.0.0.1:{port}{METHOD}"]
        own = {"LD_PRELOAD": str(self._shim), "OWN_BODIES": str(bodies.all), "OWN_BODY_SIZE": str(bodies.size)}
        process = subprocess.Popen(
            command, env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return Running(process, log, seconds, _reaped_cpu_s())


@dataclass(frozen=True)
class Running:
    """A running generator."""

    process: "subprocess.Popen[str]"
    log: Path
    seconds: float
    cpu_s_before: float  # of all children that ended before this one

    def finish(self) -> Load:
        """Waits for the end. Raises GeneratorError."""
        try:
            output, _ = self.process.communicate(timeout=self.seconds + SLACK_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise GeneratorError(f"h2load was still running {SLACK_S:.0f} s after its end") from None
        requests, seconds = parse_output(output)
        latencies = parse_log(self.log)
        self.log.unlink()
        if abs(len(latencies) - requests) > max(100, requests // 100):
            raise GeneratorError(f"h2load counted {requests} requests and logged {len(latencies)}")
        return Load(requests, seconds, _reaped_cpu_s() - self.cpu_s_before, latencies)


def parse_output(output: str) -> tuple[int, float]:
    """Requests answered with HTTP 200, and the seconds they took. Raises GeneratorError for failed requests."""
    finished, requests = _FINISHED.search(output), _REQUESTS.search(output)
    if finished is None or requests is None:
        raise GeneratorError(f"h2load did not finish:\n{output}")
    _, _, succeeded, failed, _ = map(int, requests.groups())
    if failed or not succeeded:
        raise GeneratorError(f"{failed} requests failed, {succeeded} succeeded:\n{output}")
    # Computed from the rate, since "finished in" includes connecting and is rounded to 10 ms.
    return succeeded, succeeded / float(finished[3])


def parse_log(path: Path) -> np.ndarray:
    """Microseconds of each request. Raises GeneratorError for a status that is not 200."""
    if not path.exists() or not path.stat().st_size:
        return np.zeros(0)
    columns = np.loadtxt(path, np.int64, delimiter="\t", usecols=(1, 2), ndmin=2)
    strange = set(columns[:, 0].tolist()) - {200, -1}  # -1: cut off when the time was over
    if strange:
        raise GeneratorError(f"HTTP status {sorted(strange)} instead of 200")
    return np.asarray(columns[columns[:, 0] == 200, 1])


def _reaped_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def compile_shim(folder: Path) -> Path:
    """Compiles the library that gives every request its own body. Raises GeneratorError."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise GeneratorError("there is no C compiler (Debian: apt install gcc libc6-dev)")
    target = folder / "own_bodies.so"
    done = subprocess.run(
        [compiler, "-O2", "-Wall", "-shared", "-fPIC", str(SHIM), "-o", str(target), "-ldl"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise GeneratorError(f"{SHIM.name} does not compile:\n{done.stderr}")
    return target
