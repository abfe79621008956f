"""A gRPC server with planned answers, which records the requests that it gets."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from onnxpress.protos import inference_pb2 as pb

SERVICE = "inference.GRPCInferenceService"
METADATA = pb.ModelMetadataResponse(
    name="m",
    versions=["1"],
    inputs=[pb.ModelMetadataResponse.TensorMetadata(name="age", datatype="INT64", shape=[-1])],
)
ANSWER = pb.ModelInferResponse(
    model_name="m",
    model_version="1",
    outputs=[pb.ModelInferResponse.InferOutputTensor(name="prediction", datatype="INT64", shape=[1])],
    raw_output_contents=[(7).to_bytes(8, "little")],
)


@dataclass
class Recorded:
    """What arrived, in order: (method, request, metadata)."""

    port: int
    calls: list[tuple[str, Any, dict[str, Any]]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def of(self, method: str) -> list[Any]:
        return [request for name, request, _ in self.calls if name == method]


Answer = Callable[[int, grpc.ServicerContext], Any]


@contextmanager
def recorded(infer: Answer, describe: Answer = lambda _number, _context: METADATA) -> Iterator[Recorded]:
    """`infer(n, context)` and `describe(n, context)`: the answer to the n-th ModelInfer or ModelMetadata, from 0."""
    server = grpc.server(ThreadPoolExecutor(4))
    seen = Recorded(server.add_insecure_port("127.0.0.1:0"))

    def handler(name: str, answer: Answer, request: Any) -> Any:
        def call(message: Any, context: grpc.ServicerContext) -> bytes:
            seen.calls.append((name, message, dict(context.invocation_metadata())))
            return answer(len(seen.of(name)) - 1, context).SerializeToString()

        return grpc.unary_unary_rpc_method_handler(call, request_deserializer=request.FromString)

    handlers = {
        "ModelMetadata": handler("ModelMetadata", describe, pb.ModelMetadataRequest),
        "ModelInfer": handler("ModelInfer", infer, pb.ModelInferRequest),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.start()
    try:
        yield seen
    finally:
        server.stop(None).wait()
