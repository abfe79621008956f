"""The signature of a version: names, datatypes and shapes of its inputs and outputs."""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from onnxpress.packages.datatypes import DATATYPES

ANY = -1  # a variable dimension
LENGTH_BYTES = 4  # of the length before each BYTES element
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
        """Elements of one row; 0 if a dimension other than the first varies."""
        return 0 if ANY in self.shape[1:] else math.prod(self.shape[1:])

    @cached_property
    def stride(self) -> int:
        """Length of one row in a flat tensor: in bytes, or for BYTES in elements."""
        return self.row_elements * (1 if self.datatype == "BYTES" else self.dtype.itemsize)

    @cached_property
    def fixed(self) -> bool:
        """Whether all rows have the same number of bytes, and not 0."""
        return self.datatype != "BYTES" and self.stride > 0


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a version."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    alone: str = ""  # the reason why requests must not share runs although the shapes allow it; see independence.py

    @cached_property
    def batchable(self) -> bool:
        """Whether requests may share runs: the shapes allow it, and their rows are known to be independent."""
        return not self.alone and self.has_rows

    @cached_property
    def has_rows(self) -> bool:
        """Whether in every input and output the first dimension varies and no other does."""
        return bool(self.inputs) and all(
            spec.shape[:1] == (ANY,) and ANY not in spec.shape[1:] for spec in (*self.inputs, *self.outputs)
        )

    @cached_property
    def row_bytes(self) -> int:
        """The fewest bytes of one row of all inputs in `raw_input_contents`, that is with empty texts."""
        return sum(
            spec.row_elements * (LENGTH_BYTES if spec.datatype == "BYTES" else spec.dtype.itemsize)
            for spec in self.inputs
        )


@lru_cache(maxsize=SIGNATURES_MAX)
def interned(signature: Signature) -> Signature:
    """One object for all equal signatures, so that they can be compared by `is`."""
    return signature
