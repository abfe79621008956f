"""Rows of a table as requests, and the answers of ONNX Runtime without a server."""

import os

# Wheels of ONNX Runtime 1.32 carry a telemetry uploader; the variable is read when it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from onnxpress.protos.inference_pb2 import ModelInferRequest

if TYPE_CHECKING:
    import pandas as pd

METHOD = "/inference.GRPCInferenceService/ModelInfer"
NUMBERS = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_}
_LENGTH = struct.Struct("<I")

Feed = dict[str, np.ndarray[Any, Any]]
Raw = tuple[bytes, ...]  # one element per output, as `raw_output_contents` has them


@dataclass(frozen=True)
class Column:
    """One input of the compiled model: FP32, FP64, INT64, BOOL or BYTES, [rows, 1]."""

    name: str
    datatype: str


def infer_of(channel: grpc.Channel) -> Callable[..., bytes]:
    """ModelInfer from bytes to bytes, so that the client's protobuf is not measured."""
    return channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)


def columns_of(package: Path) -> list[Column]:
    """The inputs of a package in `columns` layout, from its manifest."""
    manifest = json.loads((package / "manifest.json").read_text())
    return [Column(tensor["name"], tensor["datatype"]) for tensor in manifest["inputs"]]


def feeds(table: "pd.DataFrame", columns: list[Column]) -> list[Feed]:
    """Each row by itself, as inputs of ONNX Runtime."""
    arrays: Feed = {}
    for column in columns:
        values = table[column.name]
        cells = values.to_numpy(object) if column.datatype == "BYTES" else values.to_numpy(NUMBERS[column.datatype])
        arrays[column.name] = cells.reshape(-1, 1)
    return [{name: cells[row : row + 1] for name, cells in arrays.items()} for row in range(len(table))]


def request(model: str, rows: list[Feed], columns: list[Column]) -> bytes:
    """One ModelInfer request for all `rows`, without a version."""
    message = ModelInferRequest(model_name=model)
    for column in columns:
        tensor = message.inputs.add(name=column.name, datatype=column.datatype)
        tensor.shape.extend([len(rows), 1])
        message.raw_input_contents.append(b"".join(_raw(row[column.name]) for row in rows))
    return message.SerializeToString()


def _raw(cells: "np.ndarray[Any, Any]") -> bytes:
    if cells.dtype != object:
        return cells.tobytes()
    encoded = [str(cell).encode() for cell in cells.ravel()]
    return b"".join(_LENGTH.pack(len(text)) + text for text in encoded)


def offline(package: Path, rows: list[Feed]) -> list[Raw]:
    """The answers of the package's model to each row by itself: the bytes of every output."""
    import onnxruntime  # here, since load clients do not need it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        (package / "model.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    return [tuple(output.tobytes() for output in session.run(None, row)) for row in rows]


def together(answers: list[Raw]) -> Raw:
    """The answer to a request of several rows, joined from the answers to each."""
    return tuple(b"".join(parts) for parts in zip(*answers, strict=True))
