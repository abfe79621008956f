"""Converts a trained model to a package: finds its family, compiles it, proves it equal, and writes the manifest."""

import importlib
import importlib.metadata
import importlib.util
import sys
from datetime import UTC, datetime
from typing import Any

import onnx
import pandas as pd

from onnxpress.converters import sample as samples
from onnxpress.converters.family import Family, Schema, Subject
from onnxpress.converters.float32_check import decisions_changed
from onnxpress.converters.gate.parity import Proof, prove
from onnxpress.converters.gate.splits import tree_size
from onnxpress.converters.profile import profile_of
from onnxpress.converters.progress import Progress, Step, silent
from onnxpress.packages.errors import ConversionRefused
from onnxpress.packages.package import Package
from onnxpress.packages.write import check_name
from onnxpress.protos.package_pb2 import Feature, Layout, Manifest, Source, Tensor

# Modules whose FAMILY objects are tried in this order: scikit-learn's would also claim the boosters' wrappers.
# They are imported lazily: importing onnxpress loads no framework.
FAMILIES = (
    "onnxpress.converters.from_xgboost.family",
    "onnxpress.converters.from_lightgbm.family",
    "onnxpress.converters.from_sklearn.family",
    "onnxpress.converters.from_onnx",
)
LAYOUTS = ("auto", "matrix", "columns")
FORMAT = 1
UNFORESEEN = "unexpected error"
# Distribution -> module: the manifest lists those whose module is loaded.
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
    progress: Progress = silent,
) -> Package:
    """Compiles `model`, proves that the compiled model answers as the original does, and packs both with the proof.

    `sample` is a 2-D array or a DataFrame of training rows; `layout` is auto, matrix or columns; `digest` is the
    SHA-256 of the file the model came from; `progress` is called with a `Step` at each stage and after each block of
    rows, in the calling thread. Raises ConversionRefused for whatever cannot be proved exact.
    """
    check_name(name)
    if layout not in LAYOUTS:
        raise ConversionRefused(f"{layout!r} is not a layout: choose one of {', '.join(LAYOUTS)}")
    family = family_of(model)
    frame = samples.frame_of(sample)
    source = Source(framework=family.name, estimator=type(model).__name__, digest=digest)
    try:
        return _converted(family, model, frame, name=name, layout=layout, source=source, progress=progress)
    except ConversionRefused:
        raise
    except Exception as surprise:  # a model in an unexpected state is refused too, with the trace as the cause
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
    progress: Progress,
) -> Package:
    progress(Step("reading", f"reading {source.estimator} ({family.name})"))
    subject, rows = _opened(family, model, frame, layout)
    schema = subject.schema
    progress(Step("compiling", "compiling"))
    compiled = subject.compile()
    progress(Step("proving", "proving: comparing the original and the compiled model on the same rows"))
    proof = prove(subject, rows=rows, compiled=compiled, progress=progress)
    proof.check()
    return Package(
        onnx=compiled.SerializeToString(),
        manifest=_manifest(name, source, schema, compiled, proof),
        profile=profile_of(samples.sent(rows, schema), schema, proof.answers),
        parity=proof.report,
        golden=proof.golden,
        forest=proof.forest,
    )


def _opened(family: Family, model: Any, frame: pd.DataFrame, layout: str) -> tuple[Subject, pd.DataFrame]:
    """The opened model and the typed rows; `auto` means columns where float32 would change a decision on the sample."""
    subject = family.open(model, frame, layout)
    rows = _rows(frame, subject.schema)
    if layout == "auto" and subject.schema.layout == Layout.MATRIX and decisions_changed(subject, rows):
        try:
            wide = family.open(model, frame, "columns")
        except ConversionRefused:
            return subject, rows
        return wide, _rows(frame, wide.schema)
    return subject, rows


def _rows(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    return samples.typed(samples.select(frame, [column.name for column in schema.columns]), schema)


def family_of(model: Any) -> Family:
    """The family that claims `model`; raises ConversionRefused when none does."""
    for module in FAMILIES:
        family: Family = importlib.import_module(module).FAMILY
        if family.claims(model):
            return family
    kind = type(model)
    raise ConversionRefused(
        f"{kind.__module__}.{kind.__qualname__} is not a supported model: "
        "give a scikit-learn, XGBoost or LightGBM model, or an ONNX one"
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
    """BYTES or INT64; the empty string for models other than classifiers."""
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
