"""The status table: a row for each domain error; no details of internal errors in messages to callers."""

import logging

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from onnxpress.server import errors
from onnxpress.server.wire.status import STATUS, status_of


def subclasses(root: type[Exception]) -> list[type[Exception]]:
    return [one for child in root.__subclasses__() for one in (child, *subclasses(child))]


def test_every_error_has_a_row() -> None:
    """The table has a row for each domain error class and no others."""
    assert set(subclasses(errors.OnnxpressError)) == set(STATUS)


def test_no_domain_error_is_internal() -> None:
    """No domain error is INTERNAL, UNKNOWN or OK: the first two mean a fault of the server."""
    assert {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.OK}.isdisjoint(STATUS.values())


def test_message_is_the_errors_own() -> None:
    """The caller receives a domain error's message unchanged, without metadata."""
    told = status_of(errors.UnknownModelError("model 'x' is not served"))
    assert told == (grpc.StatusCode.NOT_FOUND, "model 'x' is not served", [])


def test_overload_has_a_retry_delay() -> None:
    """An overload is RESOURCE_EXHAUSTED with RetryInfo and the pushback header of gRPC's own retries."""
    code, message, metadata = status_of(errors.OverloadedError("busy", 1_250))
    trailers = dict(metadata)
    assert (code, message) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
    assert trailers["grpc-retry-pushback-ms"] == "1250"
    status = Status.FromString(bytes(trailers["grpc-status-details-bin"]))  # type: ignore[arg-type]
    assert (status.code, status.message) == (8, "busy")
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    assert info.retry_delay == Duration(seconds=1, nanos=250_000_000)


@pytest.mark.parametrize("bug", [ValueError("/secret/path"), KeyError("x"), AssertionError()])
def test_bugs_are_internal_with_an_id(bug: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Other errors are INTERNAL with an id that is logged with the trace; the message has nothing of their text."""
    with caplog.at_level(logging.ERROR):
        code, message, metadata = status_of(bug)
    assert (code, metadata) == (grpc.StatusCode.INTERNAL, [])
    assert message.startswith("internal error ")
    assert "secret" not in message
    (record,) = caplog.records
    assert message.removeprefix("internal error ") in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is bug
