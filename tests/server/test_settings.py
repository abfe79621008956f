"""Settings: flag over environment over file over default, and whatever is wrong named once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from onnxpress.server.errors import UsageError
from onnxpress.server.settings import SECTIONS, Names, Option, Settings, options, resolve
from tests.server_process import PATIENCE_S, ROOT


def test_precedence(tmp_path: Path) -> None:
    """A flag beats the environment, which beats the file, which beats the default."""
    file = tmp_path / "serve.toml"
    sections = '[storage]\nrepository = "a"\n[data]\ngrpc_port = 1\n[http]\nport = 2\n[batching]\nrun_slots = 3\n'
    file.write_text(sections)
    environment = {"ONNXPRESS_GRPC_PORT": "10", "ONNXPRESS_HTTP_PORT": "20", "HOME": "/x"}
    settings = resolve({"config": file, "grpc_port": "100", "front": None}, environment)
    assert (settings.grpc_port, settings.http_port, settings.run_slots) == (100, 20, 3)
    assert settings.repository == Path("a")
    assert settings.front == "native"
    origins = {"repository": "file", "run_slots": "file", "http_port": "environment", "grpc_port": "flag"}
    assert settings.origins == origins


def test_state_lies_in_the_repository_unless_told() -> None:
    """What the server writes goes below the repository by default, and elsewhere when it may not write there."""
    assert resolve({"repository": "models"}, {}).state_dir == Path("models/.onnxpress")
    assert resolve({"repository": "models", "state_dir": "state"}, {}).state_dir == Path("state")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({}, ("repository",)),
        ({"repository": ""}, ("repository",)),
        ({"grpc_port": "65536"}, ("grpc_port", "0 to 65535", "65536")),
        ({"grpc_port": "-1"}, ("grpc_port", "0 to 65535", "-1")),
        ({"grpc_port": "http"}, ("grpc_port", "int", "'http'", "flag")),
        ({"front": "http"}, ("front", "native, grpcio", "'http'")),
        ({"admin_address": "0.0.0.0:8003"}, ("admin_address", "not loopback", "admin_token_file")),
        ({"admin_address": "0.0.0.0:1", "admin_token_file": "t"}, ("not loopback", "admin_tls_cert_file")),
        (
            {"admin_address": "0.0.0.0:1", "admin_tls_cert_file": "c", "admin_tls_key_file": "k"},
            ("not loopback", "admin_token_file or admin_tls_client_ca_file"),
        ),
        ({"admin_tls_cert_file": "c"}, ("admin_tls_cert_file and admin_tls_key_file go together",)),
        ({"admin_tls_client_ca_file": "c"}, ("admin_tls_client_ca_file needs admin_tls_cert_file",)),
        ({"admin_names": "ana"}, ("admin_names needs admin_token_file",)),
        ({"admin_address": "8003"}, ("admin_address", "HOST:PORT", "'8003'")),
        ({"admin_address": "127.0.0.1:99999"}, ("admin_address", "65535", "99999")),
        ({"drain_wait_s": "-1"}, ("drain_wait_s", "negative", "-1")),
        ({"drain_wait_s": "nan"}, ("drain_wait_s", "nan")),
        ({"drain_finish_s": "inf"}, ("drain_finish_s", "inf")),
        ({"batch_rows_max": "0"}, ("batch_rows_max", "at least 1", "0")),
        ({"latency_target_ms": "0"}, ("latency_target_ms", "at least 1", "0")),
        ({"message_mib_max": "0"}, ("message_mib_max", "at least 1", "0")),
        ({"connections_max": "1"}, ("front native cannot limit connections", "--front grpcio")),
        ({"streams_per_connection_max": "0"}, ("streams_per_connection_max", "at least 1", "0")),
        ({"load_mib_max": "0"}, ("load_mib_max", "at least 1", "0")),
        ({"load_seconds_max": "0"}, ("load_seconds_max", "at least 1", "0")),
        ({"queue_rows_max": "0"}, ("queue_rows_max", "at least 1", "0")),
        ({"tls_cert_file": "cert.pem"}, ("tls_cert_file", "tls_key_file")),
    ],
)
def test_wrong_flag(flags: dict[str, Any], words: tuple[str, ...]) -> None:
    """A value that cannot be is refused with its name, what is expected and what came."""
    base = {} if not flags or "repository" in flags else {"repository": "models"}
    with pytest.raises(UsageError) as caught:
        resolve({**base, **flags}, {})
    assert [word for word in words if word not in str(caught.value)] == [], caught.value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("grpc_port = 1\n", ("grpc_port moved: write it as [data] grpc_port",)),
        ("admin_address = 'a'\n", ("admin_address moved: write it as [admin] address",)),
        ("grpc_prot = 1\n", ("unknown", "'grpc_prot'", "the file", "did you mean [data] grpc_port?")),
        ("[http]\nprot = 1\n", ("unknown", "'prot' in [http]", "did you mean [http] port?")),
        ("[http]\nqqq = 1\n", ("unknown", "'qqq' in [http]", "there are port")),
        ("[http]\ngrpc_port = 1\n", ("grpc_port is not in [http]: write it as [data] grpc_port",)),
        ("[drain]\ndrain_wait_s = 1\n", ("drain_wait_s is not in [drain]: write it as [drain] wait_s",)),
        ("[drian]\nwait_s = 1\n", ("unknown section [drian]", "did you mean drain?")),
        ("[server]\ngrpc_port = 1\n", ("unknown section [server]", "storage, data, admin")),
        ("[data]\ngrpc_port = 1.5\n", ("grpc_port", "int", "1.5", "file")),
        ("[data]\ngrpc_port = '1'\n", ("grpc_port", "int", "'1'", "file")),
        ("[data]\ngrpc_port = true\n", ("grpc_port", "int", "True", "file")),
        ("[data]\ngrpc_port = [1]\n", ("grpc_port", "int", "[1]", "file")),
        ("[data]\nreflection = 1\n", ("reflection", "true or false", "1", "file")),
        ("[data]\nreflection = 'true'\n", ("reflection", "true or false", "'true'", "file")),
        ("[data]\nhost = 7\n", ("host", "str", "7", "file")),
        ("[storage]\nrepository = 7\n", ("repository", "7", "file")),
        ("[data]\ngrpc_port = \n", ("serve.toml",)),
        ("data = 1\n", ("unknown", "'data'")),
    ],
)
def test_wrong_file(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    """A file with an unknown key, a value of another type or no TOML is refused, naming key and file."""
    file = tmp_path / "serve.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        resolve({"repository": "models"} | {"config": file} if "repository" not in text else {"config": file}, {})
    assert [word for word in words if word not in str(caught.value)] == [], caught.value


def test_missing_file(tmp_path: Path) -> None:
    """A settings file that is not there is no silent default."""
    with pytest.raises(UsageError, match="cannot read settings"):
        resolve({"repository": "models", "config": tmp_path / "none.toml"}, {})


def test_wrong_environment() -> None:
    """A variable that is misspelt or no number is refused, naming the environment."""
    wrong = "unknown setting 'grpc_prot' in the environment; did you mean ONNXPRESS_GRPC_PORT"
    with pytest.raises(UsageError, match=wrong):
        resolve({"repository": "models"}, {"ONNXPRESS_GRPC_PROT": "1"})
    with pytest.raises(UsageError, match="grpc_port must be int, got 'x' in the environment"):
        resolve({"repository": "models"}, {"ONNXPRESS_GRPC_PORT": "x"})


def test_every_setting_has_help_and_a_flag() -> None:
    """`onnxpress serve --help` names every setting."""
    command = [sys.executable, "-m", "onnxpress", "serve", "--help"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=True).stdout
    assert [one.flag for one in options() if one.flag not in told] == []
    assert all(one.help and one.section in SECTIONS for one in options())


def test_every_setting_has_its_own_place_in_the_file(tmp_path: Path) -> None:
    """A file that writes every setting at its place with its default gives the defaults."""
    lines: dict[str, list[str]] = {section: [] for section in SECTIONS}
    for one in options():
        default = "models" if one.name == "repository" else one.default
        text = str(default) if isinstance(default, Path) and default != Path() else default
        value = [] if text == () else "" if isinstance(text, Path) else text
        lines[one.section].append(f"{one.key} = {json.dumps(value)}")
    file = tmp_path / "serve.toml"
    file.write_text("\n".join(f"[{section}]\n" + "\n".join(keys) for section, keys in lines.items()))
    assert resolve({"config": file}, {}) == Settings(repository=Path("models"))
    assert set(resolve({"config": file}, {}).origins) == {one.name for one in options()}


@pytest.mark.parametrize(
    ("kind", "source", "raw", "value"),
    [
        (bool, "file", False, False),
        (bool, "environment", "0", False),
        (bool, "flag", "True", True),
        (Names, "file", ["ana", "b,c"], ("ana", "b,c")),
        (Names, "environment", "ana, ben,", ("ana", "ben")),
        (Names, "flag", "", ()),
    ],
)
def test_booleans_and_lists(kind: Any, source: str, raw: Any, value: Any) -> None:
    """A file has booleans and arrays of its own; flags and variables say true, false, 1, 0 and commas."""
    assert Option("x", "data", kind, None, "", None).convert(raw, source) == value


@pytest.mark.parametrize(
    ("kind", "source", "raw"),
    [(bool, "flag", "yes"), (bool, "file", 1), (Names, "file", "ana"), (Names, "file", [1]), (Names, "file", True)],
)
def test_wrong_booleans_and_lists(kind: Any, source: str, raw: Any) -> None:
    """What is neither true nor false, or no list of names, is refused and named."""
    with pytest.raises(UsageError, match=r"x must be (true or false|a list of names), got"):
        Option("x", "data", kind, None, "", None).convert(raw, source)


@pytest.mark.parametrize("arguments", [["--no-such-flag"], ["--repository"], ["--front", "http", "--repository", "."]])
def test_bad_command_line(arguments: list[str]) -> None:
    """A command line that cannot be understood is one clear message and exit 2."""
    command = [sys.executable, "-m", "onnxpress", "serve", *arguments]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert child.returncode == 2
    assert "Traceback" not in child.stderr
    assert child.stderr.splitlines()[-1].startswith("onnxpress serve: ")
