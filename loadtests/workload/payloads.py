"""Payloads: rows drawn from a package's profile or read from a file, encoded before the test begins."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.loadtests.errors import UsageError
from onnxpress.loadtests.workload.packages import Columns
from onnxpress.packages.datatypes import DATATYPES
from onnxpress.packages.golden import Golden
from onnxpress.packages.package import Package
from onnxpress.protos.inference_pb2 import ModelInferRequest
from onnxpress.protos.package_pb2 import FeatureProfile

GOLDEN_EVERY = 4  # one payload of this many begins with a golden row, whose answer is known
MISSING_WORDS = ("", "NA", "NaN", "nan", "null")


@dataclass(frozen=True)
class Payload:
    """One encoded ModelInferRequest. `expected`, by version: the original model's answer to its first row."""

    body: bytes
    rows: int
    expected: Mapping[int, Golden]


def draw_feature(profile: FeatureProfile, count: int, source: np.random.Generator) -> NDArray[Any]:
    """`count` values distributed as the training rows were, in the feature's own datatype; BYTES as object text.

    Numbers: a bin by its count, then uniform within the bin, whole where the training values were. Missing values
    are NaN in floating columns, and left out of others, which cannot express them.
    """
    if profile.datatype == "BYTES":
        values = [category.value for category in profile.categories.top] or [""]
        odds = np.array([category.count for category in profile.categories.top] or [1], np.float64)
        texts: NDArray[Any] = np.array(values, dtype=object)[source.choice(len(values), count, p=odds / odds.sum())]
        return texts
    numeric = profile.numeric
    edges = np.array([numeric.min, *numeric.edges, max(numeric.max, numeric.min)])
    counts = np.array(numeric.counts or [1], np.float64)
    bins = source.choice(len(counts), count, p=counts / counts.sum()) if counts.sum() else np.zeros(count, np.int64)
    low, high = edges[bins], edges[bins + 1]
    drawn = low + source.random(count) * (high - low)
    if numeric.integral:
        # The bin of a whole number begins at it and ends before the next edge; the last one holds its own end.
        drawn = np.where(bins == len(counts) - 1, np.round(drawn), np.floor(drawn))
    if profile.datatype in ("FP32", "FP64") and profile.missing_rate:
        drawn = np.where(source.random(count) < profile.missing_rate, np.nan, drawn)
    return np.asarray(drawn, DATATYPES[profile.datatype].dtype)


def drawn_rows(package: Package, count: int, source: np.random.Generator) -> Columns:
    """`count` rows by column name. Raises UsageError when the package has no profile to draw from."""
    profiles = {profile.name: profile for profile in package.profile.features}
    missing = [name for name, _ in package.columns() if name not in profiles]
    if missing or not profiles:
        raise UsageError(
            f"package {package.model}/{package.version} has no profile of {', '.join(missing) or 'its columns'}: "
            "give rows with --rows-file"
        )
    return {name: draw_feature(profiles[name], count, source) for name, _ in package.columns()}


def rows_of_file(package: Package, path: Path) -> Columns:
    """The rows of a CSV file with a header, by column name, in the package's datatypes. Raises UsageError."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            records = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as CSV: {error}") from error
    columns: Columns = {}
    for name, datatype in package.columns():
        if not records or name not in records[0]:
            raise UsageError(f"{path} has no column {name!r}, which {package.model} takes")
        columns[name] = np.array([_parsed(record[name], datatype, path, name) for record in records], dtype=object)
        if datatype != "BYTES":
            columns[name] = columns[name].astype(DATATYPES[datatype].dtype)
    return columns


def _parsed(text: str, datatype: str, path: Path, name: str) -> Any:
    if datatype == "BYTES":
        return text
    try:
        if datatype in ("FP32", "FP64"):
            return np.nan if text in MISSING_WORDS else float(text)
        return text.lower() in ("true", "1") if datatype == "BOOL" else int(text)
    except ValueError:
        raise UsageError(f"{path}: column {name!r} is {datatype}, and {text!r} is not") from None


def raw(values: NDArray[Any], datatype: str) -> bytes:
    """A tensor as the protocol carries it: little-endian, row-major; a BYTES element is its length and its bytes."""
    if datatype == "BYTES":
        texts = ["" if value is None else str(value) for value in values.reshape(-1).tolist()]
        encoded = [text.encode() for text in texts]
        return b"".join(len(text).to_bytes(4, "little") + text for text in encoded)
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, as in any client
        return np.ascontiguousarray(values, DATATYPES[datatype].dtype).tobytes()


def tensors_of(package: Package, rows: Columns) -> Columns:
    """Columns of training rows as the compiled model's inputs: one matrix, or one [rows, 1] each."""
    if package.matrix:
        matrix = np.stack([rows[name].astype(np.float64) for name, _ in package.columns()], axis=1)
        return {package.manifest.inputs[0].name: matrix}
    return {tensor.name: rows[tensor.name].reshape(-1, 1) for tensor in package.manifest.inputs}


def encode(package: Package, tensors: Columns, *, id_: str = "", version: str = "") -> bytes:
    """A serialized ModelInferRequest; raw contents last, so that equal headers are equal bytes."""
    request = ModelInferRequest(model_name=package.model, model_version=version, id=id_)
    for tensor in package.manifest.inputs:
        values = tensors[tensor.name]
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=values.shape)
        request.raw_input_contents.append(raw(values, tensor.datatype))
    return request.SerializeToString()


def pool(packages: Sequence[Package], rows: int, file: Path | None, seed: int, size: int) -> list[Payload]:
    """`size` payloads of `rows` rows for one model, whose versions are `packages`.

    Every fourth begins with a golden row of one of the packages in turn, so that its answer can be compared with
    the original model's.
    """
    package = packages[0]
    source = np.random.default_rng([seed, rows])
    stored = rows_of_file(package, file) if file else None
    golden = _golden_rows(packages)
    payloads = []
    for index in range(size):
        if stored:
            chosen = source.integers(len(next(iter(stored.values()))), size=rows)
            drawn = {name: values[chosen] for name, values in stored.items()}
        else:
            drawn = drawn_rows(package, rows, source)
        tensors = tensors_of(package, drawn)
        expected: dict[int, Golden] = {}
        if golden and index % GOLDEN_EVERY == 0:
            version, first, answer = golden[(index // GOLDEN_EVERY) % len(golden)]
            tensors = {name: np.concatenate([first[name], values[1:]]) for name, values in tensors.items()}
            expected[version] = answer
        payloads.append(Payload(encode(package, tensors), rows, expected))
    return payloads


def _golden_rows(packages: Sequence[Package]) -> list[tuple[int, Columns, Golden]]:
    """(version, tensors of one row, its answer), the packages' rows in turns."""
    each = [list(_golden_of(package)) for package in packages]
    longest = max((len(rows) for rows in each), default=0)
    return [rows[index] for index in range(longest) for rows in each if index < len(rows)]


def _golden_of(package: Package) -> Iterator[tuple[int, Columns, Golden]]:
    golden = package.golden
    if any(tensor.name not in golden.inputs for tensor in package.manifest.inputs):
        return
    for index in range(len(golden)):
        row = golden.row(index)
        yield package.version, {name: values.reshape(1, -1) for name, values in row.feeds().items()}, row
