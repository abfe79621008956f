"""Checks every response: header, shapes, values, golden rows, and equal bits for equal rows."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from numpy.typing import NDArray

from onnxpress.loadtests.workload.payloads import Payload
from onnxpress.packages.datatypes import DATATYPES
from onnxpress.packages.golden import Golden
from onnxpress.packages.names import is_version
from onnxpress.packages.package import Package
from onnxpress.protos.inference_pb2 import ModelInferResponse
from onnxpress.protos.package_pb2 import Task

SUM_TOLERANCE = 1e-4  # float32 probabilities of many classes
KNOWN_MAX = 8  # right answers remembered per payload: one for each version that may serve


class Outcome(IntEnum):
    """The outcome of one request."""

    OK = 0  # answered, and the answer is right
    REFUSED = 1  # RESOURCE_EXHAUSTED with a time to retry after
    RUDE = 2  # RESOURCE_EXHAUSTED without one
    WRONG = 3  # answered, and the answer fails a check
    DEADLINE = 4  # no answer within the deadline
    UNAVAILABLE = 5  # UNAVAILABLE or CANCELLED: the connection or the version is gone
    ERROR = 6  # any other status
    UNSENT = 7  # not sent, because the generator had too many calls in flight


ERRORS = (Outcome.RUDE, Outcome.WRONG, Outcome.DEADLINE, Outcome.UNAVAILABLE, Outcome.ERROR, Outcome.UNSENT)


class Examiner:
    """Checks answers to one class of payloads.

    A response that equals an earlier right one byte for byte is right without further checks. The same rows must get
    the same bits in any batch, so a response that differs from the earlier one is wrong.
    """

    def __init__(self, packages: Sequence[Package], payloads: Sequence[Payload]) -> None:
        self._package = packages[0]
        self._payloads = payloads
        self._known: list[dict[bytes, int]] = [{} for _ in payloads]
        self._bits: dict[tuple[int, int], tuple[bytes, ...]] = {}
        self._width = len(self._package.manifest.classes)

    def __repr__(self) -> str:
        return f"Examiner({self._package.model}, {len(self._payloads)} payloads, {len(self._bits)} answers known)"

    def examine(self, index: int, body: bytes) -> tuple[int, str]:
        """(version that answered payload `index`, or 0; what is wrong with the answer; empty: it is right)."""
        known = self._known[index]
        version = known.get(body, 0)
        if version:
            return version, ""
        try:
            response = ModelInferResponse.FromString(body)
        except DecodeError:
            return 0, "the response is not a ModelInferResponse"
        if not is_version(response.model_version):
            return 0, f"the answer names version {response.model_version!r}"
        version = int(response.model_version)
        problem = self._problem(index, version, response)
        if not problem and len(known) < KNOWN_MAX:
            known[body] = version
        return version, problem

    def _problem(self, index: int, version: int, response: ModelInferResponse) -> str:
        payload = self._payloads[index]
        problem = self._header_problem(response)
        if problem:
            return problem
        values: dict[str, NDArray[Any]] = {}
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True):
            problem, decoded = decode(list(output.shape), output.datatype, content)
            problem = problem or self._shape_problem(output.name, list(output.shape), payload.rows)
            if problem:
                return f"output {output.name}: {problem}"
            values[output.name] = decoded
        problem = self._value_problem(values) or golden_problem(
            values, payload.expected.get(version), self._package.manifest.classes
        )
        if problem:
            return problem
        names = [output.name for output in response.outputs]
        bits = tuple(content for _, content in sorted(zip(names, response.raw_output_contents, strict=True)))
        same = self._bits.setdefault((index, version), bits) == bits
        return "" if same else f"version {version} answered the same rows with other bits than before"

    def _header_problem(self, response: ModelInferResponse) -> str:
        if response.model_name != self._package.model:
            return f"the answer is of model {response.model_name!r}, the request was for {self._package.model!r}"
        expected = [tensor.name for tensor in self._package.manifest.outputs]
        got = [output.name for output in response.outputs]
        if sorted(got) != sorted(expected):
            return f"outputs {got}, expected {expected}"
        if len(response.raw_output_contents) != len(response.outputs):
            return f"{len(response.raw_output_contents)} raw contents for {len(response.outputs)} outputs"
        return ""

    def _shape_problem(self, name: str, shape: list[int], rows: int) -> str:
        declared = next(tensor for tensor in self._package.manifest.outputs if tensor.name == name)
        wanted = [rows if size == -1 else size for size in declared.shape] or [rows]
        return "" if shape == wanted else f"shape {shape}, expected {wanted}"

    def _value_problem(self, values: Mapping[str, NDArray[Any]]) -> str:
        if self._package.manifest.task != Task.CLASSIFIER:
            unbounded = [name for name, numbers in values.items() if not np.all(np.isfinite(numbers))]
            return f"output {unbounded[0]}: not a finite number" if unbounded else ""
        classes = set(self._package.manifest.classes)
        unknown = {str(label) for label in values["label"].tolist()} - classes if "label" in values else set()
        if unknown:
            return f"label {min(unknown)!r} is not a class of the model"
        probabilities = values.get("probabilities")
        if probabilities is None:
            return ""
        if not np.all((probabilities >= -SUM_TOLERANCE) & (probabilities <= 1 + SUM_TOLERANCE)):
            return "a probability is not between 0 and 1"
        worst = float(np.max(np.abs(probabilities.astype(np.float64).sum(axis=1) - 1)))
        return f"probabilities of a row sum to 1 ± {worst:.3g}" if worst > SUM_TOLERANCE else ""


def decode(shape: list[int], datatype: str, content: bytes) -> tuple[str, NDArray[Any]]:
    """(what is wrong with the raw contents, empty: nothing; the values in `shape`)."""
    nothing: NDArray[Any] = np.empty(0)
    count = int(np.prod(shape)) if shape else 0
    if datatype == "BYTES":
        texts: list[str] = []
        at = 0
        while at + 4 <= len(content):
            size = int.from_bytes(content[at : at + 4], "little")
            texts.append(content[at + 4 : at + 4 + size].decode(errors="replace"))
            at += 4 + size
        if at != len(content) or len(texts) != count:
            return f"{len(texts)} BYTES elements in {len(content)} bytes, expected {count}", nothing
        return "", np.array(texts, dtype=object).reshape(shape)
    if datatype not in DATATYPES:
        return f"datatype {datatype!r}", nothing
    wanted = count * DATATYPES[datatype].dtype.itemsize
    if len(content) != wanted:
        return f"{len(content)} bytes, expected {wanted}", nothing
    return "", np.frombuffer(content, DATATYPES[datatype].dtype).reshape(shape)


def golden_problem(values: Mapping[str, NDArray[Any]], expected: Golden | None, classes: Sequence[str]) -> str:
    """How the first row differs from the original model's answer; empty: it does not."""
    if expected is None:
        return ""
    found = expected.first_difference({name: array[:1] for name, array in values.items()}, classes)
    return (
        f"{found.output} of a golden row is {found.answer}, the original model's is {found.original}" if found else ""
    )


def polite(trailers: Sequence[tuple[str, str | bytes]] | None) -> bool:
    """Whether a refusal has a google.rpc.RetryInfo with a delay in its status details."""
    details = dict(trailers or ()).get("grpc-status-details-bin", b"")
    status, info = Status(), RetryInfo()
    try:
        status.ParseFromString(details if isinstance(details, bytes) else details.encode())
        found = any(detail.Unpack(info) for detail in status.details)
    except DecodeError:
        return False
    return found and (info.retry_delay.seconds > 0 or info.retry_delay.nanos > 0)


def outcome_of(code: str, trailers: Sequence[tuple[str, str | bytes]] | None) -> Outcome:
    """The outcome of a call that failed with the status code of that name."""
    if code == "RESOURCE_EXHAUSTED":
        return Outcome.REFUSED if polite(trailers) else Outcome.RUDE
    return {
        "DEADLINE_EXCEEDED": Outcome.DEADLINE,
        "UNAVAILABLE": Outcome.UNAVAILABLE,
        "CANCELLED": Outcome.UNAVAILABLE,
    }.get(code, Outcome.ERROR)
