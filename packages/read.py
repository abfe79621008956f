"""Reads a version's folder and verifies its digests."""

import os
from pathlib import Path
from typing import TypeVar

from google.protobuf import json_format, message

from onnxpress.packages.digests import check_contents
from onnxpress.packages.errors import RefusedPackageError
from onnxpress.packages.golden import Golden
from onnxpress.packages.graph import graphs
from onnxpress.packages.names import VERSION_RULE, is_version
from onnxpress.packages.package import (
    FOREST_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PARITY_FILE,
    PROFILE_FILE,
    Package,
)
from onnxpress.protos.onnx_graph_pb2 import GraphProto, ModelProto, TensorProto
from onnxpress.protos.package_pb2 import Manifest, ParityReport, Profile

FORMAT = 1
IR_VERSION_MAX = 13
NODES_MAX = 200_000
INITIALIZERS_MAX = 200_000
SUPPORTED = "ai.onnx and ai.onnx.ml"
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
MIB = 1024 * 1024
MODEL_MIB_MAX = 2048  # the largest protobuf message
M = TypeVar("M", bound=message.Message)


def load(path: str | os.PathLike[str], model_mib_max: int = MODEL_MIB_MAX) -> Package:
    """The package in a version's folder, such as models/churn/1, with its file digests verified.

    Raises RefusedPackageError saying which file is wrong and why, or that the folder is no version's.
    """
    folder = Path(path).resolve()
    if not is_version(folder.name):
        raise RefusedPackageError(f"{folder.name} is not {VERSION_RULE}, as a version's folder is named")
    return read_package(folder, folder.parent.name, int(folder.name), model_mib_max)


def read_package(folder: Path, model: str, version: int, model_mib_max: int) -> Package:
    """The package in `folder`, the folder of `version` of `model`.

    Raises RefusedPackageError saying which file is wrong and why, or that the manifest is of another model or version.
    """
    contents = {MODEL_FILE: _read(folder / MODEL_FILE, model_mib_max * MIB)}
    manifest = Manifest(name=model, version=version)
    if (folder / MANIFEST_FILE).exists():
        manifest = _read_manifest(folder)
        if (manifest.name, manifest.version) != (model, version):
            raise RefusedPackageError(
                f"{MANIFEST_FILE} is of version {manifest.version} of {manifest.name!r}, "
                f"but the package is in the folder of version {version} of {model!r}"
            )
        for name in manifest.files:
            if Path(name).name != name:
                raise RefusedPackageError(f"{MANIFEST_FILE} names a file outside its package")
            if name not in contents:
                contents[name] = _read(folder / name, model_mib_max * MIB)
        check_contents(manifest, contents)
    check_graph(contents[MODEL_FILE])
    return Package(
        onnx=contents[MODEL_FILE],
        manifest=manifest,
        profile=_parse(PROFILE_FILE, contents.get(PROFILE_FILE, b"{}"), Profile()),
        parity=_parse(PARITY_FILE, contents.get(PARITY_FILE, b"{}"), ParityReport()),
        golden=_read_golden(contents[GOLDEN_FILE]) if GOLDEN_FILE in contents else Golden({}, {}, {}),
        forest=contents.get(FOREST_FILE, b""),
        folder=folder,
    )


def _read(path: Path, bytes_max: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > bytes_max:
            raise RefusedPackageError(f"{path.name} has {size} bytes, more than the limit of {bytes_max}")
        return path.read_bytes()
    except OSError as error:
        raise RefusedPackageError(f"{path.name} cannot be read: {error.strerror}") from error


def _read_manifest(folder: Path) -> Manifest:
    manifest = _parse(MANIFEST_FILE, _read(folder / MANIFEST_FILE, MIB * 16), Manifest())
    if manifest.format != FORMAT:
        raise RefusedPackageError(f"{MANIFEST_FILE} has format {manifest.format}, this onnxpress reads {FORMAT}")
    if MODEL_FILE not in manifest.files:
        raise RefusedPackageError(f"{MANIFEST_FILE} names no digest of {MODEL_FILE}")
    return manifest


def _parse(name: str, raw: bytes, contract: M) -> M:
    try:
        return json_format.Parse(raw, contract, ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise RefusedPackageError(f"{name} cannot be parsed: {error}") from error


def _read_golden(raw: bytes) -> Golden:
    try:
        return Golden.from_bytes(raw)
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise RefusedPackageError(f"{GOLDEN_FILE} cannot be read: {error}") from error


def check_graph(onnx: bytes) -> ModelProto:
    """Refuses graphs that a server must not load: foreign operators, external data, oversize.

    Reads the ONNX IR without the onnx package, which a serving image does not carry.
    """
    try:
        model = ModelProto.FromString(onnx)
    except message.DecodeError as error:
        raise RefusedPackageError(f"{MODEL_FILE} is not an ONNX model") from error
    if not model.ir_version or not model.HasField("graph"):
        raise RefusedPackageError(f"{MODEL_FILE} is not an ONNX model: it has no graph")
    if model.ir_version > IR_VERSION_MAX:
        raise RefusedPackageError(
            f"{MODEL_FILE} has IR version {model.ir_version}, the newest known is {IR_VERSION_MAX}"
        )
    if model.functions:
        raise RefusedPackageError(f"local function {model.functions[0].name!r}: only operators of {SUPPORTED}")
    every = list(graphs(model.graph))
    nodes, initializers = sum(len(graph.node) for graph in every), sum(len(graph.initializer) for graph in every)
    if nodes > NODES_MAX or initializers > INITIALIZERS_MAX:
        raise RefusedPackageError(f"{nodes} nodes and {initializers} initializers, the limit is {NODES_MAX} of each")
    for graph in every:
        _check_nodes(graph)
    return model


def _check_nodes(graph: GraphProto) -> None:
    for tensor in graph.initializer:
        _refuse_external(tensor)
    for node in graph.node:
        if node.domain not in DOMAINS:
            raise RefusedPackageError(f"operator {node.op_type} of domain {node.domain!r}: only those of {SUPPORTED}")
        for attribute in node.attribute:
            for tensor in (attribute.t, *attribute.tensors):
                _refuse_external(tensor)


def _refuse_external(tensor: TensorProto) -> None:
    if tensor.data_location or tensor.external_data:
        raise RefusedPackageError("external data: a model is one file")
