"""The control plane's part of GRPCInferenceService: everything but ModelInfer on a native front."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from onnxpress.packages.datatypes import DATATYPES
from onnxpress.packages.errors import OnnxpressError
from onnxpress.packages.names import VERSION_RULE, is_version
from onnxpress.protos import inference_pb2 as pb
from onnxpress.server.errors import InvalidRequestError
from onnxpress.server.front.calls import Calls
from onnxpress.server.rpc.health import Health
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.routing import Route
from onnxpress.server.serving.scheduler import Scheduler
from onnxpress.server.serving.tensors import Signature, TensorSpec
from onnxpress.server.telemetry.metrics import Metrics, VersionCounts
from onnxpress.server.wire.codec import parse
from onnxpress.server.wire.status import status_of

SERVICE = "inference.GRPCInferenceService"
EXTENSIONS = ["model_configuration", "statistics"]
PLATFORM = "onnxruntime_onnx"
# Requests of one stream that may be in flight; answers keep their order.
STREAM_AHEAD = 64

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Unary = Callable[[Any, Context], Awaitable[Any]]


class Inference:
    """Reads the routes and the counts; changes nothing."""

    def __init__(
        self,
        version: str,
        rows_max: Callable[[Signature], int],
        scheduler: Scheduler,
        metrics: Metrics,
        health: Health,
        calls: Calls,
    ) -> None:
        """`rows_max`: the limit of one request; `calls` answers streams, and ModelInfer of the front `grpcio`."""
        self._version = version
        self._rows_max = rows_max
        self._scheduler = scheduler
        self._metrics = metrics
        self._health = health
        self._calls = calls

    def handlers(self, *, infer: bool) -> "grpc.GenericRpcHandler[Any, Any]":
        """`infer`: also ModelInfer, with serialized messages, for the front `grpcio`."""
        unary: dict[str, tuple[Unary, Any]] = {
            "ServerLive": (self.server_live, pb.ServerLiveRequest),
            "ServerReady": (self.server_ready, pb.ServerReadyRequest),
            "ModelReady": (self.model_ready, pb.ModelReadyRequest),
            "ServerMetadata": (self.server_metadata, pb.ServerMetadataRequest),
            "ModelMetadata": (self.model_metadata, pb.ModelMetadataRequest),
            "ModelConfig": (self.model_config, pb.ModelConfigRequest),
            "ModelStatistics": (self.model_statistics, pb.ModelStatisticsRequest),
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                translating(method),
                request_deserializer=request.FromString,
                response_serializer=lambda response: response.SerializeToString(),
            )
            for name, (method, request) in unary.items()
        }
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self.model_stream_infer)
        if infer:
            handlers["ModelInfer"] = grpc.unary_unary_rpc_method_handler(translating(self.model_infer))
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    async def server_live(self, _request: pb.ServerLiveRequest, _context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _request: pb.ServerReadyRequest, _context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._health.serving)

    async def model_ready(self, request: pb.ModelReadyRequest, _context: Context) -> pb.ModelReadyResponse:
        route = self._scheduler.routes.models.get(request.name)
        ready = route is not None and (request.version in route.lanes if request.version else route.live is not None)
        return pb.ModelReadyResponse(ready=ready and self._health.serving)

    async def server_metadata(self, _request: pb.ServerMetadataRequest, _context: Context) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="onnxpress", version=self._version, extensions=EXTENSIONS)

    async def model_metadata(self, request: pb.ModelMetadataRequest, _context: Context) -> pb.ModelMetadataResponse:
        route, lane = self._lane(request.name, request.version)
        return pb.ModelMetadataResponse(
            name=lane.model,
            versions=[request.version] if request.version else sorted(route.lanes, key=int),
            platform=PLATFORM,
            inputs=[_metadata(spec) for spec in lane.signature.inputs],
            outputs=[_metadata(spec) for spec in lane.signature.outputs],
        )

    async def model_config(self, request: pb.ModelConfigRequest, _context: Context) -> pb.ModelConfigResponse:
        _, lane = self._lane(request.name, request.version)
        batchable, rows_max = lane.signature.batchable, self._rows_max(lane.signature)
        config = pb.ModelConfig(
            name=lane.model,
            platform=PLATFORM,
            backend="onnxruntime",
            max_batch_size=rows_max if batchable else 0,
            default_model_filename="model.onnx",
        )
        for spec in lane.signature.inputs:
            config.input.add(
                name=spec.name, data_type=_datatype(spec), dims=spec.shape[1:] if batchable else spec.shape
            )
        for spec in lane.signature.outputs:
            config.output.add(
                name=spec.name, data_type=_datatype(spec), dims=spec.shape[1:] if batchable else spec.shape
            )
        if lane.signature.has_rows:
            config.parameters["shared_batches"].string_value = (
                f"no: {lane.signature.alone}" if lane.signature.alone else "yes"
            )
        config.parameters["engine"].string_value = lane.session.engine
        if lane.contract.features:
            # In one message, so that version and order of the columns match during a swap.
            config.parameters["features"].string_value = json.dumps(lane.contract.features, ensure_ascii=False)
            config.parameters["version"].string_value = lane.version
        if batchable:
            # Waiting requests run together at once: Triton's dynamic batching without a delay.
            config.dynamic_batching.max_queue_delay_microseconds = 0
            config.dynamic_batching.preferred_batch_size.append(min(lane.cost.batch_rows, rows_max))
        return pb.ModelConfigResponse(config=config)

    async def model_statistics(
        self, request: pb.ModelStatisticsRequest, _context: Context
    ) -> pb.ModelStatisticsResponse:
        counts = self._metrics.versions()
        routes = self._scheduler.routes
        chosen = (
            [routes.route(request.name)] if request.name else [routes.models[name] for name in sorted(routes.models)]
        )
        if request.version:
            self._lane(request.name, request.version)
        return pb.ModelStatisticsResponse(
            model_stats=[
                _statistics(route.model, version, counts.get((route.model, version), VersionCounts()))
                for route in chosen
                for version in sorted(route.lanes, key=int)
                if request.version in ("", version)
            ]
        )

    async def model_infer(self, payload: bytes, context: Context) -> bytes:
        return await self._ask(payload, context)

    async def _ask(self, payload: bytes, context: Context) -> bytes:
        metadata = tuple((str(name), value) for name, value in context.invocation_metadata() or ())
        return await self._calls.ask(payload, metadata, context.time_remaining(), context.peer())

    async def model_stream_infer(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Answers in the order of the requests; an error is sent as an answer and the stream continues."""
        answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(STREAM_AHEAD)

        async def read() -> None:
            try:
                async for payload in requests:
                    await answers.put(asyncio.create_task(self._streamed(payload, context)))
            finally:
                await answers.put(None)

        reader = asyncio.create_task(read())
        try:
            while (task := await answers.get()) is not None:
                yield await task
        finally:
            reader.cancel()
            while not answers.empty():
                left = answers.get_nowait()
                if left is not None:
                    left.cancel()

    async def _streamed(self, payload: bytes, context: Context) -> bytes:
        try:
            answer = await self._ask(payload, context)
        except Exception as error:  # noqa: BLE001 -- a stream tells errors, it does not end with them
            response = pb.ModelStreamInferResponse(error_message=status_of(error)[1])
            try:
                response.infer_response.id = parse(payload).id
            except InvalidRequestError:
                response.ClearField("infer_response")
            return response.SerializeToString()
        return pb.ModelStreamInferResponse(infer_response=pb.ModelInferResponse.FromString(answer)).SerializeToString()

    def _lane(self, model: str, version: str) -> tuple[Route, Lane]:
        route = self._scheduler.routes.route(model)
        if version and not is_version(version):
            raise InvalidRequestError(f"version must be empty or {VERSION_RULE}, got {version[:64]!r}")
        return route, route.lane(version)


def translating(method: Unary) -> Unary:
    """Translates domain errors to their gRPC status."""

    async def call(request: Any, context: Context) -> Any:
        try:
            return await method(request, context)
        except OnnxpressError as error:
            code, message, metadata = status_of(error)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:  # noqa: BLE001 -- the table says what the caller may know
            code, message, metadata = status_of(error)
        await context.abort(code, message, tuple(metadata))
        raise AssertionError("abort raises")

    return call


def _metadata(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape)


def _datatype(spec: TensorSpec) -> int:
    return int(pb.DataType.Value(DATATYPES[spec.datatype].config_name))


def _statistics(model: str, version: str, counts: VersionCounts) -> pb.ModelStatistics:
    def duration(count: int, ns: int) -> pb.StatisticDuration:
        return pb.StatisticDuration(count=count, ns=ns)

    return pb.ModelStatistics(
        name=model,
        version=version,
        last_inference=counts.last_ms,
        inference_count=counts.rows,
        execution_count=counts.batches,
        inference_stats=pb.InferStatistics(
            success=duration(counts.requests, counts.success_ns),
            fail=duration(sum(counts.failures.values()), 0),
            queue=duration(counts.requests, counts.queue_ns),
            compute_input=duration(counts.batches, counts.assemble_ns),
            compute_infer=duration(counts.batches, counts.run_ns),
            compute_output=duration(counts.batches, counts.answer_ns),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=rows,
                compute_input=duration(batches, assemble),
                compute_infer=duration(batches, run),
                compute_output=duration(batches, answer),
            )
            for rows, (batches, assemble, run, answer) in sorted(counts.by_rows.items())
        ],
    )
