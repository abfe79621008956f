"""From checked bytes to a lane that is known to answer as it must: session, golden rows, warm-up, cost curve."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.packages.errors import RefusedPackageError
from onnxpress.packages.graph import constants, scalars
from onnxpress.packages.read import Golden, Package, check_graph
from onnxpress.protos.onnx_graph_pb2 import ModelProto
from onnxpress.protos.package_pb2 import Manifest
from onnxpress.server.serving import cost, runtime
from onnxpress.server.serving.contract import read_contract
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.runtime import RunError, Session
from onnxpress.server.serving.tensors import ANY, Signature, TensorSpec
from onnxpress.server.versions import independence

PROBE_ROWS = (1, 2)


@dataclass(frozen=True)
class Loader:
    """Loads packages; the same code in the trial process, in the server and in `onnxpress verify`."""

    latency_target_ms: int
    batch_rows_max: int

    def load(self, package: Package, curve: cost.Curve | None = None, sharing: cost.Sharing | None = None) -> Lane:
        """The lane of a package that answers as it says; `curve` and `sharing` where they are known already.

        Raises RefusedPackageError: cannot be loaded, or does not answer as the package says.
        """
        graph = ModelProto() if package.proved else check_graph(package.onnx)
        session = Session(package.onnx, scalars(graph))
        if package.manifest is not None:
            check_signature(session.signature, package.manifest)
        if package.golden is not None:
            check_golden(session, package.golden)
        session.signature = refine_outputs(session)
        rows_max = self.batch_rows_max
        if not package.proved and session.signature.has_rows:
            if sharing is None:
                outputs = [spec.name for spec in session.signature.outputs]
                sharing = independence.sharing_of(
                    session.run, session.signature.inputs, outputs, constants(graph), rows_max
                )
            rows_max = min(rows_max, sharing.rows_max)
            session.signature = replace(session.signature, alone=sharing.reason)
        contract = read_contract(package.manifest, session.signature.inputs)
        target_us = self.latency_target_ms * 1e3
        if session.signature.batchable:
            feeds = Feeds(session.signature, package.golden)
            if curve is None:
                curve = cost.measure(feeds.rows, session.run, rows_max, target_us / 2)
        model = cost.CostModel(curve or {}, target_us)
        if session.signature.batchable:
            session.run(feeds.rows(model.batch_rows))  # sizes the arena before the first request does
        return Lane(package.model, package.version, session, package.digest, contract, model)


class Feeds:
    """Inputs to warm up with: golden rows in turn, so that branches are as unpredictable as in life.

    The same row again and again is three times cheaper than another each time (1,000 trees), which would make small
    batches look as good as large ones.
    """

    def __init__(self, signature: Signature, golden: Golden | None) -> None:
        self._base = (
            dict(golden.inputs) if golden is not None else {s.name: runtime.zeros(s, 1) for s in signature.inputs}
        )
        self._next = 0

    def rows(self, count: int) -> dict[str, NDArray[Any]]:
        """The next `count` rows of every input."""
        places = np.arange(self._next, self._next + count)
        self._next += count
        return {name: as_feed(array.take(places, axis=0, mode="wrap")) for name, array in self._base.items()}


def as_feed(array: NDArray[Any]) -> NDArray[Any]:
    """Strings as objects, which is what ONNX Runtime takes."""
    return array.astype(object) if array.dtype.kind == "U" else array


def refine_outputs(session: Session) -> Signature:
    """The signature with the outputs' true widths, which many converters leave open; found by running it.

    A version whose outputs do not have one row per row of the input keeps its open shape, and so never shares runs.
    """
    inputs = session.signature.inputs
    if any(spec.shape[:1] != (ANY,) or spec.row_elements == 0 for spec in inputs):
        return session.signature
    widths: list[list[tuple[int, ...]]] = []
    for rows in PROBE_ROWS:
        try:
            arrays = session.run({spec.name: runtime.zeros(spec, rows) for spec in inputs})
        except RunError as error:
            raise RefusedPackageError(f"it cannot answer {rows} rows of zeros: {error}") from error
        if any(array.shape[:1] != (rows,) for array in arrays):
            return Signature(
                inputs, tuple(TensorSpec(s.name, s.datatype, (ANY, ANY)) for s in session.signature.outputs)
            )
        widths.append([array.shape[1:] for array in arrays])
    if widths[0] != widths[1]:
        return session.signature
    outputs = zip(session.signature.outputs, widths[0], strict=True)
    return Signature(inputs, tuple(TensorSpec(spec.name, spec.datatype, (ANY, *width)) for spec, width in outputs))


def check_signature(signature: Signature, manifest: Manifest) -> None:
    """The graph takes and gives what the manifest says."""
    for kind, specs, tensors in (
        ("input", signature.inputs, manifest.inputs),
        ("output", signature.outputs, manifest.outputs),
    ):
        graph = {(spec.name, spec.datatype) for spec in specs}
        stated = {(tensor.name, tensor.datatype) for tensor in tensors}
        for name, datatype in sorted(graph ^ stated):
            where = (
                "the graph but not in the manifest"
                if (name, datatype) in graph
                else "the manifest but not in the graph"
            )
            raise RefusedPackageError(f"{kind} {name!r} of {datatype} is in {where}")


def check_golden(session: Session, golden: Golden) -> int:
    """Runs the golden rows; returns how many. Raises RefusedPackageError with the first row that differs."""
    try:
        arrays = session.run({name: as_feed(array) for name, array in golden.inputs.items()})
    except RunError as error:
        raise RefusedPackageError(f"the golden rows do not run on ONNX Runtime {runtime.VERSION}: {error}") from error
    answers = {spec.name: array for spec, array in zip(session.signature.outputs, arrays, strict=True)}
    missing = set(golden.outputs) - set(answers)
    if missing:
        raise RefusedPackageError(f"golden.npz has an output {min(missing)!r} that the graph does not give")
    for name, original in golden.outputs.items():
        row = first_difference(name, answers, golden.outputs, golden.tolerance)
        if row is not None:
            raise RefusedPackageError(
                f"golden row {row} differs in {name!r} on ONNX Runtime {runtime.VERSION}: "
                f"the original said {original[row]}, it says {answers[name][row]}"
            )
    return len(next(iter(golden.outputs.values()), ()))


def first_difference(
    name: str,
    answers: Mapping[str, NDArray[Any]],
    original: Mapping[str, NDArray[Any]],
    tolerance: Mapping[str, NDArray[np.float64]],
) -> int | None:
    """The first row of output `name` outside its tolerance; labels may differ only where the best classes tie."""
    got, expected = answers[name], original[name]
    if got.shape != expected.shape:
        return 0
    if name in tolerance:
        near = np.abs(got.astype(np.float64) - expected) <= tolerance[name]
        same = near | (got == expected) | (np.isnan(got) & np.isnan(expected))
        wrong = ~same.reshape(len(same), -1).all(axis=1)
    else:
        wrong = got.astype(str) != expected.astype(str)
        scores, slack = original.get("probabilities"), tolerance.get("probabilities")
        if scores is not None and slack is not None and scores.shape[1] > 1:
            best = np.sort(scores, axis=1)[:, -2:]
            wrong &= best[:, 1] - best[:, 0] > 2 * slack.max(axis=1)
    return int(np.flatnonzero(wrong)[0]) if wrong.any() else None
