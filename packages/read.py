"""A version's folder on disk, read once and believed only after its digests hold."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format, message

from onnxpress.packages.errors import RefusedPackageError
from onnxpress.packages.golden import Golden
from onnxpress.packages.graph import graphs
from onnxpress.protos.onnx_graph_pb2 import GraphProto, ModelProto, TensorProto
from onnxpress.protos.package_pb2 import Manifest, ParityReport

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden.npz"
PARITY_FILE = "parity.json"
# Whose graphs our converters write; a model that came as ONNX is a stranger's, whatever package it lies in.
OUR_FRAMEWORKS = frozenset({"sklearn", "xgboost", "lightgbm"})
BATCHES = "B"  # the generator of parity.json that runs the same rows in other batches
FORMAT = 1
IR_VERSION_MAX = 13
NODES_MAX = 200_000
INITIALIZERS_MAX = 200_000
SUPPORTED = "ai.onnx and ai.onnx.ml"
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
MIB = 1024 * 1024


@dataclass(frozen=True)
class Package:
    """What was read from disk: these bytes were checked, these bytes are loaded."""

    model: str
    version: int
    onnx: bytes
    digest: str  # SHA-256 of onnx, hexadecimal
    manifest: Manifest | None  # None: a bare model.onnx, as Triton's users have them
    golden: Golden | None
    proved: bool = False  # our own converter's graph, whose rows gave the same bits in every batch


def read_package(folder: Path, model: str, version: int, model_mib_max: int) -> Package:
    """The version in `folder`, which is where `version` of `model` belongs.

    Raises RefusedPackageError saying which file is wrong and why, or that the manifest is of another model or version.
    """
    onnx = _read(folder / MODEL_FILE, model_mib_max * MIB)
    digest = hashlib.sha256(onnx).hexdigest()
    manifest, golden, proved = None, None, False
    if (folder / MANIFEST_FILE).exists():
        manifest = _read_manifest(folder)
        if (manifest.name, manifest.version) != (model, version):
            raise RefusedPackageError(
                f"{MANIFEST_FILE} is of version {manifest.version} of {manifest.name!r}, "
                f"but the package lies in the folder of version {version} of {model!r}"
            )
        contents = {MODEL_FILE: onnx}
        for name in manifest.files:
            if Path(name).name != name:
                raise RefusedPackageError(f"{MANIFEST_FILE} names a file outside its package")
            if name not in contents:
                contents[name] = _read(folder / name, model_mib_max * MIB)
        _check_digests(manifest, contents)
        if GOLDEN_FILE in contents:
            golden = _read_golden(contents[GOLDEN_FILE])
        if PARITY_FILE in contents:
            proved = manifest.source.framework in OUR_FRAMEWORKS and _proves_batches(contents[PARITY_FILE])
    check_graph(onnx)
    return Package(model, version, onnx, digest, manifest, golden, proved)


def _read(path: Path, bytes_max: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > bytes_max:
            raise RefusedPackageError(f"{path.name} has {size} bytes, more than the limit of {bytes_max}")
        return path.read_bytes()
    except OSError as error:
        raise RefusedPackageError(f"{path.name} cannot be read: {error.strerror}") from error


def _read_manifest(folder: Path) -> Manifest:
    raw = _read(folder / MANIFEST_FILE, MIB * 16)
    try:
        manifest = json_format.Parse(raw, Manifest(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise RefusedPackageError(f"{MANIFEST_FILE} is not a manifest: {error}") from error
    if manifest.format != FORMAT:
        raise RefusedPackageError(f"{MANIFEST_FILE} has format {manifest.format}, this server reads {FORMAT}")
    if MODEL_FILE not in manifest.files:
        raise RefusedPackageError(f"{MANIFEST_FILE} names no digest of {MODEL_FILE}")
    return manifest


def _check_digests(manifest: Manifest, contents: dict[str, bytes]) -> None:
    for name, file in manifest.files.items():
        found = hashlib.sha256(contents[name]).hexdigest()
        if found != file.sha256:
            raise RefusedPackageError(f"{name} has digest {found[:12]}…, the manifest says {file.sha256[:12]}…")


def _proves_batches(raw: bytes) -> bool:
    """Whether parity.json says that the model is exact, and that no row had other bits in another batch."""
    try:
        report = json_format.Parse(raw, ParityReport(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError):
        return False
    return report.exact and any(
        found.generator == BATCHES and found.rows > 0 and found.outside == 0 for found in report.generators
    )


def _read_golden(raw: bytes) -> Golden:
    try:
        return Golden.from_bytes(raw)
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise RefusedPackageError(f"{GOLDEN_FILE} cannot be read: {error}") from error


def check_graph(onnx: bytes) -> ModelProto:
    """Refuses what a server must not load: foreign operators, external data, oversize graphs.

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
