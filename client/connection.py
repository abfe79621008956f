"""Where a client connects to and how: addresses, credentials, channel options, calls and what admin calls carry.

Imports gRPC and no numpy, so that `onnxpress deploy` and its like start quickly.
"""

import getpass
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import grpc

from onnxpress.client.errors import CallError, ClientError, call_error

INFER_TIMEOUT_S = 30.0
# A deploy takes as long as loading the version does.
ADMIN_TIMEOUT_S = 300.0
MESSAGE_BYTES_MAX = 256 * 1024 * 1024
ADMIN_PORT = 8003
ONE_HOST = re.compile(r"((?:dns:///)?(?:\[[^\]]+\]|[^\[\]:,/]+)):\d+")
Options = Sequence[tuple[str, Any]]
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Call:
    """One unary RPC: a method of the stub of the data port, or of the admin port."""

    method: str
    request: Any
    timeout_s: float
    metadata: Metadata = ()
    admin: bool = False


@dataclass(frozen=True)
class Connection:
    """The arguments of a client, unchanged for its life. `admin_address` None: the data port's host, port 8003."""

    address: str
    admin_address: str | None
    credentials: grpc.ChannelCredentials | None
    admin_credentials: grpc.ChannelCredentials | None
    token: str
    actor: str
    options: Options

    def channel_options(self) -> list[tuple[str, Any]]:
        """Channel options of the data port: the published service config, which `options` may override."""
        config = resources.files("onnxpress.protos").joinpath("client-service-config.json").read_text()
        return [
            ("grpc.service_config", config),
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
            *self.options,
        ]

    def admin(self) -> str:
        """The admin address. Raises ClientError where none was given and none can be derived."""
        if self.admin_address is not None:
            return self.admin_address
        found = ONE_HOST.fullmatch(self.address)
        if found is None:
            raise ClientError(
                f"the admin port cannot be derived from {self.address!r}: name it, Client(address, 'host:{ADMIN_PORT}')"
            )
        return f"{found[1]}:{ADMIN_PORT}"

    def admin_metadata(self) -> Metadata:
        """Metadata of an admin call: the actor for the audit log, and the token."""
        token = (("authorization", f"Bearer {self.token}"),) if self.token else ()
        return (("x-onnxpress-actor", self.actor or _user()), *token)

    def failed(self, call: Call, error: Any) -> CallError:
        """The exception for a grpc.RpcError of either kind of channel, naming the address where nobody answered."""
        code, details = error.code(), error.details()
        where = self.admin() if call.admin else self.address
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            details = f"no answer from {where} to {call.method} in time: {details}"
        elif code is grpc.StatusCode.UNAVAILABLE and "connect" in (details or ""):
            details = f"no server answers at {where}: {details}"
        return call_error(code, details, error.trailing_metadata())


def open_channel(address: str, credentials: grpc.ChannelCredentials | None, options: Options = ()) -> grpc.Channel:
    """A channel for threads; without `credentials` it is plain text."""
    if credentials is None:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, credentials, options)


def _user() -> str:
    """user@host in ASCII, which is what gRPC sends as metadata; in a container the user may be a number only."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return f"{name}@{os.uname().nodename}".encode("ascii", "backslashreplace").decode()
