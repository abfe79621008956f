"""What the commands `deploy`, `rollback`, `status` and `history` say to a server's admin port."""

from collections.abc import Callable
from typing import Any, Self

import grpc

from onnxpress.cli.options import FailedError, RefusedError
from onnxpress.protos.admin_pb2_grpc import AdminStub

# A deploy may take as long as loading a version does.
CALL_S = 300.0


class AdminClient:
    """One channel to one server; use as a context manager."""

    def __init__(self, address: str, token: str, actor: str) -> None:
        self._address = address
        self._channel = grpc.insecure_channel(address)
        self._stub = AdminStub(self._channel)  # type: ignore[no-untyped-call]  # generated code
        self._metadata = [("x-onnxpress-actor", actor)] + ([("authorization", f"Bearer {token}")] if token else [])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def call(self, choose: Callable[[Any], Any], request: Any) -> Any:
        """Calls the method that `choose` picks from the stub.

        Raises RefusedError when the server said no, FailedError when none could be asked.
        """
        try:
            return choose(self._stub)(request, timeout=CALL_S, metadata=self._metadata)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE and "connect" in (error.details() or ""):
                raise FailedError(f"no server answers at {self._address}") from error
            raise RefusedError(f"{error.details()} ({error.code().name})") from error
