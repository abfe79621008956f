"""What the commands `deploy`, `rollback`, `status` and `history` say to a server's admin port."""

from collections.abc import Callable
from typing import Any, Self

import grpc

from onnxpress.protos.admin_pb2_grpc import AdminStub

# A deploy may take as long as loading a version does.
CALL_S = 300.0


class AdminCallError(Exception):
    """The server refused or could not be reached; the message is for people.

    refused: True when the server said no, False when it could not be asked.
    """

    def __init__(self, message: str, *, refused: bool) -> None:
        super().__init__(message)
        self.refused = refused


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
        """Calls the method that `choose` picks from the stub. Raises AdminCallError."""
        try:
            return choose(self._stub)(request, timeout=CALL_S, metadata=self._metadata)
        except grpc.RpcError as error:
            unreachable = error.code() is grpc.StatusCode.UNAVAILABLE and "connect" in (error.details() or "")
            message = (
                f"no server answers at {self._address}" if unreachable else f"{error.details()} ({error.code().name})"
            )
            raise AdminCallError(message, refused=not unreachable) from error
