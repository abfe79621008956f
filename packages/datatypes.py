"""The datatypes of the Open Inference Protocol, with their names and types in numpy, ONNX and Triton."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Datatype:
    """One datatype of the protocol.

    name: in requests and manifests. dtype: of its arrays, little-endian like raw contents; a BYTES element is a uint32
    length and its bytes on the wire, and a Python string in an array, so it has no fixed size.
    element_type: TensorProto.DataType of ONNX. tensor_type: ONNX Runtime's name. config_name: inference.DataType
    of Triton's ModelConfig. contents_field: of InferTensorContents; None where only raw contents can carry it.
    """

    name: str
    dtype: np.dtype[Any]
    element_type: int
    tensor_type: str
    config_name: str
    contents_field: str | None


def _datatype(
    name: str, dtype: str, element_type: int, tensor_type: str, contents_field: str | None, config_name: str = ""
) -> Datatype:
    return Datatype(
        name, np.dtype(dtype), element_type, f"tensor({tensor_type})", config_name or f"TYPE_{name}", contents_field
    )


# By name. Element types: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, enum TensorProto.DataType.
DATATYPES: dict[str, Datatype] = {
    datatype.name: datatype
    for datatype in (
        _datatype("BOOL", "?", 9, "bool", "bool_contents"),
        _datatype("UINT8", "u1", 2, "uint8", "uint_contents"),
        _datatype("UINT16", "<u2", 4, "uint16", "uint_contents"),
        _datatype("UINT32", "<u4", 12, "uint32", "uint_contents"),
        _datatype("UINT64", "<u8", 13, "uint64", "uint64_contents"),
        _datatype("INT8", "i1", 3, "int8", "int_contents"),
        _datatype("INT16", "<i2", 5, "int16", "int_contents"),
        _datatype("INT32", "<i4", 6, "int32", "int_contents"),
        _datatype("INT64", "<i8", 7, "int64", "int64_contents"),
        _datatype("FP16", "<f2", 10, "float16", None),
        _datatype("FP32", "<f4", 1, "float", "fp32_contents"),
        _datatype("FP64", "<f8", 11, "double", "fp64_contents"),
        _datatype("BYTES", "O", 8, "string", "bytes_contents", "TYPE_STRING"),
    )
}
BY_TENSOR_TYPE = {datatype.tensor_type: datatype for datatype in DATATYPES.values()}
# The datatypes of columns of training rows, and so of the inputs that a conversion makes.
COLUMN_DATATYPES = ("FP32", "FP64", "INT64", "BOOL", "BYTES")
