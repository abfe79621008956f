"""The gRPC status of each domain error: one table; a test checks that it is complete."""

import logging
import secrets
from functools import lru_cache

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from onnxpress.packages.errors import OnnxpressError, RefusedPackageError
from onnxpress.server import errors

STATUS: dict[type[OnnxpressError], grpc.StatusCode] = {
    errors.UsageError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnknownModelError: grpc.StatusCode.NOT_FOUND,
    errors.UnknownVersionError: grpc.StatusCode.NOT_FOUND,
    errors.NotReadyError: grpc.StatusCode.UNAVAILABLE,
    errors.InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooLargeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.ExpiredError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.DrainingError: grpc.StatusCode.UNAVAILABLE,
    errors.BrokenServerError: grpc.StatusCode.UNAVAILABLE,
    RefusedPackageError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.EpochConflictError: grpc.StatusCode.ABORTED,
    errors.NothingToRollBackError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.RolloutStateError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.BreakingVersionError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StateWriteError: grpc.StatusCode.UNAVAILABLE,
    errors.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.UnsupportedError: grpc.StatusCode.UNIMPLEMENTED,
}
PUSHBACK_KEY = "grpc-retry-pushback-ms"  # gRFC A6
Metadata = list[tuple[str, str | bytes]]

logger = logging.getLogger(__name__)


def code_of(error: BaseException) -> grpc.StatusCode:
    """The status code of an error, without logging it."""
    return STATUS.get(type(error), grpc.StatusCode.INTERNAL)  # type: ignore[arg-type]


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str, Metadata]:
    """Code, message and trailing metadata. Errors not in STATUS are INTERNAL with an id, logged with their trace."""
    code = code_of(error)
    if code is grpc.StatusCode.INTERNAL:
        error_id = secrets.token_hex(4)
        logger.error("internal error %s", error_id, exc_info=error, extra={"error_id": error_id})
        return code, f"internal error {error_id}", []
    if isinstance(error, errors.OverloadedError):
        return code, str(error), _retry(code, str(error), error.retry_ms)
    return code, str(error), []


@lru_cache(maxsize=1024)  # under overload thousands of callers get equal messages
def _retry(code: grpc.StatusCode, message: str, retry_ms: int) -> Metadata:
    """The retry delay, for clients that read google.rpc.RetryInfo and for gRPC's own retries (gRFC A6)."""
    info = AnyMessage()
    info.Pack(RetryInfo(retry_delay=Duration(seconds=retry_ms // 1000, nanos=retry_ms % 1000 * 1_000_000)))
    status = Status(code=code.value[0], message=message, details=[info])
    return [(PUSHBACK_KEY, str(retry_ms)), ("grpc-status-details-bin", status.SerializeToString())]
