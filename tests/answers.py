"""Rows for the tests' models, and the answers those give outside of any server."""

import struct
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

FEATURES = 30
CONTRACTS = ("monthly", "yearly")
CITIES = ("Köln", "Bonn", "Ulm")
Arrays = Mapping[str, NDArray[Any]]


def number_rows(count: int, seed: int = 1) -> NDArray[np.float32]:
    """Rows for the model `numbers`, float32 [count, 30]."""
    return np.random.default_rng(seed).normal(size=(count, FEATURES)).astype(np.float32)


def churn_rows(count: int, seed: int = 1) -> dict[str, NDArray[Any]]:
    """Rows for the model `churn`: one [count, 1] array per column, strings as objects."""
    rng = np.random.default_rng(seed)
    return {
        "contract": rng.choice(CONTRACTS, (count, 1)).astype(object),
        "city": rng.choice([*CITIES, "", "東京"], (count, 1)).astype(object),
        "charges": rng.gamma(2, 30, (count, 1)).round(2),
        "tenure": rng.integers(0, 72, (count, 1)),
    }


def encode_strings(array: NDArray[Any]) -> bytes:
    """Raw contents of a BYTES tensor: each element a little-endian uint32 length and its UTF-8 bytes."""
    elements = [str(element).encode() for element in array.ravel()]
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


class Answers:
    """What ONNX Runtime says about rows with nothing around it, configured as a server must configure it."""

    def __init__(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    @cached_property
    def names(self) -> list[str]:
        return [output.name for output in self._session.get_outputs()]

    def __call__(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        return dict(zip(self.names, self._session.run(None, dict(feeds)), strict=True))
