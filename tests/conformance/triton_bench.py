"""What checks of tritonclient stand on; its modules are imported when a bench is made, not before."""

from pathlib import Path
from typing import Any

import pytest

from tests.answers import Answers, Arrays

WAIT_S = 30.0


class Bench:
    """What checks need: both clients' module, the raw stub, and the offline answers."""

    def __init__(self, address: str, packages: Path) -> None:
        import grpc
        import tritonclient.grpc as sync
        from tritonclient.grpc import aio, service_pb2, service_pb2_grpc
        from tritonclient.utils import InferenceServerException

        self.address, self.grpc, self.sync, self.aio, self.pb = address, grpc, sync, aio, service_pb2
        self.error = InferenceServerException
        self.client = sync.InferenceServerClient(address)
        self.channel = grpc.insecure_channel(address, [("grpc.max_send_message_length", -1)])
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)
        self.numbers = Answers(packages / "numbers/2/model.onnx")
        self.churn = Answers(packages / "churn/1/model.onnx")

    def inputs(self, feeds: Arrays) -> list[Any]:
        names = {"f4": "FP32", "f8": "FP64", "i8": "INT64"}
        made = []
        for name, array in feeds.items():
            made.append(self.sync.InferInput(name, list(array.shape), names.get(array.dtype.str[1:], "BYTES")))
            made[-1].set_data_from_numpy(array)
        return made

    def refusal(self, call: Any, request: Any) -> tuple[str, str]:
        """Status code and message of a call that must fail."""
        with pytest.raises(self.grpc.RpcError) as caught:
            call(request, timeout=WAIT_S)
        return caught.value.code().name, caught.value.details()

    def agree(self, result: Any, expected: Arrays) -> None:
        for name, wanted in expected.items():
            got = result.as_numpy(name)
            assert got is not None, f"no output {name}"
            assert got.shape == wanted.shape, (name, got.shape, wanted.shape)
            if wanted.dtype == object:
                assert [value.decode() for value in got.ravel()] == list(wanted.ravel()), name
            else:
                assert got.dtype == wanted.dtype, (name, got.dtype, wanted.dtype)
                assert got.tobytes() == wanted.tobytes(), name
