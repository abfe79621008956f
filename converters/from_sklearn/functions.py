"""Functions of single cells: FunctionTransformer with numpy's own functions, Binarizer, PowerTransformer."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import boxcox
from scipy.stats import yeojohnson
from sklearn.utils import check_array

from onnxpress.converters.from_sklearn.emission import Doubles, Emission, Registry, Value
from onnxpress.converters.from_sklearn.scalers import chained
from onnxpress.converters.graph.builder import DOUBLE

EMITTERS = Registry()

Emit = Callable[[Emission, str], str]


def log1p(g: Emission, x: str) -> str:
    """Kahan's log(1 + x): as accurate as the library's for small x, where adding 1 first would lose digits."""
    one = g.double(1.0)
    raised = g.add("Add", one, x)
    good = g.add("Mul", g.add("Log", raised), g.add("Div", x, g.add("Sub", raised, one)))
    unmoved = g.add("Or", g.add("Equal", raised, one), g.add("IsInf", x, detect_negative=0))
    return g.add("Where", unmoved, x, good)


def expm1(g: Emission, x: str) -> str:
    """Kahan's exp(x) - 1."""
    one = g.double(1.0)
    power = g.add("Exp", x)
    less = g.add("Sub", power, one)
    good = g.add("Mul", less, g.add("Div", x, g.add("Log", power)))
    far = g.add("Greater", g.add("Abs", x), g.double(0.5))
    return g.add("Where", g.add("Equal", power, one), x, g.add("Where", far, less, good))


def operator(name: str) -> Emit:
    """A function that is an ONNX operator."""
    return lambda g, x: g.add(name, x)


def scaled_log(base: float) -> Emit:
    return lambda g, x: g.add("Div", g.add("Log", x), g.double(np.log(base)))


def _arcsinh(g: Emission, x: str) -> str:
    """sign(x) * log1p(|x| + x^2 / (1 + sqrt(1 + x^2)))."""
    size, square, one = g.add("Abs", x), g.add("Mul", x, x), g.double(1.0)
    root = g.add("Add", one, g.add("Sqrt", g.add("Add", one, square)))
    return g.add("Mul", g.add("Sign", x), log1p(g, g.add("Add", size, g.add("Div", square, root))))


# numpy's function -> (its graph, whether it is monotone so that splits can be carried back through it).
FUNCTIONS: dict[Any, tuple[Emit, bool]] = {
    np.log1p: (log1p, True),
    np.expm1: (expm1, True),
    np.log: (operator("Log"), True),
    np.log2: (scaled_log(2.0), True),
    np.log10: (scaled_log(10.0), True),
    np.exp: (operator("Exp"), True),
    np.sqrt: (operator("Sqrt"), True),
    np.square: (lambda g, x: g.add("Mul", x, x), False),
    np.abs: (operator("Abs"), False),
    np.fabs: (operator("Abs"), False),
    np.negative: (operator("Neg"), True),
    np.reciprocal: (lambda g, x: g.add("Div", g.double(1.0), x), False),
    np.sign: (operator("Sign"), False),
    np.floor: (operator("Floor"), True),
    np.ceil: (operator("Ceil"), True),
    np.rint: (operator("Round"), True),
    np.tanh: (operator("Tanh"), True),
    np.sin: (operator("Sin"), False),
    np.cos: (operator("Cos"), False),
    np.arcsinh: (_arcsinh, True),
    np.deg2rad: (lambda g, x: g.add("Mul", x, g.double(np.pi / 180)), True),
    np.radians: (lambda g, x: g.add("Mul", x, g.double(np.pi / 180)), True),
}


# To the same bits in numpy and in the graph.
EXACT = {np.sqrt, np.negative, np.floor, np.ceil, np.rint, np.deg2rad, np.radians}


@EMITTERS.transformer("FunctionTransformer")
def function(g: Emission, model: Any, value: Value) -> Value:
    inner = getattr(model.func, "func", model.func)
    if inner is None or inner is check_array:  # the latter is how HistGradientBoosting passes numbers through
        return value
    tensor = called(g, model.func, model.kw_args, g.whole(value))
    return g.mapped(
        value, tensor, lambda _: model.func if FUNCTIONS[model.func][1] else None, exact=model.func in EXACT
    )


def called(g: Emission, function: Any, arguments: Any, tensor: str) -> str:
    """One of numpy's functions, or None, applied to each cell; any other is refused."""
    if function is None:
        return tensor
    known = FUNCTIONS.get(function) if callable(function) and getattr(function, "__hash__", None) else None
    if known is None or arguments:
        name = getattr(function, "__qualname__", None) or repr(function)
        raise g.refused(
            f"it calls the Python function {name}{' with arguments' if arguments else ''}, which a graph cannot "
            f"hold: use one of numpy's own ({', '.join(sorted({key.__name__ for key in FUNCTIONS}))}), "
            f"or compute the column before the model is called"
        )
    return known[0](g, tensor)


@EMITTERS.transformer("Binarizer", keeps_sparse=True)
def binarizer(g: Emission, model: Any, value: Value) -> Value:
    above = g.cast(g.add("Greater", g.whole(value), g.double(float(model.threshold))), DOUBLE)
    for origin in value.origins:
        g.split(origin, np.array([float(model.threshold)]))
    return g.opaque(above, value.width)


@EMITTERS.transformer("PowerTransformer")
def power(g: Emission, model: Any, value: Value) -> Value:
    """Yeo-Johnson or Box-Cox of each column, then scikit-learn's own StandardScaler."""
    emit = _yeo_johnson if model.method == "yeo-johnson" else _box_cox
    columns = []
    for index, exponent in enumerate(model.lambdas_):
        columns.append(emit(g, g.whole(g.take(value, [index])), float(exponent)))
    made = g.mapped(value, g.concat(columns), lambda index: _forward(model, index), exact=False)
    if not model.standardize:
        return made
    scaler = model._scaler  # noqa: SLF001 -- the only place of the fitted scaler
    return chained(g, made, [("Sub", scaler.mean_), ("Div", scaler.scale_)])


def _forward(model: Any, index: int) -> Callable[[Doubles], Doubles]:
    function = yeojohnson if model.method == "yeo-johnson" else boxcox
    return lambda values: np.asarray(function(values, model.lambdas_[index]))


def _yeo_johnson(g: Emission, x: str, exponent: float) -> str:
    zero, eps = g.double(0.0), float(np.finfo(np.float64).eps)
    right = g.add("Max", x, zero)
    left = g.add("Neg", g.add("Min", x, zero))
    above, below = log1p(g, right), log1p(g, left)
    above = above if abs(exponent) < eps else _scaled_expm1(g, above, exponent)
    below = below if abs(exponent - 2) < eps else _scaled_expm1(g, below, 2 - exponent)
    made = g.add("Where", g.add("GreaterOrEqual", x, zero), above, g.add("Neg", below))
    return g.add("Where", g.add("IsNaN", x), x, made)


def _scaled_expm1(g: Emission, x: str, exponent: float) -> str:
    """((1 + x)^e - 1) / e from log(1 + x)."""
    return g.add("Div", expm1(g, g.add("Mul", x, g.double(exponent))), g.double(exponent))


def _box_cox(g: Emission, x: str, exponent: float) -> str:
    """(x^e - 1) / e of x > 0; a smaller x is refused by the original."""
    positive = g.add("Where", g.add("Greater", x, g.double(0.0)), x, g.double(np.nan))
    logs = g.add("Log", positive)
    return logs if exponent == 0 else _scaled_expm1(g, logs, exponent)
