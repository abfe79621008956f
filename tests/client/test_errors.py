"""The exceptions for gRPC statuses."""

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from onnxpress.client import errors


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_every_status_is_a_call_error(code: grpc.StatusCode) -> None:
    """Each has code and message, and its own class where callers handle it."""
    error = errors.call_error(code, "the words", ())
    assert type(error) is errors.BY_CODE.get(code, errors.CallError)
    assert (error.code, error.message, str(error)) == (code, "the words", f"the words ({code.name})")
    assert error.retry_after_s is None


def test_the_retry_time_is_read_from_the_details() -> None:
    """The delay in seconds; other details are ignored."""
    info = AnyMessage()
    info.Pack(RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000)))
    details = Status(details=[info]).SerializeToString()
    told = errors.call_error(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", [("grpc-status-details-bin", details)])
    assert told.retry_after_s == 1.5
    assert errors.retry_after_s([("grpc-status-details-bin", b"\xff\xff")]) is None
    assert errors.retry_after_s([("grpc-status-details-bin", Status().SerializeToString())]) is None
