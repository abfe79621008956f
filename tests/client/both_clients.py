"""The sync and the asyncio client behind one interface, so that each test holds for both."""

import asyncio
from collections.abc import Callable
from typing import Any, Self

import pytest

from onnxpress import AsyncClient, Client


class Blocking:
    """AsyncClient with the methods of Client, on a loop of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(*arguments, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *arguments, **options: self._loop.run_until_complete(method(*arguments, **options))

    def __repr__(self) -> str:
        return repr(self._client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


Connect = Callable[..., Any]
both = pytest.mark.parametrize("connect", [Client, Blocking], ids=["sync", "asyncio"])
