"""From a trained model to a package: find its family, compile, prove, describe."""

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import onnx
import pandas as pd

from onnxpress.converters import sample as samples
from onnxpress.converters.family import (
    Family,
    Schema,
)
from onnxpress.converters.float32_check import decisions_changed
from onnxpress.converters.gate.parity import Proof, prove
from onnxpress.converters.gate.splits import tree_size
from onnxpress.converters.profile import profile_of
from onnxpress.packages.errors import ConversionRefused
from onnxpress.packages.write import Package, check_name
from onnxpress.protos.package_pb2 import Feature, Layout, Manifest, Source, Tensor

FAMILIES = ("from_xgboost.family", "from_lightgbm.family", "from_sklearn.family", "from_onnx")
LAYOUTS = ("auto", "matrix", "columns")
FORMAT = 1
UNFORESEEN = "something in it was not foreseen"
# Distribution -> module: those that are loaded took part.
LIBRARIES = {
    "lightgbm": "lightgbm",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxmltools": "onnxmltools",
    "onnxpress": "onnxpress",
    "onnxruntime": "onnxruntime",
    "pandas": "pandas",
    "scikit-learn": "sklearn",
    "skl2onnx": "skl2onnx",
    "xgboost": "xgboost",
    "xgboost-cpu": "xgboost",
}


def convert(
    model: Any,
    sample: Any,
    *,
    name: str,
    layout: str = "auto",
    digest: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> Package:
    """Compiles `model`, proves that the copy answers as the original does, and packs the copy with the proof.

    `sample` is a 2-D array or a DataFrame of training rows; `layout` is auto, matrix or columns; `digest` is the
    SHA-256 of the file the model came from; `progress` is told each step. Raises ConversionRefused for whatever cannot
    be proved exact.
    """
    check_name(name)
    if layout not in LAYOUTS:
        raise ConversionRefused(f"there is no layout {layout!r}: choose one of {', '.join(LAYOUTS)}")
    family = family_of(model)
    frame = samples.frame_of(sample)
    source = Source(framework=family.name, estimator=type(model).__name__, digest=digest)
    try:
        return _converted(family, model, frame, name=name, layout=layout, source=source, progress=progress)
    except ConversionRefused:
        raise
    except Exception as surprise:  # a model in a state that nobody foresaw is refused as well, with its trace behind it
        reason = f"{type(surprise).__name__}: {surprise}".splitlines()[0]
        raise ConversionRefused(f"{source.estimator}: {UNFORESEEN} ({reason}). Please report it") from surprise


def _converted(
    family: Family,
    model: Any,
    frame: pd.DataFrame,
    *,
    name: str,
    layout: str,
    source: Source,
    progress: Callable[[str], None],
) -> Package:
    progress(f"reading {source.estimator} ({family.name})")
    schema, rows = _described(family, model, frame, layout)
    progress("compiling")
    compiled = family.compile(model, schema)
    progress("proving: the same rows to the original and to the compiled model")
    proof = prove(family, model, schema, rows=rows, compiled=compiled, progress=progress)
    proof.check()
    return Package(
        onnx=compiled.SerializeToString(),
        manifest=_manifest(name, source, schema, compiled, proof),
        profile=profile_of(samples.sent(rows, schema), schema, proof.answers),
        parity=proof.report,
        golden=proof.golden,
    )


def _described(family: Family, model: Any, frame: pd.DataFrame, layout: str) -> tuple[Schema, pd.DataFrame]:
    """The schema and the typed rows; `auto` means columns where float32 would change a decision on the sample."""
    schema = family.describe(model, frame, layout)
    rows = _rows(frame, schema)
    if layout == "auto" and schema.layout == Layout.MATRIX and decisions_changed(family, model, schema, rows):
        try:
            wide = family.describe(model, frame, "columns")
        except ConversionRefused:
            return schema, rows
        return wide, _rows(frame, wide)
    return schema, rows


def _rows(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    return samples.typed(samples.select(frame, [column.name for column in schema.columns]), schema)


def family_of(model: Any) -> Family:
    """The family that claims `model`; raises ConversionRefused when none does."""
    for module in FAMILIES:
        if importlib.util.find_spec(f"onnxpress.converters.{module}") is None:
            continue
        family = cast("Family", importlib.import_module(f"onnxpress.converters.{module}").FAMILY)
        if family.claims(model):
            return family
    kind = type(model)
    raise ConversionRefused(
        f"{kind.__module__}.{kind.__qualname__} is no model that onnxpress knows: "
        "bring a scikit-learn, XGBoost or LightGBM model, or an ONNX one"
    )


def _manifest(name: str, source: Source, schema: Schema, compiled: onnx.ModelProto, proof: Proof) -> Manifest:
    manifest = Manifest(
        format=FORMAT,
        name=name,
        source=source,
        task=schema.task,
        layout=schema.layout,
        inputs=_inputs(schema),
        outputs=_outputs(schema),
        features=[
            Feature(name=c.name, datatype=c.datatype, accepts=c.accepts or proof.accepts.get(c.name, ()))
            for c in schema.columns
        ],
        classes=[str(value) for value in schema.classes],
        label_datatype=label_datatype(schema),
        opsets={opset.domain: opset.version for opset in compiled.opset_import},
        ir_version=compiled.ir_version,
        libraries=libraries(),
        exact_datatype=proof.exact_datatype,
        notes=[*schema.notes, *proof.notes],
    )
    manifest.trees, manifest.nodes = tree_size(compiled)
    manifest.created_at.FromDatetime(datetime.now(UTC))
    return manifest


def label_datatype(schema: Schema) -> str:
    """BYTES, INT64, or nothing for others than classifiers."""
    if not schema.classes:
        return ""
    return "BYTES" if isinstance(schema.classes[0], str) else "INT64"


def _inputs(schema: Schema) -> list[Tensor]:
    if schema.layout == Layout.MATRIX:
        return [Tensor(name="input", datatype="FP32", shape=[-1, len(schema.columns)])]
    return [Tensor(name=column.name, datatype=column.datatype, shape=[-1, 1]) for column in schema.columns]


def _outputs(schema: Schema) -> list[Tensor]:
    if not schema.classes:
        return [Tensor(name="prediction", datatype="FP32", shape=[-1, schema.targets])]
    return [
        Tensor(name="label", datatype=label_datatype(schema), shape=[-1]),
        Tensor(name="probabilities", datatype="FP32", shape=[-1, len(schema.classes)]),
    ]


def libraries() -> dict[str, str]:
    """Versions of the distributions whose modules are loaded."""
    found = {}
    for distribution, module in LIBRARIES.items():
        if module in sys.modules:
            try:
                found[distribution] = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
    return found
