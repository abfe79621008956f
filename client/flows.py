"""The calls that each method of the client makes, as generators without I/O that both clients run.

A flow yields a Call, is sent the response or thrown the CallError, and returns the result.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

import grpc

from onnxpress.client.connection import Call, Metadata
from onnxpress.client.errors import CallError, ClientError, InvalidRequestError, NotFoundError, RowsError
from onnxpress.client.results import DeployResult, InferResult, ModelStatus, deploy_result, model_status
from onnxpress.client.rows import fit
from onnxpress.client.signature import (
    Signature,
    Signatures,
    matrix_signature,
    read_features,
    read_inputs,
    wants_features,
)
from onnxpress.client.tensors import read_response, write_request
from onnxpress.packages.names import VERSION_RULE, is_version
from onnxpress.protos import admin_pb2, inference_pb2

# Of one request while the model's inputs keep changing, and of a call that only some replicas can answer.
ATTEMPTS_MAX = 5
PRIORITY_KEY, ROUTE_KEY = "x-onnxpress-priority", "route-key"
PRIORITIES = ("critical", "default", "sheddable")
T = TypeVar("T")


Flow = Generator[Call, Any, T]


@dataclass(frozen=True)
class Order:
    """The arguments of `infer`. until: the deadline of all its calls together, on the monotonic clock."""

    model: str
    rows: Any
    version: str
    outputs: tuple[str, ...]
    id: str
    until: float
    metadata: Metadata

    def call(self, method: str, request: Any) -> Call:
        return Call(method, request, max(0.0, self.until - monotonic()), self.metadata)


def order(
    model: str,
    rows: Any,
    version: int | None,
    *,
    outputs: Sequence[str],
    request_id: str,
    priority: str,
    route_key: str,
    timeout: float,
    metadata: Sequence[tuple[str, str]],
) -> Order:
    """Checks the arguments of `infer`. Raises ValueError for an impossible version or priority."""
    if version is not None and not is_version(str(version)):
        raise ValueError(f"version {version!r} is not {VERSION_RULE}")
    if priority and priority not in PRIORITIES:
        raise ValueError(f"priority {priority!r} is not one of {', '.join(PRIORITIES)}")
    named = ((PRIORITY_KEY, priority), (ROUTE_KEY, route_key))
    every = (*metadata, *((key, value) for key, value in named if value))
    text = "" if version is None else str(version)
    return Order(model, rows, text, tuple(outputs), request_id, monotonic() + timeout, every)


def infer(known: Signatures, asked: Order) -> Flow[InferResult]:
    """One request, which is sent again when the model's inputs have changed since they were cached.

    A matrix has no column names on the wire, so an answer to rows that were ordered by the names of one version counts
    only if the version that answered has the same order.
    """
    learned = known.get(asked.model, asked.version)
    fresh = learned is None
    for _ in range(ATTEMPTS_MAX):
        of, signature = learned or (yield from _learn(known, asked))
        try:
            arrays, ordered = fit(asked.rows, signature)
            request = write_request(asked.model, asked.version, asked.id, signature, arrays, asked.outputs)
            response = yield asked.call("ModelInfer", request)
        except (RowsError, InvalidRequestError):
            if fresh:
                raise
            learned, fresh = (yield from _learn(known, asked)), True
            if learned[1] == signature:
                raise
            continue
        version = response.model_version
        if not ordered or asked.version or version == of or (yield from _same_order(known, asked, version, signature)):
            return read_response(response)
        learned, fresh = known.get(asked.model, asked.version), True
    raise ClientError(f"the inputs of model {asked.model!r} changed {ATTEMPTS_MAX} times during one call")


def _learn(known: Signatures, asked: Order) -> Flow[tuple[str, Signature]]:
    """Fetches the inputs of the version that `asked` names, or of the live one; (that version or "", signature)."""
    request = inference_pb2.ModelMetadataRequest(name=asked.model, version=asked.version)
    metadata = yield asked.call("ModelMetadata", request)
    of, signature = asked.version, Signature(read_inputs(metadata))
    if wants_features(metadata):
        version, features = yield from _features(asked, asked.version)
        if features:
            of, signature = version, matrix_signature(signature.inputs, features)
    known.put(asked.model, asked.version, of, signature)
    return of, signature


def _same_order(known: Signatures, asked: Order, version: str, used: Signature) -> Flow[bool]:
    """Whether the version that answered takes the columns in the order in which they were sent."""
    learned = known.get(asked.model, version)
    if learned is None:
        for attempt in range(ATTEMPTS_MAX):
            try:
                _, features = yield from _features(asked, version)
            except NotFoundError:  # unloaded meanwhile, or the call went to a replica that has not loaded it
                if attempt == ATTEMPTS_MAX - 1:
                    known.forget(asked.model)
                    return False
            else:
                break
        learned = version, matrix_signature(used.inputs, features)
        known.put(asked.model, version, *learned)
    known.put(asked.model, "", *learned)
    return learned[1] == used


def _features(asked: Order, version: str) -> Flow[tuple[str, tuple[str, ...]]]:
    request = inference_pb2.ModelConfigRequest(name=asked.model, version=version)
    try:
        return read_features((yield asked.call("ModelConfig", request)).config)
    except CallError as error:
        if error.code is not grpc.StatusCode.UNIMPLEMENTED:
            raise
        return "", ()  # a server of the protocol other than onnxpress


def deploy(
    known: Signatures,
    model: str,
    version: int,
    reason: str,
    expected_epoch: int | None,
    timeout: float,
    *,
    allow_breaking: bool = False,
) -> Flow[DeployResult]:
    request = admin_pb2.DeployRequest(
        model=model,
        version=version,
        reason=reason,
        expected_epoch=expected_epoch,
        allow_breaking=allow_breaking,
    )
    done = yield Call("Deploy", request, timeout, admin=True)
    known.forget(model)
    return deploy_result(done)


def rollback(
    known: Signatures, model: str, reason: str, expected_epoch: int | None, timeout: float, *, dry_run: bool
) -> Flow[DeployResult]:
    request = admin_pb2.RollbackRequest(model=model, reason=reason, expected_epoch=expected_epoch, dry_run=dry_run)
    done = yield Call("Rollback", request, timeout, admin=True)
    known.forget(model)
    return deploy_result(done)


def status(model: str, timeout: float) -> Flow[list[ModelStatus]]:
    if model:
        request = admin_pb2.GetDeploymentRequest(model=model)
        return [model_status((yield Call("GetDeployment", request, timeout, admin=True)))]
    listed = yield Call("ListModels", admin_pb2.ListModelsRequest(), timeout, admin=True)
    return [model_status(one) for one in listed.models]
