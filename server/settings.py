"""Every number that a person may want to change, once: flag > environment > file (TOML) > default.

A field `grpc_port` is the flag `--grpc-port`, the variable `ONNXPRESS_GRPC_PORT` and the key `grpc_port`.
"""

import argparse
import math
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from onnxpress.server.errors import UsageError

ENVIRONMENT_PREFIX = "ONNXPRESS_"
# What Kubernetes tells every container about a Service that is named onnxpress: not meant for us.
SERVICE_LINKS = re.compile(
    r"service_host=.*|service_port(_\w+)?=\d+|port=\w+://.*|port_\d+_(tcp|udp|sctp)(_(proto|port|addr))?=.*"
)
LOOPBACK = ("127.0.0.1", "::1", "localhost")
KIB = 1024
MIB = 1024 * KIB
PORT_MAX = 65535
# What a value of each type may be in a file, which has types of its own; `true` is no number.
FILE_TYPES: dict[type, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str,), Path: (str,)}


def option(default: Any, text: str, *, choices: Sequence[str] | None = None, least: int = 0) -> Any:
    """A setting with its one line of help; the unit is the last word of its name. Numbers are at least `least`."""
    return field(default=default, metadata={"help": text, "choices": choices, "least": least})


@dataclass(frozen=True)
class Settings:
    """One immutable tree; whoever needs a number is handed it, nobody reads the environment twice."""

    repository: Path = option(MISSING, "folder of all models")
    state_dir: Path = option(Path(), "what the server writes itself: audit log; default <repository>/.onnxpress")
    host: str = option("0.0.0.0", "address of the data and HTTP ports")  # noqa: S104 -- a server serves its network
    grpc_port: int = option(8001, "data port: Open Inference Protocol, health, reflection; 0: a free one")
    http_port: int = option(8002, "HTTP: /metrics, /healthz, /readyz; 0: a free one")
    admin_address: str = option("127.0.0.1:8003", "admin gRPC; beyond loopback only with admin_token_file")
    admin_token_file: Path = option(Path(), "file with the bearer token that admin calls must carry; empty: none")
    front: str = option("native", "what speaks HTTP/2 on the data port", choices=("native", "grpcio"))
    tls_cert_file: Path = option(Path(), "PEM certificate chain of the data port; needs front grpcio")
    tls_key_file: Path = option(Path(), "PEM private key of the certificate")
    tls_client_ca_file: Path = option(Path(), "PEM authorities that client certificates must come from (mTLS)")
    keepalive_s: int = option(300, "the server pings a silent connection this often")
    keepalive_timeout_s: int = option(20, "a connection whose ping stays unanswered this long is closed")
    connection_age_s: int = option(0, "connections are told to reconnect after this; 0: never; needs front grpcio")
    run_slots: int = option(0, "batches that may run at once; 0: one per core")
    io_threads: int = option(0, "threads that speak HTTP/2 in front native; 0: one per two cores")
    poll_us: int = option(200, "front native waits this long awake for a lone caller's next request; 0: never")
    batch_rows_max: int = option(1024, "upper bound of rows in one batch; each version finds its own below it", least=1)
    latency_target_ms: int = option(100, "what batching and admission aim to stay under", least=1)
    queue_rows_max: int = option(100_000, "rows that may wait in one lane, and that one request may have", least=1)
    queue_mib_max: int = option(256, "request bytes that may wait in one lane", least=1)
    streams_per_connection_max: int = option(256, "concurrent calls on one connection", least=1)
    message_mib_max: int = option(16, "largest request accepted", least=1)
    model_mib_max: int = option(2048, "largest model.onnx accepted", least=1)
    load_seconds_max: int = option(120, "a version that takes longer to load, warm up and check is refused", least=1)
    load_mib_max: int = option(8192, "memory that loading a version may take in its trial process", least=1)
    drain_wait_s: float = option(0.5, "between NOT_SERVING and refusing new work, for balancers to notice")
    drain_finish_s: float = option(20.0, "for held work to finish when stopping")

    def __post_init__(self) -> None:
        if self.state_dir == Path():
            object.__setattr__(self, "state_dir", self.repository / ".onnxpress")
        for name in ("grpc_port", "http_port"):
            if not 0 <= getattr(self, name) <= PORT_MAX:
                raise UsageError(f"{name} must be 0 to {PORT_MAX}, got {getattr(self, name)}")
        host = self.admin_host_port()[0]
        if host not in LOOPBACK and self.admin_token_file == Path():
            raise UsageError(f"admin_address {self.admin_address} is not loopback: set admin_token_file too")
        self._check_tls()
        for setting in fields(self):
            value, least = getattr(self, setting.name), setting.metadata["least"]
            # Written so that NaN, which is neither less nor more, is refused too.
            if isinstance(value, int | float) and not least <= value < math.inf:
                raise UsageError(
                    f"{setting.name} must be {f'at least {least}' if least else 'not negative'}, got {value}"
                )

    def _check_tls(self) -> None:
        tls, key = self.tls_cert_file != Path(), self.tls_key_file != Path()
        if tls != key:
            raise UsageError("tls_cert_file and tls_key_file go together")
        if self.tls_client_ca_file != Path() and not tls:
            raise UsageError("tls_client_ca_file needs tls_cert_file and tls_key_file")
        if tls and self.front == "native":
            raise UsageError("front native speaks no TLS: take --front grpcio, or end TLS before this server")
        if self.connection_age_s and self.front == "native":
            raise UsageError("front native cannot age connections: take --front grpcio, or connection_age_s 0")

    def admin_host_port(self) -> tuple[str, int]:
        host, _, port = self.admin_address.rpartition(":")
        if not host or not port.isdecimal() or int(port) > PORT_MAX:
            raise UsageError(
                f"admin_address must be HOST:PORT with a port up to {PORT_MAX}, got {self.admin_address!r}"
            )
        return host.strip("[]"), int(port)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """One flag per setting, and `--config`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings; unknown keys are refused")
    for setting in fields(Settings):
        default = "" if setting.default in (MISSING, Path(), "") else f" (default {setting.default})"
        parser.add_argument(
            "--" + setting.name.replace("_", "-"),
            choices=setting.metadata["choices"],
            default=None,
            metavar=None if setting.metadata["choices"] else setting.type.__name__.upper(),  # type: ignore[union-attr]
            help=setting.metadata["help"] + default,
        )


def resolve(flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings tree. Raises UsageError naming the key and where it came from."""
    known = {setting.name: setting for setting in fields(Settings)}
    values: dict[str, Any] = {}
    sources = [
        ("file", _read_file(flags.get("config"))),
        ("environment", _read_environment(environment)),
        ("flag", {name: value for name, value in flags.items() if name in known and value is not None}),
    ]
    for source, found in sources:
        for name, raw in found.items():
            if name not in known:
                raise UsageError(f"unknown setting {name!r} in the {source}; there are {', '.join(known)}")
            if raw == "" and known[name].default is MISSING:
                continue
            values[name] = _convert(name, raw, known[name].type, known[name].metadata["choices"], source)
    if "repository" not in values:
        raise UsageError("no repository: give --repository, the folder of all models")
    return Settings(**values)


def _read_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read settings from {path}: {error}") from error


def _read_environment(environment: Mapping[str, str]) -> dict[str, str]:
    start = len(ENVIRONMENT_PREFIX)
    found = {name[start:].lower(): value for name, value in environment.items() if name.startswith(ENVIRONMENT_PREFIX)}
    return {name: value for name, value in found.items() if not SERVICE_LINKS.fullmatch(f"{name}={value}")}


def _convert(name: str, raw: Any, kind: Any, choices: Sequence[str] | None, source: str) -> Any:
    if choices and raw not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, got {raw!r} in the {source}")
    try:
        if type(raw) not in (str, *FILE_TYPES[kind]):
            raise TypeError
        return kind(raw)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} must be {kind.__name__}, got {raw!r} in the {source}") from error


def document() -> str:
    """The text of docs/settings.md."""
    rows = [
        f"| `{s.name}` | `--{s.name.replace('_', '-')}` | `{ENVIRONMENT_PREFIX}{s.name.upper()}` | "
        f"{'' if s.default in (MISSING, Path()) else f'`{s.default}`'} | {s.metadata['help']} |"
        for s in fields(Settings)
    ]
    head = "# Settings\nGenerated from `server/settings.py`. Flag beats environment beats file beats default."
    table = "| key | flag | environment | default | meaning |\n| --- | --- | --- | --- | --- |"
    return "\n".join([head, "", table, *rows, ""])
