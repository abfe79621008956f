"""The link functions of boosters: each as ONNX nodes and as arithmetic on tolerances."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.converters.graph.builder import DOUBLE, FLOAT, INT64, Graph

Floats = NDArray[np.float64]
EPSILON = float(np.finfo(np.float32).eps)
# Rounding error of one addition for each tree: leaves rounded to float32, and each partial sum.
SUMMATION = 8 * EPSILON
# Rounding error of a link: a few float32 operations, including the last rounding.
ROUNDING = 8 * EPSILON
TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Emitted:
    """Tensor names: `label` [rows] and `probabilities` [rows, classes], or `prediction` [rows, targets]."""

    label: str = ""
    probabilities: str = ""
    prediction: str = ""


@dataclass(frozen=True)
class Link:
    """A function of the margins [rows, groups] that keeps their shape."""

    emit: Callable[[Graph, str], str]
    apply: Callable[[Floats], Floats]
    # How far answers change when margins change by up to `lost`: (answers, lost) -> change. None: each answer is a
    # monotone function of its own margin, so the answers at both ends bound the change.
    moved: Callable[[Floats, Floats], Floats] | None = None
    transforms: bool = True  # False: the answers are the margins

    def tolerance(self, margins: Floats, lost: Floats) -> Floats:
        """How far answers may differ if their margins differ by up to `lost`; both of the shape of `margins`."""
        with np.errstate(all="ignore"):
            exact = self.apply(margins)
            if self.moved is not None:
                moved = self.moved(exact, lost)
            else:
                ends = (np.abs(self.apply(margins + side * lost) - exact) for side in (1, -1))
                moved = np.maximum(*ends)
            rounding = ROUNDING * np.abs(exact) + TINY
        # If a finite margin overflows, the compiled model overflows to the same infinity.
        return np.where(np.isfinite(moved), moved, 0.0) + np.where(np.isfinite(rounding), rounding, 0.0)


def identity() -> Link:
    return Link(lambda _, margin: margin, lambda margin: margin, transforms=False)


def exponential() -> Link:
    return Link(lambda graph, margin: graph.add("Exp", margin), np.exp)


def sigmoid(scale: float = 1.0) -> Link:
    """1 / (1 + exp(-scale * margin)), as both libraries compute it: ONNX's own Sigmoid saturates at 18."""

    def emit(graph: Graph, margin: str) -> str:
        negative = graph.add("Mul", margin, graph.float32(-scale))
        return graph.add("Reciprocal", graph.add("Add", graph.add("Exp", negative), graph.float32(1.0)))

    return Link(emit, lambda margin: 1.0 / (1.0 + np.exp(-scale * margin)))


def signed_square() -> Link:
    """Sign(m) * m * m, which undoes the square root of `reg_sqrt`."""
    return Link(
        lambda graph, margin: graph.add("Mul", margin, graph.add("Abs", margin)),
        lambda margin: margin * np.abs(margin),
    )


# Beyond it exp overflows float64.
EXPONENT_MAX = 709.782712893384


def softplus(*, overflows: bool = False) -> Link:
    """Log(1 + exp(m)), in float64, with log(1 + u) = u - u²/2 for the smallest u.

    ONNX Runtime's own Softplus differs with the batch and loses small answers, and its Relu differs with the batch on
    NaN. `overflows`: infinity where exp alone overflows, for libraries that compute it as log(1 + exp(m)).
    """

    def emit(graph: Graph, margin: str) -> str:
        zero, one, half, small = (graph.constant(np.array(number)) for number in (0.0, 1.0, 0.5, 1e-6))
        wide = graph.cast(margin, DOUBLE)
        power = graph.add("Exp", graph.add("Neg", graph.add("Abs", wide)))
        series = graph.add("Mul", power, graph.add("Sub", one, graph.add("Mul", power, half)))
        log = graph.add("Log", graph.add("Add", power, one))
        soft = graph.add("Where", graph.add("Less", power, small), series, log)
        total = graph.add("Add", graph.add("Where", graph.add("Greater", wide, zero), wide, zero), soft)
        if overflows:
            above = graph.add("Greater", wide, graph.constant(np.array(EXPONENT_MAX)))
            total = graph.add("Where", above, graph.constant(np.array(np.inf)), total)
        # A constant NaN: the bits of the NaN that Log returns depend on the batch.
        total = graph.add("Where", graph.add("IsNaN", wide), graph.constant(np.array(np.nan)), total)
        return graph.cast(total, FLOAT)

    def apply(margin: Floats) -> Floats:
        return np.asarray(np.log1p(np.exp(margin)) if overflows else np.logaddexp(0.0, margin))

    return Link(emit, apply)


def softmax() -> Link:
    def apply(margin: Floats) -> Floats:
        powers = np.exp(margin - margin.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def moved(answers: Floats, lost: Floats) -> Floats:
        """Each factor changes by up to e^lost, and so does their sum."""
        return np.asarray(answers * np.expm1(2 * lost.max(axis=1, keepdims=True)))

    return Link(lambda graph, margin: graph.add("Softmax", margin, axis=1), apply, moved)


def ascending(groups: int) -> Link:
    """Each row's margins sorted: quantiles that do not cross."""

    def emit(graph: Graph, margin: str) -> str:
        return graph.add_many("TopK", margin, graph.int64(groups), outputs=2, axis=1, largest=0, sorted=1)[0]

    def moved(answers: Floats, lost: Floats) -> Floats:
        return np.asarray(np.broadcast_to(lost.max(axis=1, keepdims=True), answers.shape))

    return Link(emit, lambda margin: np.sort(margin, axis=1), moved)


# The least distance that XGBoost keeps between neighbouring expectiles.
EXPECTILE_GAP = 1e-6


def increments(groups: int) -> Link:
    """The first margin, then cumulative sums of the softplus of the others: expectiles that do not cross."""
    soft = softplus()

    def emit(graph: Graph, margin: str) -> str:
        steps = graph.add("Add", soft.emit(graph, margin), graph.float32(EXPECTILE_GAP))
        answers = [graph.columns(margin, [0])]
        answers.extend(graph.add("Add", answers[-1], graph.columns(steps, [group])) for group in range(1, groups))
        return graph.concat(answers)

    def apply(margin: Floats) -> Floats:
        steps = soft.apply(margin[:, 1:]) + EXPECTILE_GAP
        return np.asarray(np.cumsum(np.concatenate([margin[:, :1], steps], axis=1), axis=1))

    def moved(answers: Floats, lost: Floats) -> Floats:
        largest = np.abs(answers).max(axis=1, keepdims=True)
        return np.asarray(np.cumsum(lost, axis=1) + groups * ROUNDING * largest)

    return Link(emit, apply, moved)


def step() -> Link:
    """1 above zero, else 0: the hinge loss's class."""

    def emit(graph: Graph, margin: str) -> str:
        return graph.cast(graph.add("Greater", margin, graph.float32(0.0)), FLOAT)

    return Link(emit, lambda margin: (margin > 0).astype(np.float64))


def in_float32(answers: Floats) -> Floats:
    """Answers rounded to what an FP32 output can hold."""
    with np.errstate(over="ignore"):
        return answers.astype(np.float32).astype(np.float64)


def two_columns(graph: Graph, positive: str) -> str:
    """[1 - p, p] of a [rows, 1] tensor p."""
    return graph.concat([graph.add("Sub", graph.float32(1.0), positive), positive])


def label(graph: Graph, index: str, classes: tuple[int, ...] | tuple[str, ...]) -> str:
    """The class at each int64 index, [rows]."""
    if classes == tuple(range(len(classes))):
        return index
    kind: Any = np.int64 if isinstance(classes[0], int) else np.str_
    return graph.add("Gather", graph.constant(np.array(classes, dtype=kind)), index)


def above_half(graph: Graph, positive: str) -> str:
    """The index 1 where a [rows, 1] probability is above a half, else 0; int64 [rows]."""
    flat = graph.add("Reshape", positive, graph.int64(-1))
    return graph.cast(graph.add("Greater", flat, graph.float32(0.5)), INT64)


def largest(graph: Graph, scores: str, *, nan_wins: bool = False) -> str:
    """The first index of each row's largest score; int64 [rows]. `nan_wins`: NaN is the largest, as NumPy has it."""
    if nan_wins:
        scores = graph.add("Where", graph.add("IsNaN", scores), graph.float32(float("inf")), scores)
    return graph.add("ArgMax", scores, axis=1, keepdims=0)
