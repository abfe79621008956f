"""Where a client connects to and how: addresses, credentials, channel options, what admin calls carry."""

import getpass
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import grpc

from onnxpress.client.errors import CallError, ClientError, call_error
from onnxpress.client.flows import Call, Metadata

INFER_TIMEOUT_S = 30.0
# A deploy takes as long as loading the version does.
ADMIN_TIMEOUT_S = 300.0
MESSAGE_BYTES_MAX = 256 * 1024 * 1024
ADMIN_PORT = 8003
ONE_HOST = re.compile(r"((?:dns:///)?(?:\[[^\]]+\]|[^\[\]:,/]+)):\d+")
Options = Sequence[tuple[str, Any]]


@dataclass(frozen=True)
class Connection:
    """What both clients are made of; nothing of it changes. `admin_address` None: the data port's host, port 8003."""

    address: str
    admin_address: str | None
    credentials: grpc.ChannelCredentials | None
    admin_credentials: grpc.ChannelCredentials | None
    token: str
    actor: str
    options: Options

    def channel_options(self) -> list[tuple[str, Any]]:
        """Of the data port: the published service config (retries, health), which `options` may override."""
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
        """Who acts, for the audit log, and the token."""
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


def _user() -> str:
    """In a container the user may be a number without a name."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return f"{name}@{os.uname().nodename}"
