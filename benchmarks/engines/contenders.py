"""The engines that are compared: ours, the library that trained the model, and other libraries in their environment."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import xgboost

from benchmarks.children import ROOT
from benchmarks.engines.loop import Rows, cpu_s_per_row
from benchmarks.engines.models import Built
from onnxpress.packages.forest.compiled import CompiledForest
from onnxpress.packages.forest.engine import ForestEngine
from onnxpress.packages.runtime import Session
from onnxpress.server.settings import Settings
from onnxpress.server.versions.loader import Loader

RUNTIME, FOREST, CHOICE, ORIGINAL = "ONNX Runtime", "compiled forest", "onnxpress", "original library"
# Installed by `make bench-peers`.
ENVIRONMENT = Path(os.environ.get("BENCH_ENGINES_VENV", ROOT / ".venv-engines"))
OTHERS = ("treelite", "treelite C", "oneDAL")

Timer = Callable[[int, float], float]  # (batch size, seconds) -> CPU seconds per row


class ContenderError(RuntimeError):
    """An engine cannot run the model; the message is its reason."""


def ours(built: Built, rows: Rows) -> dict[str, Timer]:
    """ONNX Runtime, the compiled forest, and what the server chooses of both."""
    package, defaults = built.package, Settings(built.original.parent)
    runtime = Session(package.onnx)
    forest = ForestEngine(CompiledForest.from_bytes(package.forest))
    chosen = Loader(defaults.latency_target_ms, defaults.batch_rows_max).load(package).session
    (port,) = runtime.inputs
    return {
        RUNTIME: _timer(lambda batch: runtime.run({port.name: batch}), rows),
        FOREST: _timer(lambda batch: forest.run({port.name: batch}), rows),
        CHOICE: _timer(lambda batch: chosen.run({port.name: batch}, len(batch)), rows),
        ORIGINAL: _timer(_original(built), rows),
    }


def _timer(run: Callable[[Rows], Any], rows: Rows) -> Timer:
    return lambda size, seconds: cpu_s_per_row(run, rows, size, seconds)


def _original(built: Built) -> Callable[[Rows], Any]:
    """The library's quickest call for an array, with one thread."""
    if built.model.library == "xgboost":
        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(built.original)
        booster.set_param({"nthread": 1})
        return booster.inplace_predict  # type: ignore[no-any-return]
    if built.model.library == "lightgbm":
        loaded = lightgbm.Booster(model_file=built.original)
        return lambda batch: loaded.predict(batch, num_threads=1)
    forest = joblib.load(built.original)
    forest.n_jobs = 1
    return forest.predict_proba  # type: ignore[no-any-return]


class Other:
    """Another library, in a process of its environment that times itself when it is asked to."""

    def __init__(self, name: str, built: Built, rows: Rows, folder: Path) -> None:
        """Raises ContenderError with the library's reason."""
        python = ENVIRONMENT / "bin" / "python"
        if not python.exists():
            raise ContenderError("it is not installed (`make bench-peers`)")
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "rows.npy", rows)
        log = folder / f"{name.replace(' ', '-')}.log"
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [python, "-m", "benchmarks.engines.other", name, built.model.library, built.original,
                 folder / "rows.npy"],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        said = self._line()
        if said != "ready":
            self.stop()
            raise ContenderError(said or f"it ended: {(log.read_text().strip().splitlines() or ['no reason'])[-1]}")

    def __call__(self, size: int, seconds: float) -> float:
        """CPU seconds per row. Raises ContenderError when the process has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{size} {seconds}\n")
            self._process.stdin.flush()
            return float(self._line())
        except (OSError, ValueError) as error:
            raise ContenderError(f"it ended at {size} rows: {error}") from error

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()
