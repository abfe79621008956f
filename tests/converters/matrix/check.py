"""Checks a package against the original and ONNX Runtime directly, without any of the gate's code.

Rows: the sample, its rows with values missing, and rows found by bisection, model by model: two neighbouring float32
values of one column between which the original's answer changes.
"""

import warnings
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from numpy.typing import NDArray

from onnxpress import Package
from onnxpress.protos.package_pb2 import Layout
from tests.converters.matrix.case import Case, Sample, classified, predicted

SAMPLE_ROWS = 400
PAIRS = 48
MISSING_ROWS = 40
BATCHES = (1, 50)

Answers = dict[str, NDArray[Any]]


def wrong_rows(case: Case, model: Any, sample: Sample, package: Package) -> dict[str, int]:
    """Kind of rows -> how many of them the compiled model answers wrongly; empty when all are right."""
    oracle = Oracle(case, model, sample, package)
    random = np.random.default_rng(1)
    frame = sample if isinstance(sample, pd.DataFrame) else pd.DataFrame(sample)
    rows = oracle.narrow(frame.iloc[:SAMPLE_ROWS].reset_index(drop=True))
    found = {
        "sample": oracle.wrong(rows),
        "boundary": oracle.wrong(boundary_rows(oracle, rows, random)),
        "missing": oracle.wrong(missing_rows(rows, random)),
        "batches": oracle.batch_dependent(rows),
    }
    return {name: count for name, count in found.items() if count}


class Oracle:
    def __init__(self, case: Case, model: Any, sample: Sample, package: Package) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(package.onnx, options)
        self.case, self.model, self.package = case, model, package
        self.array = not isinstance(sample, pd.DataFrame)
        self.dtype = None if isinstance(sample, pd.DataFrame) else sample.dtype
        self.matrix = package.manifest.layout == Layout.MATRIX

    def narrow(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows as clients can send them: in matrix layout every number is a float32."""
        if not self.matrix:
            return frame
        floats = frame.select_dtypes(include="float").columns
        return (
            frame.assign(**{name: frame[name].astype(np.float32).astype(frame[name].dtype) for name in floats})
            if not self.array
            else frame.astype(np.float32).astype(self.dtype)
        )

    def original(self, rows: pd.DataFrame) -> Answers | None:
        """The original's answer to rows as doubles, as docs/conversion.md says; None when it refuses them."""
        narrow = dict.fromkeys(rows.select_dtypes(include="float32").columns, np.float64)
        rows = rows.astype(narrow)
        given: Any = rows.to_numpy(dtype=np.float64 if self.dtype == np.float32 else self.dtype) if self.array else rows
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                if self.case.predict is not None:
                    # Reference answers of a case take frames named like the sample.
                    return self.case.predict(self.model, rows)
                if hasattr(self.model, "predict_proba"):
                    return classified(self.model, given)
                if self.package.manifest.classes:
                    return {"label": np.asarray(self.model.predict(given))}
                return predicted(self.model, given)
            except Exception:  # noqa: BLE001 -- originals refuse rows with whatever their library raises
                return None

    def compiled(self, rows: pd.DataFrame) -> Answers:
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, self.feeds(rows)), strict=True))

    def feeds(self, rows: pd.DataFrame) -> Answers:
        features = [feature.name for feature in self.package.manifest.features]
        if self.matrix:
            named = rows[features] if set(features) <= set(map(str, rows.columns)) and not self.array else rows
            return {"input": named.to_numpy(dtype=np.float32, na_value=np.nan)}
        fed = {}
        for index, tensor in enumerate(self.package.manifest.inputs):
            values = rows.iloc[:, index] if self.array else rows[tensor.name]
            if tensor.datatype == "BYTES":
                column = np.array(["" if pd.isna(value) else str(value) for value in values], dtype=object)
            else:
                dtype = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "BOOL": bool}[tensor.datatype]
                missing = {"na_value": np.nan} if tensor.datatype in ("FP32", "FP64") else {}
                column = values.to_numpy(dtype=dtype, **missing)
            fed[tensor.name] = column.reshape(-1, 1)
        return fed

    def wrong(self, rows: pd.DataFrame) -> int:
        """Rows that differ; rows are evaluated one by one if the original refuses them together."""
        if not len(rows):
            return 0
        expected = self.original(rows)
        if expected is None:
            return sum(self.wrong(rows.iloc[[i]]) for i in range(len(rows))) if len(rows) > 1 else 0
        found = self.compiled(rows)
        assert set(expected) <= set(found), f"outputs {sorted(found)}, expected {sorted(expected)}"
        differs = np.zeros(len(rows), dtype=bool)
        for name in set(expected) - {"label"}:
            original, copy = expected[name].astype(np.float64), found[name].astype(np.float64)
            assert original.shape == copy.shape, f"{name} is {copy.shape}, expected {original.shape}"
            finite = np.abs(original[np.isfinite(original)])
            allowed = self.case.tolerance * max(float(finite.max()) if finite.size else 0.0, 1e-6)
            with np.errstate(over="ignore", invalid="ignore"):
                same = (np.abs(copy - original) <= allowed) | (original.astype(np.float32) == copy)
            differs |= ~(same | (np.isnan(copy) & np.isnan(original))).all(axis=1)
        if "label" in expected:
            differs |= self.labels_differ(expected, found)
        return int(differs.sum())

    def labels_differ(self, expected: Answers, found: Answers) -> NDArray[np.bool_]:
        tie = np.zeros(len(expected["label"]), dtype=bool)
        if "probabilities" in expected:
            ranked = np.sort(expected["probabilities"].astype(np.float64), axis=1)
            tie = np.diff(ranked[:, -2:], axis=1).max(axis=1, initial=0.0) < self.case.tolerance
        label = expected["label"]
        label = label.astype(np.int64) if label.dtype.kind == "b" else label
        return np.asarray((label.astype(found["label"].dtype) != found["label"]) & ~tie, dtype=bool)

    def batch_dependent(self, rows: pd.DataFrame) -> int:
        whole = self.compiled(rows)
        differs = np.zeros(len(rows), dtype=bool)
        for size in BATCHES:
            for first in range(0, min(len(rows), 200), size):
                for name, values in self.compiled(rows.iloc[first : first + size]).items():
                    same = values.tolist() == whole[name][first : first + len(values)].tolist()
                    both_nan = values.dtype.kind == "f" and bool(np.isnan(values).any())
                    differs[first : first + len(values)] |= not (same or both_nan)
        return int(differs.sum())


def boundary_rows(oracle: Oracle, rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Pairs of rows that differ by one float32 step in one column, where the original's answer changes."""
    floats = [i for i, dtype in enumerate(rows.dtypes) if pd.api.types.is_float_dtype(dtype)]
    if not floats:
        return rows.iloc[:0]
    base = random.integers(0, len(rows), PAIRS)
    column = random.choice(floats, PAIRS)
    block = rows.iloc[base].reset_index(drop=True)
    drawn = [rows.iloc[:, c].dropna().to_numpy(dtype=np.float32) for c in column]
    ends = np.array(
        [np.sort(random.choice(values, 2)) if len(values) else (0, 1) for values in drawn], dtype=np.float32
    )
    low, high = _ordered(ends[:, 0]), _ordered(ends[:, 1])
    at_low = _scores(oracle, _placed(block, column, low))
    if at_low is None:
        return rows.iloc[:0]
    for _ in range(33):
        middle = (low + high) // 2
        scores = _scores(oracle, _placed(block, column, middle))
        if scores is None:
            return rows.iloc[:0]
        same = (np.abs(scores - at_low) <= 1e-6 * np.abs(at_low).max()).all(axis=1)
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return pd.concat([_placed(block, column, low), _placed(block, column, low + 1)], ignore_index=True)


def _scores(oracle: Oracle, rows: pd.DataFrame) -> NDArray[np.float64] | None:
    answers = oracle.original(rows)
    if answers is None:
        return None
    if set(answers) == {"label"}:
        return np.unique(answers["label"], return_inverse=True)[1].reshape(-1, 1).astype(np.float64)
    return np.nan_to_num(answers["probabilities" if "probabilities" in answers else "prediction"].astype(np.float64))


def _ordered(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Integers with the order and the neighbours of the float32 values."""
    bits = np.ascontiguousarray(values).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _placed(block: pd.DataFrame, column: NDArray[np.int64], ordered: NDArray[np.int64]) -> pd.DataFrame:
    bits = np.where(ordered < 0, (-ordered) | 0x80000000, ordered).astype(np.uint32)
    values = bits.view(np.float32).astype(np.float64)
    placed = block.copy()
    for index in np.unique(column):
        here = column == index
        placed.isetitem(index, block.iloc[:, index].where(~here, values).astype(block.dtypes.iloc[index]))
    return placed


def missing_rows(rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Rows with NaN in one or several of the columns of floats."""
    floats = [i for i, dtype in enumerate(rows.dtypes) if pd.api.types.is_float_dtype(dtype)]
    block = rows.iloc[random.integers(0, len(rows), MISSING_ROWS)].reset_index(drop=True).copy()
    for index in floats:
        gone = random.random(len(block)) < 0.3
        block.isetitem(index, block.iloc[:, index].mask(gone))
    return block
