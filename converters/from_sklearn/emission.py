"""The graph under construction, the values between two steps of a scikit-learn model, and the registry of emitters.

Numbers flow as DOUBLE, [rows, columns], because scikit-learn computes in float64: adding, multiplying and comparing
doubles in the same order gives the same bits, so that a split behind a scaler takes the original's branch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxpress.converters.graph.builder import Graph
from onnxpress.packages.errors import ConversionRefused

Doubles = NDArray[np.float64]
F = TypeVar("F")
R = TypeVar("R")
# What clients send for a missing cell of text: a BYTES element cannot be None.
MISSING_TEXT = ""
# The range of the search for thresholds: plus and minus this.
EDGE = 1e300


@dataclass(frozen=True)
class Origin:
    """The client's column that a number is computed from; `forward` computes it and is monotone in float64."""

    column: str
    tensor: str  # the column itself, DOUBLE [rows, 1]; empty for text
    forward: Callable[[Doubles], Doubles]
    # Whether the graph computes `forward` to the same bits: sums and quotients yes, logarithms not.
    exact: bool = True

    def then(self, step: Callable[[Doubles], Doubles], *, exact: bool = True) -> "Origin":
        """The same origin followed by one more step."""
        before = self.forward
        return Origin(self.column, self.tensor, lambda values: step(before(values)), self.exact and exact)


@dataclass(frozen=True)
class Part:
    """A tensor of the graph, [rows, len(origins)]; text is STRING, everything else DOUBLE."""

    tensor: str
    origins: tuple[Origin | None, ...]
    text: bool = False


@dataclass(frozen=True)
class Value:
    """The output of one step and input of the next: the columns of a frame or of an array, in order."""

    parts: tuple[Part, ...]
    names: tuple[str, ...] = ()  # of a frame's columns
    sparse: bool = False  # the original holds it as a sparse matrix, which some steps read differently

    @property
    def origins(self) -> tuple[Origin | None, ...]:
        return tuple(origin for part in self.parts for origin in part.origins)

    @property
    def width(self) -> int:
        return len(self.origins)


@dataclass(frozen=True)
class Scores:
    """The outputs of a classifier for each row."""

    probabilities: str  # DOUBLE [rows, classes]
    # INT64 [rows], the place of the label in `classes_`; empty: the first of the largest probabilities
    winner: str = ""
    decision: str = ""  # DOUBLE [rows, columns of decision_function]; empty: the estimator has none


Transform = Callable[["Emission", Any, Value], Value]
Classify = Callable[["Emission", Any, Value], Scores]
Regress = Callable[["Emission", Any, Value], str]
# (bounds, model, the rows that this step receives) -> the absolute error that arithmetic may add to each output,
# besides the rounding of the output itself.
ErrorBound = Callable[["ErrorBounds", Any, Any], Any]


class Registry:
    """The emitters of scikit-learn's estimators, by exact class name.

    Subclasses defined elsewhere are refused, since their `predict` may differ. Each module of this folder fills its own
    registry; `family.py` merges them.
    """

    def __init__(self) -> None:
        self.transformers: dict[str, Transform] = {}
        self.classifiers: dict[str, Classify] = {}
        self.regressors: dict[str, Regress] = {}
        self.error_bounds: dict[str, ErrorBound] = {}
        self.keeping_sparse: set[str] = set()
        self.without_checks: set[str] = set()

    def transformer(self, *names: str, keeps_sparse: bool = False) -> Callable[[Transform], Transform]:
        """Registers the emitter of transformers; `keeps_sparse`: for a sparse matrix they return a sparse one."""
        self.keeping_sparse.update(names if keeps_sparse else ())
        return _registrar(self.transformers, names)

    def classifier(self, *names: str, checks_rows: bool = True) -> Callable[[Classify], Classify]:
        """Registers the emitter of classifiers; without `checks_rows` they leave NaN and infinity to inner models."""
        self.without_checks.update(() if checks_rows else names)
        return _registrar(self.classifiers, names)

    def regressor(self, *names: str, checks_rows: bool = True) -> Callable[[Regress], Regress]:
        """Registers the emitter of regressors; `checks_rows` as for classifiers."""
        self.without_checks.update(() if checks_rows else names)
        return _registrar(self.regressors, names)

    def error_bound(self, *names: str) -> Callable[[ErrorBound], ErrorBound]:
        """Registers the bound on the arithmetic error of these classes' outputs; without one it is 0."""
        return _registrar(self.error_bounds, names)

    def include(self, other: "Registry") -> None:
        """Adds the registrations of `other`; raises ValueError where both have the same class."""
        _include(self.transformers, other.transformers)
        _include(self.classifiers, other.classifiers)
        _include(self.regressors, other.regressors)
        _include(self.error_bounds, other.error_bounds)
        self.keeping_sparse |= other.keeping_sparse
        self.without_checks |= other.without_checks


def _registrar(table: dict[str, F], names: tuple[str, ...]) -> Callable[[F], F]:
    def register(function: F) -> F:
        _include(table, dict.fromkeys(names, function))
        return function

    return register


def _include(table: dict[str, F], more: dict[str, F]) -> None:
    twice = sorted(table.keys() & more.keys())
    if twice:
        raise ValueError(f"registered twice: {', '.join(twice)}")
    table.update(more)


class Readings:
    """The parsed boosters inside one model, so that each is parsed once.

    Owned by the opened model (`family.py`); it holds at most one entry for each estimator of that model.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Any]] = {}

    def of(self, model: Any, read: Callable[[Any], R]) -> R:
        """`read(model)`, called once for each model."""
        if id(model) not in self._known:
            self._known[id(model)] = (model, read(model))  # holding the model keeps its id unique
        found: R = self._known[id(model)][1]
        return found


class ErrorBounds:
    """Bounds of the error that float arithmetic adds to the outputs of the steps of one model."""

    def __init__(self, registry: Registry, readings: Readings | None = None) -> None:
        self._registry = registry
        self.readings = readings or Readings()

    def of(self, model: Any, rows: Any) -> Any:
        """The absolute error that arithmetic may add to each output of `model`; broadcasts over the output."""
        bound = self._registry.error_bounds.get(type(model).__name__)
        return np.zeros((1, 1)) if bound is None else bound(self, model, rows)

    def of_boosters(self, model: Any, rows: Any) -> Any:
        """The bound of models that return float32 even where steps follow, boosters of other libraries; else 0."""
        if type(model).__module__.startswith("sklearn."):
            steps = getattr(model, "steps", None)
            if not steps or type(model).__name__ != "Pipeline":
                return 0.0
            for _, step in steps[:-1]:
                rows = rows if step is None or isinstance(step, str) else step.transform(rows)
            return self.of_boosters(steps[-1][1], rows)
        return self.of(model, rows)


class Emission(Graph):
    """A graph under construction, and what emitting the model's steps has collected so far."""

    def __init__(
        self,
        registry: Registry | None = None,
        missing: dict[str, Any] | None = None,
        readings: Readings | None = None,
    ) -> None:
        super().__init__()
        self.registry = registry or Registry()
        self.readings = readings or Readings()
        # Column -> thresholds in the client's units; column -> categories; column -> marker of missing text.
        self.splits: dict[str, list[Doubles]] = {}
        self.categories: dict[str, list[Any]] = {}
        self.missing: dict[str, Any] = dict(missing or {})
        self.path: list[str] = []
        # Another estimator compares this one's outputs with thresholds: sums of leaves must not be rounded to float32.
        self.keeps_float64 = False
        self._memory: dict[tuple[Any, ...], str] = {}

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """As Graph.add; the same operator on the same inputs is computed once."""
        if domain:
            return super().add(operator, *inputs, domain=domain, **attributes)
        key = (operator, inputs, repr(sorted(attributes.items())))
        if key not in self._memory:
            self._memory[key] = super().add(operator, *inputs, **attributes)
        return self._memory[key]

    def double(self, value: Any) -> str:
        """A float64 constant."""
        return self.constant(np.asarray(value, np.float64))

    def whole(self, value: Value) -> str:
        """All columns as one DOUBLE tensor [rows, width]; text is refused."""
        if any(part.text for part in value.parts):
            named = [origin.column for part in value.parts if part.text for origin in part.origins if origin]
            raise self.refused(f"it is given text (column {', '.join(named[:3])}), which it cannot compute with")
        return self.concat(part.tensor for part in value.parts)

    def take(self, value: Value, columns: Sequence[int]) -> Value:
        """Some columns of a value, in the given order."""
        places = [(part, index) for part in value.parts for index in range(len(part.origins))]
        wanted = [places[column] for column in columns]
        parts: list[Part] = []
        run: list[int] = []
        for position, (part, index) in enumerate(wanted):
            run.append(index)
            if position + 1 == len(wanted) or wanted[position + 1][0] is not part:
                parts.append(self._gathered(part, run))
                run = []
        names = tuple(value.names[column] for column in columns) if value.names else ()
        return Value(tuple(parts), names, value.sparse)

    def _gathered(self, part: Part, columns: list[int]) -> Part:
        if columns == list(range(len(part.origins))):
            return part
        tensor = self.columns(part.tensor, columns)
        return Part(tensor, tuple(part.origins[column] for column in columns), part.text)

    def mapped(
        self,
        value: Value,
        tensor: str,
        step: Callable[[int], Callable[[Doubles], Doubles] | None],
        *,
        exact: bool = True,
    ) -> Value:
        """`tensor` as a value, each column of which is the monotone `step(column)` of the same column of `value`."""
        origins: list[Origin | None] = []
        for column, origin in enumerate(value.origins):
            function = step(column)
            origins.append(origin.then(function, exact=exact) if origin and function else None)
        return Value((Part(tensor, tuple(origins)),), value.names, value.sparse)

    def opaque(self, tensor: str, width: int) -> Value:
        """`tensor` [rows, width] as a value whose columns do not depend on a single column of the client's."""
        return Value((Part(tensor, (None,) * width),))

    def split(self, origin: Origin | None, thresholds: Doubles) -> None:
        """Records the thresholds of a step, carried back to the client's column."""
        if origin is not None and len(thresholds):
            found = carried_back(origin, np.unique(thresholds))
            self.splits.setdefault(origin.column, []).append(found[np.isfinite(found)])

    def known(self, origin: Origin | None, categories: Sequence[Any]) -> None:
        """Records the categories that a step has for a client's column."""
        if origin is not None:
            self.categories.setdefault(origin.column, []).extend(categories)

    def is_missing_marker(self, origin: Origin | None, mark: Any) -> bool:
        """Whether `mark`, None or NaN, is the marker of missing text that the original receives in this column.

        The sample decides; where it has no missing cell, the first step that distinguishes them does.
        """
        if origin is None:
            return True
        return (self.missing.setdefault(origin.column, mark) is None) == (mark is None)

    @contextmanager
    def step(self, name: str, estimator: object) -> Iterator[None]:
        """Emits inside a named step: refusals, and any error of the emitter, carry this name."""
        self.path.append(f"{name} ({type(estimator).__name__})" if name else type(estimator).__name__)
        try:
            yield
        except ConversionRefused:
            raise
        except Exception as broken:  # estimators in odd states raise anything; the refusal names the step
            raise self.refused(f"it cannot be read: {type(broken).__name__}: {broken}") from broken
        finally:
            self.path.pop()

    @contextmanager
    def in_float64(self) -> Iterator[None]:
        """Within this context nothing that is emitted is rounded to float32."""
        before, self.keeps_float64 = self.keeps_float64, True
        try:
            yield
        finally:
            self.keeps_float64 = before

    def refused(self, reason: str) -> ConversionRefused:
        """A refusal that names the step."""
        where = " > ".join(self.path) or "the model"
        return ConversionRefused(f"step {where}: {reason}")

    def model(self, name: str = "sklearn") -> onnx.ModelProto:
        """The finished model; nodes and constants that no output needs are left out."""
        needed = {output.name for output in self.outputs}
        kept: list[onnx.NodeProto] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
                bodies = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
                needed.update(name for body in bodies for inner in body.node for name in inner.input)
        self.nodes = kept[::-1]
        self.initializers = [constant for constant in self.initializers if constant.name in needed]
        return super().model(name)


def carried_back(origin: Origin, thresholds: Doubles) -> Doubles:
    """The largest x with forward(x) <= threshold (smallest, where forward falls), by bisection over all doubles.

    Infinite if no x, or every x, is below. If forward returns NaN, left of its domain, x counts as below.
    """
    low, high = (np.full(len(thresholds), _ordered(np.array([edge]))[0]) for edge in (-EDGE, EDGE))
    with np.errstate(all="ignore"):
        sign = 1.0
        if np.any(origin.forward(_double(low)) > origin.forward(_double(high))):
            sign = -1.0
        target = sign * thresholds
        for _ in range(66):
            middle = low // 2 + high // 2 + (low % 2 + high % 2) // 2
            below = ~(sign * origin.forward(_double(middle)) > target)
            low, high = np.where(below, middle, low), np.where(below, high, middle)
    found = _double(low)
    return np.where(np.abs(found) < EDGE / 10, found, np.copysign(np.inf, found))


def _ordered(values: Doubles) -> NDArray[np.int64]:
    """Integers in the order of the doubles."""
    bits = values.view(np.int64)
    return np.where(bits < 0, np.int64(-(2**63)) - bits, bits)


def _double(ordered: NDArray[np.int64]) -> Doubles:
    return np.where(ordered < 0, np.int64(-(2**63)) - ordered, ordered).view(np.float64)
