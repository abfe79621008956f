"""From the bytes of a package to a verified lane: session, golden rows, warm-up, cost curve."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.packages.compatibility import interface_of
from onnxpress.packages.errors import RefusedPackageError
from onnxpress.packages.golden import Golden
from onnxpress.packages.graph import Constants, constants, scalars
from onnxpress.packages.package import Package
from onnxpress.packages.read import check_graph
from onnxpress.packages.runtime import replay
from onnxpress.protos.onnx_graph_pb2 import ModelProto
from onnxpress.protos.package_pb2 import Manifest
from onnxpress.server.serving import cost, runtime
from onnxpress.server.serving.contract import read_contract
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.runtime import NEVER, RunError, Session
from onnxpress.server.serving.tensors import ANY, Signature, TensorSpec
from onnxpress.server.versions import independence
from onnxpress.server.versions.forests import forest_of

PROBE_ROWS = (1, 2)


@dataclass(frozen=True)
class Loader:
    """Loads packages; the same code in the preflight process, in the server and in `onnxpress verify`."""

    latency_target_ms: int
    batch_rows_max: int

    def load(self, package: Package, measured: cost.Measured | None = None) -> Lane:
        """Returns the lane of a package after replaying its golden rows; measures it unless `measured` is given.

        Raises RefusedPackageError: it cannot be loaded, or its answers differ from the golden ones.
        """
        graph = ModelProto() if package.proved else check_graph(package.onnx)
        session = Session(package.onnx, scalars(graph))
        if not package.bare:
            check_signature(session.signature, package.manifest)
        if package.golden:
            replay(session, package.golden, package.manifest.classes)
        session.signature = refine_outputs(session)
        sharing = cost.Sharing(self.batch_rows_max)
        if not package.proved and session.signature.has_rows:
            sharing = measured.sharing if measured else self._sharing(session, constants(graph))
            session.signature = replace(session.signature, alone=sharing.reason)
        contract = read_contract(package.manifest, session.signature.inputs)
        engines = cost.Engines({})
        if session.signature.batchable:
            engines = self._engines(package, session, min(sharing.rows_max, self.batch_rows_max), measured)
        model = cost.CostModel(engines.curve, self._target_us)
        if session.signature.batchable:
            # Sizes the arena before the first request does.
            session.run(Feeds(session.signature, package.golden).rows(model.batch_rows), model.batch_rows)
        interface = interface_of(package.manifest, session.signature.inputs, session.signature.outputs)
        return Lane(package.model, package.version, session, package.digest, contract, model, interface)

    @property
    def _target_us(self) -> float:
        return self.latency_target_ms * 1e3

    def _sharing(self, session: Session, known: Constants) -> cost.Sharing:
        outputs = [spec.name for spec in session.signature.outputs]
        return independence.sharing_of(session.run, session.signature.inputs, outputs, known, self.batch_rows_max)

    def _engines(
        self, package: Package, session: Session, rows_max: int, measured: cost.Measured | None
    ) -> cost.Engines:
        """Chooses the engine of each batch size, and tells the session."""
        forest, reason = (None, measured.without_forest) if measured else (None, "")
        if not reason:
            forest, reason = forest_of(package, session, compared=measured is not None)
        feeds, budget_us = Feeds(session.signature, package.golden), self._target_us / 2
        if measured is not None and (forest is not None or not measured.engines.forest_rows):
            engines = measured.engines
        elif forest is not None:
            engines = cost.measure_engines(feeds.rows, session.run, forest.run, rows_max, budget_us)
        else:
            engines = cost.Engines(cost.measure(feeds.rows, session.run, rows_max, budget_us))
        if engines.forest_rows:
            session.use_forest(forest, engines.forest_rows)
        else:
            session.use_forest(None, NEVER, reason or "it is cheaper at every batch size")
        return engines


class Feeds:
    """Warm-up inputs: golden rows in turn, so that branches are as unpredictable as in production.

    Repeating one row is three times cheaper than a new row each time (1,000 trees), which would make small batches look
    as efficient as large ones.
    """

    def __init__(self, signature: Signature, golden: Golden) -> None:
        self._base = golden.feeds() if golden else {s.name: runtime.zeros(s, 1) for s in signature.inputs}
        self._next = 0

    def rows(self, count: int) -> dict[str, NDArray[Any]]:
        """The next `count` rows of every input."""
        places = np.arange(self._next, self._next + count)
        self._next += count
        return {name: array.take(places, axis=0, mode="wrap") for name, array in self._base.items()}


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
