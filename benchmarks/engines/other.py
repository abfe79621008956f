"""`python -m benchmarks.engines.other NAME LIBRARY MODEL ROWS`: another library, in an environment of its own.

Prints "ready", or why it cannot run the model; then reads lines of "SIZE SECONDS" and prints CPU seconds per row.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.engines.loop import Rows, cpu_s_per_row

Run = Callable[[Rows], Any]
# gcc takes minutes for more than this, and its code is slower than the interpreter's: it exceeds the code cache.
COMPILED_TREES_MAX = 500


def treelite_model(library: str, path: Path) -> Any:
    import treelite

    if library == "xgboost":
        return treelite.frontend.load_xgboost_model(path)
    if library == "lightgbm":
        return treelite.frontend.load_lightgbm_model(path)
    import joblib

    return treelite.sklearn.import_model(joblib.load(path))


def interpreted(library: str, path: Path) -> Run:
    """treelite's own walk over its trees (GTIL)."""
    import treelite

    model = treelite_model(library, path)
    return lambda batch: treelite.gtil.predict(model, batch, nthread=1)


def compiled(library: str, path: Path) -> Run:
    """The C code that TL2cgen generates of treelite's trees, compiled by gcc."""
    import tl2cgen

    model = treelite_model(library, path)
    if library == "sklearn" or model.num_tree > COMPILED_TREES_MAX:
        raise ValueError(f"compiling {model.num_tree} trees of this size takes gcc minutes")
    with TemporaryDirectory() as folder:
        target = Path(folder) / "model.so"
        tl2cgen.export_lib(model, toolchain="gcc", libpath=target, params={"parallel_comp": 8})
        predictor = tl2cgen.Predictor(target, nthread=1)
    return lambda batch: predictor.predict(tl2cgen.DMatrix(batch))


def onedal(library: str, path: Path) -> Run:
    """oneDAL by daal4py, which takes boosted trees only."""
    import daal4py

    daal4py.daalinit(nthreads=1)
    if library == "xgboost":
        import xgboost

        booster: Any = xgboost.Booster(model_file=path)
    elif library == "lightgbm":
        import lightgbm

        booster = lightgbm.Booster(model_file=path)
    else:
        raise ValueError("oneDAL converts boosted trees only")
    model = daal4py.mb.convert_model(booster)
    return model.predict_proba if model.is_classifier_ else model.predict  # type: ignore[no-any-return]


BUILDERS = {"treelite": interpreted, "treelite C": compiled, "oneDAL": onedal}


def main(name: str, library: str, path: str, rows: str) -> int:
    different = np.load(rows)
    # What libraries and compilers print must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        run = BUILDERS[name](library, Path(path))
        run(different[:1])
    except Exception as error:  # noqa: BLE001 - whatever a library raises is its reason
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=answers)
        return 1
    print("ready", file=answers)
    for line in sys.stdin:
        size, seconds = line.split()
        print(cpu_s_per_row(run, different, int(size), float(seconds)), file=answers)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
