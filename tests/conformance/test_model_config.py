"""ModelConfig: what it says of a request's rows and of batches is what the server does."""

import json
from collections.abc import Callable

import grpc
import pytest

from onnxpress.protos.inference_pb2 import ModelConfig, ModelConfigRequest
from onnxpress.protos.inference_pb2_grpc import GRPCInferenceServiceStub
from onnxpress.server.wire.codec import HEADER_BYTES
from tests.answers import number_rows
from tests.conftest import FRONTS
from tests.inference_calls import DEADLINE_S, connected, request
from tests.server_process import ServerProcess

MIB = 1 << 20


def configured(stub: GRPCInferenceServiceStub, model: str) -> ModelConfig:
    return stub.ModelConfig(ModelConfigRequest(name=model), timeout=DEADLINE_S).config


@pytest.mark.parametrize("front", FRONTS)
def test_max_batch_size_is_what_one_request_may_have(start: Callable[..., ServerProcess], front: str) -> None:
    """As many rows as fit into the largest message are answered, one more is refused with both numbers."""
    flags = ("--message-mib-max", "1", "--latency-target-ms", "60000")
    server = start("bare", "churn", front=front, tried=True, flags=flags)
    with connected(server.grpc) as stub:
        most = configured(stub, "bare").max_batch_size
        assert most == (MIB - HEADER_BYTES) // (30 * 4)
        assert configured(stub, "churn").max_batch_size == (MIB - HEADER_BYTES) // (4 + 4 + 8 + 8)
        whole = request({"input": number_rows(most)}, "bare", id_="i" * 1024)
        assert stub.ModelInfer(whole, timeout=DEADLINE_S).outputs[0].shape[0] == most
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request({"input": number_rows(most + 1)}, "bare"), timeout=DEADLINE_S)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == f"the request has {most + 1} rows, one request to model 'bare' may have {most}"


def test_the_rows_that_may_wait_bound_it_too(start: Callable[..., ServerProcess]) -> None:
    """Where fewer rows may wait than fit into a message, they are the limit of a request, and of a batch."""
    server = start("bare", tried=True, flags=("--queue-rows-max", "5"))
    with connected(server.grpc) as stub:
        config = configured(stub, "bare")
        assert config.max_batch_size == 5
        assert config.dynamic_batching.preferred_batch_size[0] <= 5
        assert stub.ModelInfer(request({"input": number_rows(5)}, "bare"), timeout=DEADLINE_S).outputs[0].shape[0] == 5
        with pytest.raises(grpc.RpcError, match="6 rows"):
            stub.ModelInfer(request({"input": number_rows(6)}, "bare"), timeout=DEADLINE_S)


def test_preferred_batch_size_is_the_version_s_own(server: ServerProcess) -> None:
    """Batching is described where Triton's clients look for it: the size that the log states, without a delay."""
    said = server.wait_for(r"model 'numbers' version 2 is ready, batches of up to (\d+) rows")
    with connected(server.grpc) as stub:
        batching = configured(stub, "numbers").dynamic_batching
    assert list(batching.preferred_batch_size) == [int(said.group(1))]
    assert batching.max_queue_delay_microseconds == 0


def test_the_columns_of_a_matrix_are_named(server: ServerProcess) -> None:
    """A matrix of ours names its columns in order; a stranger's cannot, and inputs that are columns need not."""
    with connected(server.grpc) as stub:
        told = {name: configured(stub, name).parameters for name in ("price", "bare", "churn")}
    assert json.loads(told["price"]["features"].string_value) == ["f0", "f1", "f2", "f3"]
    assert told["price"]["version"].string_value == "1"
    assert "features" not in told["bare"]
    assert "features" not in told["churn"]
