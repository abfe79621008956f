"""From the bytes of a package to a verified lane: session, golden rows, warm-up, cost curve."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.packages.errors import RefusedPackageError
from onnxpress.packages.golden import Golden, as_feed
from onnxpress.packages.graph import constants, scalars
from onnxpress.packages.package import Package
from onnxpress.packages.read import check_graph
from onnxpress.packages.runtime import replay
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
    """Loads packages; the same code in the preflight process, in the server and in `onnxpress verify`."""

    latency_target_ms: int
    batch_rows_max: int

    def load(self, package: Package, curve: cost.Curve | None = None, sharing: cost.Sharing | None = None) -> Lane:
        """Returns the lane of a package after replaying its golden rows; measures `curve` and `sharing` unless given.

        Raises RefusedPackageError: it cannot be loaded, or its answers differ from the golden ones.
        """
        graph = ModelProto() if package.proved else check_graph(package.onnx)
        session = Session(package.onnx, scalars(graph))
        if not package.bare:
            check_signature(session.signature, package.manifest)
        if package.golden:
            replay(session, package.golden, package.manifest.classes)
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
    """Warm-up inputs: golden rows in turn, so that branches are as unpredictable as in production.

    Repeating one row is three times cheaper than a new row each time (1,000 trees), which would make small batches look
    as efficient as large ones.
    """

    def __init__(self, signature: Signature, golden: Golden) -> None:
        self._base = dict(golden.inputs) if golden else {s.name: runtime.zeros(s, 1) for s in signature.inputs}
        self._next = 0

    def rows(self, count: int) -> dict[str, NDArray[Any]]:
        """The next `count` rows of every input."""
        places = np.arange(self._next, self._next + count)
        self._next += count
        return {name: as_feed(array.take(places, axis=0, mode="wrap")) for name, array in self._base.items()}


def refine_outputs(session: Session) -> Signature:
    """The signature with the outputs' actual widths, which many converters leave open; found by running the model.

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
    """Checks that the graph's inputs and outputs are those of the manifest. Raises RefusedPackageError."""
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
