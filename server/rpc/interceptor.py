"""Every call on the admin port passes the gate here, whichever service and method it is for."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

import grpc

from onnxpress.server.rpc.gate import Gate
from onnxpress.server.rpc.inference import Context
from onnxpress.server.wire.status import status_of

# The identity of the caller, in the context of the call; gRPC runs interceptors and method of a call in one context.
CALLER: ContextVar[str] = ContextVar("caller")
FACTORIES: dict[tuple[bool, bool], Any] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}

# Of `/service/method`: the request (None of an unknown method; an iterator of a stream), the context, the error.
Refused = Callable[[str, Any, Context, Exception], None]
Handler = Any  # a grpc.RpcMethodHandler: its attributes are not in its type annotations


class GateInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # no generic class when it runs
    """Asks the gate, then calls the method with the caller in CALLER; a call that is refused never reaches it."""

    def __init__(self, gate: Gate, refused: Refused) -> None:
        """`refused` is told each refusal."""
        self._gate = gate
        self._refused = refused

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Handler]], handler_call_details: Any
    ) -> Handler:
        method = handler_call_details.method
        handler = await continuation(handler_call_details)
        if handler is None:
            # So that who may not call does not learn which methods there are.
            return grpc.stream_stream_rpc_method_handler(self._unknown(method))
        return FACTORIES[handler.request_streaming, handler.response_streaming](
            self._stream(method, handler) if handler.response_streaming else self._unary(method, handler),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _unary(self, method: str, handler: Handler) -> Callable[[Any, Context], Awaitable[Any]]:
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary

        async def call(request: Any, context: Context) -> Any:
            await self._admit(context, method, request)
            return await inner(request, context)

        return call

    def _stream(self, method: str, handler: Handler) -> Callable[[Any, Context], AsyncIterator[Any]]:
        inner = handler.stream_stream if handler.request_streaming else handler.unary_stream

        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            await self._admit(context, method, request)
            async with aclosing(inner(request, context)) as answers:
                async for answer in answers:
                    yield answer

        return call

    def _unknown(self, method: str) -> Callable[[Any, Context], Awaitable[None]]:
        async def call(_requests: Any, context: Context) -> None:
            await self._admit(context, method, None)
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the admin port has no such method")

        return call

    async def _admit(self, context: Context, method: str, request: Any) -> None:
        """Ends the call with the status of the refusal unless the gate admits it."""
        try:
            caller = self._gate.check(context, method)
        except Exception as error:  # noqa: BLE001 -- the table says what the caller may know
            code, message, metadata = status_of(error)
            self._refused(method, request, context, error)
            await context.abort(code, message, tuple(metadata))
        CALLER.set(caller)
