"""What the commands `deploy`, `rollback`, `status` and `history` say to a server's admin port."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

# Why a handshake failed is in the error; before it gRPC would write lines of its own. Read when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

from onnxpress.cli.options import FailedError, RefusedError
from onnxpress.protos.admin_pb2_grpc import AdminStub
from onnxpress.server.settings import LOOPBACK

# A deploy may take as long as loading a version does.
CALL_S = 300.0
UNREACHED = ("failed to connect", "errors resolving")  # how gRPC's own details begin


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of a client. `ca` None: gRPC's built-in authorities; `cert` and `key` None: no client certificate."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises OSError when a file cannot be read."""
        ca, key, cert = (path.read_bytes() if path else None for path in (self.ca, self.key, self.cert))
        return grpc.ssl_channel_credentials(ca, key, cert)


class AdminClient:
    """One channel to one server; use as a context manager."""

    def __init__(self, address: str, token: str, actor: str, tls: TlsFiles) -> None:
        """Speaks TLS beyond loopback, as the server does, and where `tls` has a file. Raises OSError as that does."""
        self._address = address
        # Decided here and not by a flag, so that a token never crosses the network in plain text.
        self._secure = tls != TlsFiles() or address.rpartition(":")[0].strip("[]") not in LOOPBACK
        self._channel = (
            grpc.secure_channel(address, tls.credentials()) if self._secure else grpc.insecure_channel(address)
        )
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
            details = error.details() or ""
            # A server that was reached may be UNAVAILABLE too, and says why.
            if error.code() is grpc.StatusCode.UNAVAILABLE and details.startswith(UNREACHED):
                raise FailedError(f"no server answers at {self._address}{self._why(details)}") from error
            raise RefusedError(f"{details} ({error.code().name})") from error

    def _why(self, details: str) -> str:
        """What sets a server with another idea of TLS apart from a server that is not there."""
        if self._secure:
            return f" over TLS: {details}"
        return ": it may want TLS (--tls-ca-file)" if details.endswith("Socket closed") else ""
