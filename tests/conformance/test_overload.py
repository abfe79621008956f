"""A full queue on the wire: RESOURCE_EXHAUSTED at once, with a time to come back."""

from collections.abc import Callable

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from tests.answers import number_rows
from tests.conftest import FRONTS
from tests.inference_calls import DEADLINE_S, connected, decode, request, same
from tests.model_repository import Models
from tests.server_process import ServerProcess

ROWS, CALLS = 300, 60


@pytest.mark.parametrize("front", FRONTS)
def test_full_queue(start: Callable[..., ServerProcess], models: Models, front: str) -> None:
    """Far more than may wait: some are refused, told when to come back, and the rest are answered right."""
    flags = ("--run-slots", "1", "--queue-rows-max", str(2 * ROWS), "--latency-target-ms", "60000")
    server = start("heavy", front=front, flags=flags, tried=True)
    feeds = [{"input": number_rows(ROWS, n)} for n in range(CALLS)]
    with connected(server.grpc) as stub:
        calls = [stub.ModelInfer.future(request(feed, "heavy"), timeout=DEADLINE_S) for feed in feeds]
        errors = [call.exception(DEADLINE_S) for call in calls]
    offline = models.answers("heavy/1")
    answered = [n for n, error in enumerate(errors) if error is None]
    refused = [error for error in errors if error is not None]
    assert answered
    assert all(same(decode(calls[n].result()), offline(feeds[n])) for n in answered)
    assert refused, "nothing was refused"
    for error in refused:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert f"at their limit of {2 * ROWS} rows" in error.details()
        trailers = dict(error.trailing_metadata())
        status, info = Status.FromString(trailers["grpc-status-details-bin"]), RetryInfo()
        assert (status.code, status.message) == (8, error.details())
        assert status.details[0].Unpack(info)
        assert info.retry_delay.ToMilliseconds() > 0
        if front == "grpcio":  # pygrpc-native keeps the pushback key to itself
            assert int(trailers["grpc-retry-pushback-ms"]) == info.retry_delay.ToMilliseconds()
