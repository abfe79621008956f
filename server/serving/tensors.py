"""The signature of a version: name, datatype and shape of what it takes and gives."""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from onnxpress.packages.datatypes import DATATYPES

ANY = -1  # a dimension that the caller chooses
LENGTH_BYTES = 4  # what precedes each BYTES element
SIGNATURES_MAX = 1024
# One input or output, flat and row-major: bytes, or for BYTES a list of elements.
Flat = Any


@dataclass(frozen=True)
class TensorSpec:
    """Name, datatype and shape of an input or output; the first dimension is the rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        return DATATYPES[self.datatype].dtype

    @cached_property
    def row_elements(self) -> int:
        """Elements of one row; 0 where a dimension varies."""
        return 0 if ANY in self.shape[1:] else math.prod(self.shape[1:])

    @cached_property
    def stride(self) -> int:
        """What one row takes in a flat tensor: bytes, or for BYTES elements of a list."""
        return self.row_elements * (1 if self.datatype == "BYTES" else self.dtype.itemsize)

    @cached_property
    def fixed(self) -> bool:
        """Whether every row takes the same number of bytes, and any."""
        return self.datatype != "BYTES" and self.stride > 0


@dataclass(frozen=True)
class Signature:
    """What a version takes and gives."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    alone: str = ""  # why requests must not share runs although the shapes allow it; see independence.py

    @cached_property
    def batchable(self) -> bool:
        """Whether requests may share a run: the number of rows is all that varies, in and out."""
        return not self.alone and self.has_rows

    @cached_property
    def has_rows(self) -> bool:
        """Whether the first dimension, and nothing else, varies in every input and output."""
        return bool(self.inputs) and all(
            spec.shape[:1] == (ANY,) and ANY not in spec.shape[1:] for spec in (*self.inputs, *self.outputs)
        )

    @cached_property
    def row_bytes(self) -> int:
        """The fewest bytes that one row of all inputs takes in `raw_input_contents`: texts may be empty."""
        return sum(
            spec.row_elements * (LENGTH_BYTES if spec.datatype == "BYTES" else spec.dtype.itemsize)
            for spec in self.inputs
        )


@lru_cache(maxsize=SIGNATURES_MAX)
def interned(signature: Signature) -> Signature:
    """One object for equal signatures, so that `is` compares them: versions of a model mostly have the same."""
    return signature
