"""Compares the two engines: the compiled forest must give ONNX Runtime's bits on every row that the gate tries."""

import onnx

from onnxpress.converters.family import Tensors
from onnxpress.converters.forest.compile import compile_forest
from onnxpress.packages.errors import ForestError, RunError
from onnxpress.packages.forest.agreement import first_disagreement, in_turn, of_each_size
from onnxpress.packages.forest.engine import ForestEngine
from onnxpress.protos.package_pb2 import ForestReport


class Engines:
    """Compiles the trees of a model, and drops them at the first difference; then ONNX Runtime runs all of the model.

    forest: the content of forest.npz; empty without a compiled forest.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._engine: ForestEngine | None = None
        self._report, self.forest = ForestReport(), b""
        try:
            compiled = compile_forest(model)
            self._engine = ForestEngine(compiled)
        except ForestError as error:
            self._report.reason = str(error)
        else:
            self.forest = compiled.to_bytes()

    def compare(self, inputs: Tensors, answers: Tensors, *, each_size: bool = False) -> None:
        """Runs the forest in batches of all sizes in turn, or with `each_size` every row in a batch of each size.

        `answers`: all outputs of ONNX Runtime for `inputs`, in the graph's order.
        """
        if self._engine is None:
            return
        rows = len(next(iter(answers.values())))
        try:
            batches = of_each_size(rows) if each_size else in_turn(rows)
            found = first_disagreement(self._engine.run, inputs, list(answers.values()), batches)
        except RunError as error:
            self._drop(f"it fails on rows that ONNX Runtime answers: {error}")
            return
        self._report.rows += rows
        if found is not None:
            row = {name: values[found.row].tolist() for name, values in inputs.items()}
            self._drop("the engines differ on a row that the gate tried", f"{found}; the row is {row}")

    def report(self) -> ForestReport:
        return self._report

    def _drop(self, reason: str, difference: str = "") -> None:
        self._engine, self.forest = None, b""
        self._report = ForestReport(reason=reason, difference=difference)
