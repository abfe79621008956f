"""What the commands `deploy`, `rollback`, `status` and `history` say to a server's admin port."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

# Why a handshake failed is in the error; before it gRPC would write lines of its own. Read when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

from onnxpress.cli.options import FailedError, RefusedError
from onnxpress.client.connection import ADMIN_TIMEOUT_S, Call, Connection, open_channel
from onnxpress.protos.admin_pb2_grpc import AdminStub
from onnxpress.server.settings import LOOPBACK

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

    def __init__(self, address: str, token: str, tls: TlsFiles) -> None:
        """Speaks TLS beyond loopback, as the server does, and where `tls` has a file. Raises OSError as that does."""
        self._address = address
        # Decided here and not by a flag, so that a token never crosses the network in plain text.
        self._secure = tls != TlsFiles() or address.rpartition(":")[0].strip("[]") not in LOOPBACK
        credentials = tls.credentials() if self._secure else None
        self._connection = Connection(address, address, None, credentials, token, actor="", options=())
        self._channel = open_channel(address, credentials)
        self._stub = AdminStub(self._channel)  # type: ignore[no-untyped-call]  # generated code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def call(self, method: str, request: Any) -> Any:
        """Calls `method` of the admin service.

        Raises RefusedError when the server refused the call, FailedError when no server was reached.
        """
        call = Call(method, request, ADMIN_TIMEOUT_S, self._connection.admin_metadata(), admin=True)
        try:
            return getattr(self._stub, method)(request, timeout=call.timeout_s, metadata=call.metadata)
        except grpc.RpcError as error:
            details = error.details() or ""
            # A server that was reached may be UNAVAILABLE too, and says why.
            if error.code() is grpc.StatusCode.UNAVAILABLE and details.startswith(UNREACHED):
                raise FailedError(f"no server answers at {self._address}{self._why(details)}") from error
            raise RefusedError(str(self._connection.failed(call, error))) from error

    def _why(self, details: str) -> str:
        """What sets a server with another idea of TLS apart from a server that is not there."""
        if self._secure:
            return f" over TLS: {details}"
        return ": it may want TLS (--tls-ca-file)" if details.endswith("Socket closed") else ""
