"""All settings in one list. Precedence: flag, environment, file (TOML), default.

A setting `drain_wait_s` of section `drain` is the flag `--drain-wait-s`, the variable `ONNXPRESS_DRAIN_WAIT_S`, and in
the file the key `wait_s` under `[drain]`: a key in the file omits the name of its section if it begins with it.
`grpc_port` of section `data` is `grpc_port` under `[data]`.
"""

import argparse
import difflib
import math
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from onnxpress.server.errors import UsageError

ENVIRONMENT_PREFIX = "ONNXPRESS_"
# Variables that Kubernetes sets in every container for a Service named onnxpress; they are no settings.
SERVICE_LINKS = re.compile(
    r"service_host=.*|service_port(_\w+)?=\d+|port=\w+://.*|port_\d+_(tcp|udp|sctp)(_(proto|port|addr))?=.*"
)
LOOPBACK = ("127.0.0.1", "::1", "localhost")
KIB = 1024
MIB = 1024 * KIB
PORT_MAX = 65535
# Section of the file -> its description; also the order of docs/settings.md.
SECTIONS = {
    "storage": "what is served, and where the server keeps its own files",
    "data": "the data port and its connections",
    "admin": "the admin port",
    "http": "the HTTP port",
    "batching": "batches, queues and admission",
    "load": "limits on the versions that are loaded",
    "drain": "stopping without losing a request",
    "log": "the log, on standard error",
}
Names = tuple[str, ...]  # a list: an array in the file, separated by commas in a flag or variable
# The TOML types accepted for each type of setting; `true` is not a number.
FILE_TYPES: dict[Any, tuple[type, ...]] = {
    int: (int,), float: (int, float), str: (str,), Path: (str,), bool: (bool,), Names: (list,),
}  # fmt: skip
TYPE_NAMES: dict[Any, str] = {bool: "true or false", Names: "a list of names"}
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def option(section: str, default: Any, text: str, *, choices: Sequence[str] | None = None, least: int = 0) -> Any:
    """A setting with its one line of help; the unit is the last word of its name. Numbers are at least `least`."""
    return field(default=default, metadata={"section": section, "help": text, "choices": choices, "least": least})


@dataclass(frozen=True)
class Settings:
    """The effective settings, immutable. Components get values from it; the environment is read once."""

    # Setting -> "flag", "environment" or "file", where it is not the default; set by `resolve`.
    origins: ClassVar[Mapping[str, str]] = MappingProxyType({})

    repository: Path = option("storage", MISSING, "folder of all models")
    state_dir: Path = option(
        "storage", Path(), "what the server writes itself: audit log; default <repository>/.onnxpress"
    )
    audit_file_kib_max: int = option(
        "storage", 8192, "size at which the audit log goes on in a new file; a start verifies the newest one", least=1
    )

    host: str = option("data", "0.0.0.0", "address of the data and HTTP ports")  # noqa: S104 -- it serves its network
    grpc_port: int = option("data", 8001, "data port: Open Inference Protocol, health, reflection; 0: a free one")
    front: str = option("data", "native", "HTTP/2 server of the data port", choices=("native", "grpcio"))
    tls_cert_file: Path = option("data", Path(), "PEM certificate chain of the data port; needs front grpcio")
    tls_key_file: Path = option("data", Path(), "PEM private key of the certificate")
    tls_client_ca_file: Path = option("data", Path(), "PEM authorities that client certificates must come from (mTLS)")
    keepalive_s: int = option("data", 300, "the server pings a silent connection this often")
    keepalive_timeout_s: int = option("data", 20, "a connection whose ping stays unanswered this long is closed")
    connection_age_s: int = option(
        "data", 0, "connections are told to reconnect after this; 0: never; needs front grpcio"
    )
    connections_max: int = option(
        "data", 0, "connections that may be open, those of probes included; 0: no limit; needs front grpcio"
    )
    streams_per_connection_max: int = option("data", 256, "concurrent calls on one connection", least=1)
    message_mib_max: int = option("data", 16, "largest request accepted", least=1)
    io_threads: int = option("data", 0, "HTTP/2 threads of front native; 0: one per two cores")
    poll_us: int = option("data", 200, "front native busy-polls this long for a single synchronous client; 0: never")
    reflection: bool = option("data", True, "the data and admin ports describe their services by gRPC reflection")

    admin_address: str = option(
        "admin", "127.0.0.1:8003", "admin gRPC; beyond loopback only with TLS and a token or client certificates"
    )
    admin_token_file: Path = option(
        "admin", Path(), "file of bearer tokens, lines `id role token`, one of which calls must carry; empty: none"
    )
    admin_tls_cert_file: Path = option("admin", Path(), "PEM certificate chain of the admin port")
    admin_tls_key_file: Path = option("admin", Path(), "PEM private key of the certificate")
    admin_tls_client_ca_file: Path = option(
        "admin", Path(), "PEM authorities that client certificates must come from (mTLS)"
    )
    admin_names: Names = option(
        "admin", (), "names of tokens and of client certificates that may call; empty: all who can prove theirs"
    )
    admin_operators: Names = option(
        "admin", (), "names of client certificates that may change things, others may only look; empty: all may"
    )

    http_port: int = option("http", 8002, "HTTP: /metrics, /healthz, /readyz; 0: a free one")

    run_slots: int = option("batching", 0, "batches that may run at once; 0: one per core")
    batch_rows_max: int = option(
        "batching", 1024, "upper bound of rows in one batch; each version finds its own below it", least=1
    )
    latency_target_ms: int = option("batching", 100, "what batching and admission aim to stay under", least=1)
    queue_rows_max: int = option(
        "batching", 100_000, "rows that may wait in one lane, and that one request may have", least=1
    )
    queue_mib_max: int = option("batching", 256, "request bytes that may wait, of all models together", least=1)

    model_mib_max: int = option("load", 2048, "largest model.onnx accepted", least=1)
    load_seconds_max: int = option(
        "load", 120, "a version that takes longer to load, warm up and check is refused", least=1
    )
    load_mib_max: int = option("load", 8192, "memory that loading a version may take in its preflight process", least=1)

    drain_wait_s: float = option("drain", 0.5, "between NOT_SERVING and refusing new work, for balancers to notice")
    drain_finish_s: float = option("drain", 20.0, "for held work to finish when stopping")

    log_format: str = option("log", "text", "lines for people, or one JSON object a line", choices=("text", "json"))
    log_level: str = option(
        "log", "info", "the least severe records that are written", choices=("debug", "info", "warning", "error")
    )

    def __post_init__(self) -> None:
        if self.state_dir == Path():
            object.__setattr__(self, "state_dir", self.repository / ".onnxpress")
        for name in ("grpc_port", "http_port"):
            if not 0 <= getattr(self, name) <= PORT_MAX:
                raise UsageError(f"{name} must be 0 to {PORT_MAX}, got {getattr(self, name)}")
        self._check_admin()
        self._check_tls()
        for setting in fields(self):
            value, least = getattr(self, setting.name), setting.metadata["least"]
            # Written so that NaN is refused too.
            if isinstance(value, int | float) and not least <= value < math.inf:
                raise UsageError(
                    f"{setting.name} must be {f'at least {least}' if least else 'not negative'}, got {value}"
                )

    def _check_admin(self) -> None:
        proof = self.admin_token_file != Path() or self.admin_tls_client_ca_file != Path()
        if self.admin_host_port()[0] not in LOOPBACK and (self.admin_tls_cert_file == Path() or not proof):
            raise UsageError(
                f"admin_address {self.admin_address} is not loopback: set admin_tls_cert_file and admin_tls_key_file, "
                "and admin_token_file or admin_tls_client_ca_file"
            )
        if self.admin_names and not proof:
            raise UsageError("admin_names needs admin_token_file or admin_tls_client_ca_file")
        if self.admin_operators and self.admin_tls_client_ca_file == Path():
            raise UsageError("admin_operators needs admin_tls_client_ca_file; roles of tokens are in admin_token_file")

    def _check_tls(self) -> None:
        for of in ("", "admin_"):
            tls, key, authority = (getattr(self, f"{of}tls_{name}_file") for name in ("cert", "key", "client_ca"))
            if (tls != Path()) != (key != Path()):
                raise UsageError(f"{of}tls_cert_file and {of}tls_key_file go together")
            if authority != Path() and tls == Path():
                raise UsageError(f"{of}tls_client_ca_file needs {of}tls_cert_file and {of}tls_key_file")
        tls = self.tls_cert_file != Path()
        if tls and self.front == "native":
            raise UsageError("front native speaks no TLS: take --front grpcio, or end TLS before this server")
        if self.connection_age_s and self.front == "native":
            raise UsageError("front native cannot age connections: take --front grpcio, or connection_age_s 0")
        if self.connections_max and self.front == "native":
            raise UsageError("front native cannot limit connections: take --front grpcio, or connections_max 0")

    def admin_host_port(self) -> tuple[str, int]:
        host, _, port = self.admin_address.rpartition(":")
        if not host or not port.isdecimal() or int(port) > PORT_MAX:
            raise UsageError(
                f"admin_address must be HOST:PORT with a port up to {PORT_MAX}, got {self.admin_address!r}"
            )
        return host.strip("[]"), int(port)


@dataclass(frozen=True)
class Option:
    """One setting, for the command line, the file, the environment and the docs."""

    name: str  # of the attribute of Settings
    section: str
    kind: Any  # int, float, str, bool, Path or Names
    default: Any  # MISSING if a value is required
    help: str
    choices: Sequence[str] | None

    @property
    def key(self) -> str:
        """Its key within its section of the file."""
        return self.name.removeprefix(f"{self.section}_")

    @property
    def place(self) -> str:
        return f"[{self.section}] {self.key}"

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def shown_default(self) -> str:
        """The default as text; empty if there is none."""
        return "" if self.default in (MISSING, Path(), "", ()) else shown(self.default)

    def convert(self, raw: Any, source: str) -> Any:
        """Parses a value from `source`. Raises UsageError."""
        if self.choices and raw not in self.choices:
            raise UsageError(f"{self.name} must be one of {', '.join(self.choices)}, got {raw!r} in the {source}")
        try:
            if type(raw) not in (FILE_TYPES[self.kind] if source == "file" else (str, *FILE_TYPES[self.kind])):
                raise TypeError
            return _parse(self.kind, raw)
        except (KeyError, TypeError, ValueError) as error:
            expected = TYPE_NAMES.get(self.kind) or self.kind.__name__
            raise UsageError(f"{self.name} must be {expected}, got {raw!r} in the {source}") from error


@cache
def options() -> tuple[Option, ...]:
    """Every setting, section by section."""
    found = [
        Option(s.name, s.metadata["section"], s.type, s.default, s.metadata["help"], s.metadata["choices"])
        for s in fields(Settings)
    ]
    return tuple(sorted(found, key=lambda one: list(SECTIONS).index(one.section)))


def shown(value: Any) -> str:
    """A value as it is written in a flag."""
    if isinstance(value, bool):
        return str(value).lower()
    if value == Path():
        return ""
    return ",".join(value) if isinstance(value, tuple) else str(value)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """One flag per setting, and `--config`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings; unknown keys are refused")
    for one in options():
        kind = {bool: "true|false", Names: "NAME,..."}.get(one.kind) or one.kind.__name__.upper()
        parser.add_argument(
            one.flag,
            choices=one.choices,
            default=None,
            metavar=None if one.choices else kind,
            help=one.help + (f" (default {one.shown_default})" if one.shown_default else ""),
        )


def resolve(flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """Resolves the settings. Raises UsageError naming the key and its origin."""
    known = {one.name: one for one in options()}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    sources = {
        "file": _read_file(flags.get("config")),
        "environment": _read_environment(environment),
        "flag": {name: value for name, value in flags.items() if name in known and value is not None},
    }
    for source, found in sources.items():
        for name, raw in found.items():
            if raw == "" and known[name].default is MISSING:
                continue
            values[name] = known[name].convert(raw, source)
            origins[name] = source
    if "repository" not in values:
        raise UsageError("no repository: give --repository, the folder of all models")
    settings = Settings(**values)
    object.__setattr__(settings, "origins", MappingProxyType(origins))
    return settings


def _parse(kind: Any, raw: Any) -> Any:
    """Raises KeyError, TypeError or ValueError if the value is no `kind`."""
    if kind is bool:
        return raw if isinstance(raw, bool) else BOOLEANS[raw.lower()]
    if kind == Names:
        names = tuple(raw if isinstance(raw, list) else (part.strip() for part in raw.split(",") if part.strip()))
        if not all(isinstance(name, str) for name in names):
            raise TypeError
        return names
    return kind(raw)


def _read_file(path: Path | None) -> dict[str, Any]:
    """Setting -> value in the file."""
    if path is None:
        return {}
    try:
        tree = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read settings from {path}: {error}") from error
    places = {(one.section, one.key): one.name for one in options()}
    found = {}
    for section, keys in tree.items():
        if not isinstance(keys, dict):
            raise _unknown_key(section, "")
        if section not in SECTIONS:
            raise UsageError(f"unknown section [{section}] in the file" + _meant(section, SECTIONS, SECTIONS))
        for key, raw in keys.items():
            if (section, key) not in places:
                raise _unknown_key(key, section)
            found[places[section, key]] = raw
    return found


def _unknown_key(key: str, section: str) -> UsageError:
    """A hint for a misplaced key of the file; earlier files had no sections."""
    homes = " or ".join(one.place for one in options() if key in (one.name, one.key))
    if homes:
        return UsageError(f"{key} {f'is not in [{section}]' if section else 'moved'}: write it as {homes}")
    places = {key: one.place for one in options() for key in (one.name, one.key)}
    here = [one.key for one in options() if one.section == section]
    where = f"[{section}] of the file" if section else "the file"
    return UsageError(f"unknown setting {key!r} in {where}" + _meant(key, places, here or SECTIONS, places))


def _meant(wrong: str, known: Iterable[str], there: Iterable[str], written: Mapping[str, str] | None = None) -> str:
    """The end of an error message: the closest name, else all valid ones."""
    close = difflib.get_close_matches(wrong, list(known), n=1)
    if close:
        return f"; did you mean {(written or {}).get(close[0], close[0])}?"
    return f"; there are {', '.join(there)}"


def _read_environment(environment: Mapping[str, str]) -> dict[str, str]:
    start = len(ENVIRONMENT_PREFIX)
    found = {name[start:].lower(): value for name, value in environment.items() if name.startswith(ENVIRONMENT_PREFIX)}
    found = {name: value for name, value in found.items() if not SERVICE_LINKS.fullmatch(f"{name}={value}")}
    variables = {one.name: one.variable for one in options()}
    for name in found:
        if name not in variables:
            raise UsageError(
                f"unknown setting {name!r} in the environment" + _meant(name, variables, variables.values(), variables)
            )
    return found


def document() -> str:
    """The text of docs/settings.md."""
    return "\n".join(_document()) + "\n"


def _document() -> Iterator[str]:
    yield "# Settings"
    yield "Generated from `server/settings.py`. Flag beats environment beats file beats default."
    yield ""
    yield "The file given by `--config` is TOML: each setting is a key in its section. A list is an array in the file,"
    yield "and separated by commas in a flag or variable; `true` and `false` may be `1` and `0` there."
    for section, about in SECTIONS.items():
        yield from ("", f"## [{section}]", f"{about[0].upper()}{about[1:]}.", "")
        yield from ("| key | flag | environment | default | meaning |", "| --- | --- | --- | --- | --- |")
        for one in options():
            if one.section == section:
                default = f"`{one.shown_default}`" if one.shown_default else ""
                yield f"| `{one.key}` | `{one.flag}` | `{one.variable}` | {default} | {one.help} |"
