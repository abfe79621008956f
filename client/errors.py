"""The exceptions of the client. All are ClientError; the gRPC error, where there was one, is the cause."""

from collections.abc import Sequence

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

DETAILS_KEY = "grpc-status-details-bin"


class ClientError(Exception):
    """The base class of the client's exceptions."""


class RowsError(ClientError, ValueError):
    """The rows do not fit the model's inputs; nothing was sent. The message names the column, expected and got."""


class CallError(ClientError):
    """The server refused a call, or could not be reached.

    code: the gRPC status. message: the details of the status. retry_after_s: seconds to wait before a retry, by the
    server's RetryInfo; None without one.
    """

    def __init__(self, code: grpc.StatusCode, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{message} ({code.name})")
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class InvalidRequestError(CallError):
    """INVALID_ARGUMENT: the request does not fit the model."""


class NotFoundError(CallError):
    """NOT_FOUND: no such model or version."""


class UnavailableError(CallError):
    """UNAVAILABLE: no server answers, or the server is stopping or still loading the version."""


class OverloadedError(CallError):
    """RESOURCE_EXHAUSTED: the request would have waited too long, or is larger than the server accepts."""


class DeadlineError(CallError):
    """DEADLINE_EXCEEDED: no answer within the timeout."""


class RefusedError(CallError):
    """FAILED_PRECONDITION: the version was refused, or there is no version to roll back to."""


class ConflictError(CallError):
    """ABORTED: the deployment's epoch is not the expected one, since another caller changed it."""


class AccessError(CallError):
    """UNAUTHENTICATED or PERMISSION_DENIED: an admin call without a valid token, or without the role that it needs."""


BY_CODE: dict[grpc.StatusCode, type[CallError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.FAILED_PRECONDITION: RefusedError,
    grpc.StatusCode.ABORTED: ConflictError,
    grpc.StatusCode.UNAUTHENTICATED: AccessError,
    grpc.StatusCode.PERMISSION_DENIED: AccessError,
}


def call_error(
    code: grpc.StatusCode, details: str | None, trailers: Sequence[tuple[str, str | bytes]] | None
) -> CallError:
    """The exception for the status that a call ended with."""
    return BY_CODE.get(code, CallError)(code, details or "no details", retry_after_s(trailers))


def retry_after_s(trailers: Sequence[tuple[str, str | bytes]] | None) -> float | None:
    """Seconds of the google.rpc.RetryInfo in the trailing metadata, where there is one."""
    status, info = Status(), RetryInfo()
    details = next((value for key, value in trailers or () if key == DETAILS_KEY), b"")
    try:
        status.ParseFromString(details if isinstance(details, bytes) else details.encode())
        if any(detail.Unpack(info) for detail in status.details):
            return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    except DecodeError:  # written by a proxy, for example
        pass
    return None
