"""The admin port's watch of deployments: off the control loop, and woken by every change."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import AsyncMock, Mock

import pytest

from onnxpress.protos import admin_pb2 as pb
from onnxpress.server.errors import UnknownModelError
from onnxpress.server.rpc.admin import Admin
from onnxpress.server.versions.desired import Desired
from onnxpress.server.versions.status import ModelStatus

PATIENCE_S = 30.0


class Reads:
    """Stands for the reconciler, whose methods read the disk; notes the threads that asked."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.models = {"churn": 1, "price": 1}

    def names(self) -> list[str]:
        self.threads.add(threading.get_ident())
        return sorted(self.models)

    def status(self, name: str) -> ModelStatus:
        self.threads.add(threading.get_ident())
        if name not in self.models:
            raise UnknownModelError(f"model {name!r} is not in the repository; there are {', '.join(self.models)}")
        epoch = self.models[name]
        return ModelStatus(name, Desired(name, epoch, epoch), epoch, epoch, "", ())


Watch = AsyncIterator[pb.GetDeploymentResponse]


def run(model: str, check: Callable[[Admin, Reads, Watch], Awaitable[None]]) -> Reads:
    """`check` on a control loop, with a watch of `model`; afterwards the loop is asserted to have read nothing."""
    reads = Reads()

    async def main() -> None:
        with ThreadPoolExecutor(2) as pool:
            admin = Admin(Mock(), reads, Mock(progress=lambda _: None), Mock(), Mock(), list, Mock(), pool)  # type: ignore[arg-type]
            context = Mock(invocation_metadata=lambda: (), peer=lambda: "here", abort=AsyncMock(side_effect=Aborted))
            watch = admin.watch_deployments(pb.WatchDeploymentsRequest(model=model), context)
            await asyncio.wait_for(check(admin, reads, watch), PATIENCE_S)

    asyncio.run(main())
    assert reads.threads
    assert threading.get_ident() not in reads.threads
    return reads


class Aborted(Exception):  # noqa: N818 -- what grpc.aio raises to end a call
    """The call was ended with a status."""


def test_the_state_now_then_every_change() -> None:
    """A watch of all models tells each once, then those that changed, then what is new; it never reads on the loop."""

    async def check(admin: Admin, reads: Reads, watch: Watch) -> None:
        assert [(await anext(watch)).model for _ in range(2)] == ["churn", "price"]
        following = asyncio.ensure_future(anext(watch))
        reads.models["price"] = 2
        admin.wake_watchers()
        told = await following
        assert (told.model, told.epoch) == ("price", 2)
        following = asyncio.ensure_future(anext(watch))
        admin.wake_watchers()  # nothing is different
        reads.models["new"] = 7
        admin.wake_watchers()
        assert (await following).model == "new"

    run("", check)


def test_a_watch_of_one_model() -> None:
    """Others are not told."""

    async def check(admin: Admin, reads: Reads, watch: Watch) -> None:
        assert (await anext(watch)).model == "churn"
        following = asyncio.ensure_future(anext(watch))
        reads.models["price"] = 2
        admin.wake_watchers()
        reads.models["churn"] = 3
        admin.wake_watchers()
        told = await following
        assert (told.model, told.epoch) == ("churn", 3)

    run("churn", check)


def test_a_watch_of_an_unknown_model_is_refused() -> None:
    """It ends with NOT_FOUND, before anything is told."""

    async def check(_admin: Admin, _reads: Reads, watch: Watch) -> None:
        with pytest.raises(Aborted):
            await anext(watch)

    run("nosuch", check)


def test_watches_end_when_the_server_stops() -> None:
    """A watch does not delay the stop of the server."""

    async def check(admin: Admin, _reads: Reads, watch: Watch) -> None:
        await anext(watch)
        following = asyncio.ensure_future(anext(watch, None))
        admin.wake_watchers(closing=True)
        assert await following is None

    run("churn", check)
