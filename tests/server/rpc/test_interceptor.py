"""Every call on a server passes the gate: each kind of method, and methods that do not exist."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from onnxpress.server.errors import PermissionDeniedError
from onnxpress.server.rpc.gate import Gate
from onnxpress.server.rpc.interceptor import CALLER, GateInterceptor
from onnxpress.server.wire.status import code_of

TIMEOUT_S = 30.0
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class Strict(Gate):
    """Admits who says `me`, and notes what was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def check(self, context: Any, method: str) -> str:
        self.asked.append(method)
        actor = dict(context.invocation_metadata())["actor"]
        if actor == "crash":
            raise ZeroDivisionError
        if actor != "me":
            raise PermissionDeniedError(f"{actor} may not")
        return str(actor)


class Service:
    """A method of each kind, which answers with the caller; notes who ended a stream."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.left = asyncio.Event()

    async def unary(self, _request: Any, _context: Any) -> bytes:
        self.reached.append(CALLER.get())
        return CALLER.get().encode()

    async def stream(self, _request: Any, _context: Any) -> AsyncIterator[bytes]:
        self.reached.append(CALLER.get())
        yield CALLER.get().encode()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()

    def handlers(self) -> Any:
        methods = {
            kind: getattr(grpc, f"{kind}_rpc_method_handler")(self.stream if kind.endswith("stream") else self.unary)
            for kind in KINDS
        }
        return grpc.method_handlers_generic_handler("Some", methods)


def run(check: Callable[[Strict, Service, list[str], Callable[..., Awaitable[str]]], Awaitable[None]]) -> None:
    """`check` with the gate, the service, the codes of refusals, and `ask(kind, actor, method)` -> answer or code."""

    async def main() -> None:
        gate, service, refused = Strict(), Service(), list[str]()
        server = grpc.aio.server(
            interceptors=[GateInterceptor(gate, lambda *told: refused.append(code_of(told[3]).name))]
        )
        server.add_generic_rpc_handlers((service.handlers(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

            async def ask(kind: str, actor: str, method: str = "") -> str:
                request = b"" if kind.startswith("unary") else iter([b""])
                call = getattr(channel, kind)(method or f"/Some/{kind}")(
                    request, metadata=(("actor", actor),), timeout=TIMEOUT_S
                )
                try:
                    answer = await call.read() if kind.endswith("stream") else await call
                except grpc.aio.AioRpcError as error:
                    return f"{error.code().name} {error.details()}"
                call.cancel()
                return str(answer.decode())

            await check(gate, service, refused, ask)
        await server.stop(None)

    asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_method(kind: str) -> None:
    """Who is admitted is known to the method; who is not does not reach it, and the refusal is counted by its code."""

    async def check(gate: Strict, service: Service, refused: list[str], ask: Callable[..., Awaitable[str]]) -> None:
        assert await ask(kind, "me") == "me"
        assert await ask(kind, "you") == "PERMISSION_DENIED you may not"
        assert (await ask(kind, "crash")).startswith("INTERNAL internal error ")
        assert service.reached == ["me"]
        assert refused == ["PERMISSION_DENIED", "INTERNAL"]
        assert gate.asked == [f"/Some/{kind}"] * 3

    run(check)


def test_a_method_that_does_not_exist() -> None:
    """Only who may call learns that."""

    async def check(gate: Strict, _service: Service, refused: list[str], ask: Callable[..., Awaitable[str]]) -> None:
        for kind in KINDS:
            assert await ask(kind, "you", "/No/Such") == "PERMISSION_DENIED you may not"
            assert await ask(kind, "me", "/No/Such") == "UNIMPLEMENTED the admin port has no such method"
        assert gate.asked == ["/No/Such"] * 8
        assert refused == ["PERMISSION_DENIED"] * 4

    run(check)


def test_a_stream_that_its_caller_leaves_ends() -> None:
    """The method's own clean-up runs at once."""

    async def check(_gate: Strict, service: Service, _refused: list[str], ask: Callable[..., Awaitable[str]]) -> None:
        assert await ask("unary_stream", "me") == "me"
        await asyncio.wait_for(service.left.wait(), TIMEOUT_S)

    run(check)
