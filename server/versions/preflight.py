"""The first load of a version, in a child process with limits: a hang, a crash or exhausted memory affects no request.

A 66-byte model can allocate without bound, and some models load for minutes.
"""

import json
import os
import resource
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from onnxpress.packages.errors import OnnxpressError, RefusedPackageError
from onnxpress.server.errors import DrainingError
from onnxpress.server.serving.cost import Engines, Measured, Sharing
from onnxpress.server.settings import MIB, Settings

OK, REFUSED = 0, 3
NICE = 10  # a preflight must not slow down requests


@dataclass(frozen=True)
class PreflightResult:
    """The result for a version that passed: the digest of the loaded bytes, and the measured cost of batches."""

    digest: str  # SHA-256 of model.onnx, hexadecimal
    measured: Measured


class Preflights:
    """Loads versions in child processes; may be called from any thread. Owns the live `_children`, under `_lock`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._children: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def load(self, folder: Path, model: str, version: int) -> PreflightResult:
        """Loads the version in `folder` in a child process, replays its golden rows and measures it, within limits.

        Raises RefusedPackageError, and DrainingError once `stop` was called.
        """
        settings = self._settings
        order = {
            "folder": str(folder.resolve()),  # the child has another working directory
            "model": model,
            "version": version,
            "latency_target_ms": settings.latency_target_ms,
            "batch_rows_max": settings.batch_rows_max,
            "model_mib_max": settings.model_mib_max,
            "load_mib_max": settings.load_mib_max,
            "load_seconds_max": settings.load_seconds_max,
        }
        child = self._start()
        try:
            told, complaints = child.communicate(json.dumps(order), settings.load_seconds_max)
        except subprocess.TimeoutExpired as error:
            raise RefusedPackageError(
                f"version {version} took longer than {settings.load_seconds_max} s to load"
            ) from error
        finally:
            self._end(child)
        if child.returncode != OK:
            self._refuse(version, child.returncode, told.strip(), complaints.strip().splitlines())
        result = json.loads(told)
        engines = Engines({int(rows): micros for rows, micros in result["curve"].items()}, result["forest_rows"])
        sharing = Sharing(result["rows_max"], result["alone"])
        return PreflightResult(result["digest"], Measured(engines, sharing, result["without_forest"]))

    def _refuse(self, version: int, code: int, told: str, complaints: list[str]) -> NoReturn:
        if self._stopped:
            raise DrainingError(f"the server is stopping, so version {version} was not loaded")
        if code == REFUSED:
            raise RefusedPackageError(told or "refused without a reason")
        how = f"signal {-code}" if code < 0 else f"exit {code}"
        raise RefusedPackageError(
            f"version {version} ended its preflight process ({how}; memory limit {self._settings.load_mib_max} MiB)"
            + (f": {complaints[-1]}" if complaints else "")
        )

    def _start(self) -> "subprocess.Popen[str]":
        with self._lock:
            if self._stopped:
                raise DrainingError("the server is stopping, so no version is loaded")
            child = subprocess.Popen(
                [sys.executable, "-m", "onnxpress.server.versions.preflight"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[3],
            )
            self._children.add(child)
            return child

    def _end(self, child: "subprocess.Popen[str]") -> None:
        with child, self._lock:
            child.kill()
            self._children.discard(child)

    def stop(self) -> None:
        """Kills all preflights; from now on `load` raises DrainingError."""
        with self._lock:
            self._stopped = True
            for child in self._children:
                child.kill()


def main() -> int:
    """The child process: loads one version; prints the result, or the reason of a refusal, and sets the exit code."""
    order = json.load(sys.stdin)
    os.nice(NICE)
    limit = order["load_mib_max"] * MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    # Bounds the child's run time if the parent dies.
    resource.setrlimit(resource.RLIMIT_CPU, (order["load_seconds_max"], order["load_seconds_max"]))
    # Imported here so that their memory counts against the limit, and the parent does not import them.
    from onnxpress.packages.read import read_package  # noqa: PLC0415
    from onnxpress.server.versions.loader import Loader  # noqa: PLC0415

    try:
        package = read_package(Path(order["folder"]), order["model"], order["version"], order["model_mib_max"])
        lane = Loader(order["latency_target_ms"], order["batch_rows_max"]).load(package)
    except OnnxpressError as refusal:
        print(refusal)  # noqa: T201 -- standard output is the answer to the parent
        return REFUSED
    except MemoryError:
        print(f"loading it takes more than {order['load_mib_max']} MiB")  # noqa: T201
        return REFUSED
    found = {
        "digest": lane.digest,
        "curve": lane.cost.curve,
        "rows_max": max(lane.cost.curve),
        "alone": lane.signature.alone,
        "forest_rows": 0 if lane.session.without_forest else lane.session.forest_rows,
        "without_forest": lane.session.without_forest,
    }
    print(json.dumps(found))  # noqa: T201
    return OK


if __name__ == "__main__":
    sys.exit(main())
