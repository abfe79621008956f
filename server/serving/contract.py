"""Refuses requests with values that the original model refuses, naming column and value."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxpress.protos.package_pb2 import Layout, Manifest
from onnxpress.server.errors import InvalidRequestError
from onnxpress.server.serving.tensors import Flat, TensorSpec

SHOWN_MAX = 10


@dataclass(frozen=True)
class Column:
    """One checked column: its place in the request and its accepted values."""

    name: str
    spec: TensorSpec
    tensor: int  # index of the input
    offset: int  # of the column inside the input's rows
    accepts: tuple[str, ...]

    def check(self, flat: Flat) -> None:
        """Checks one input. Raises InvalidRequestError."""
        if isinstance(flat, list):
            refused = next(
                (value for value in flat[self.offset :: self.spec.row_elements] if value not in self.accepts), None
            )
        else:
            values = np.frombuffer(flat, self.spec.dtype)[self.offset :: self.spec.row_elements]
            wrong = values[~np.isin(values, np.array(self.accepts, np.float64))]
            refused = wrong[0] if len(wrong) else None
        if refused is not None:
            some = ", ".join(map(repr, self.accepts[:SHOWN_MAX])) + (", …" if len(self.accepts) > SHOWN_MAX else "")
            raise InvalidRequestError(
                f"column {self.name!r} has the value {str(refused)[:64]!r}, expected one of {some}"
            )


@dataclass(frozen=True)
class Contract:
    """The checked columns of a version, which most versions have none of, and the column names of a matrix input."""

    columns: tuple[Column, ...] = ()
    features: tuple[str, ...] = ()  # names of a matrix input's columns in order; ModelMetadata has no field for them

    def check(self, tensors: Sequence[Flat]) -> None:
        """Raises InvalidRequestError if there is a value that the original model refuses."""
        for column in self.columns:
            column.check(tensors[column.tensor])


def read_contract(manifest: Manifest, inputs: Sequence[TensorSpec]) -> Contract:
    """The contract in a manifest, for the inputs of its model."""
    places = {spec.name: index for index, spec in enumerate(inputs)}
    columns = []
    for position, feature in enumerate(manifest.features):
        if not feature.accepts:
            continue
        tensor = places.get(feature.name, 0)
        offset = 0 if feature.name in places else position
        columns.append(Column(feature.name, inputs[tensor], tensor, offset, tuple(feature.accepts)))
    features = [feature.name for feature in manifest.features] if manifest.layout == Layout.MATRIX else []
    return Contract(tuple(columns), tuple(features))
