"""The log: one JSON object a line on request, whoever wrote the record."""

import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from onnxpress.server import logs
from onnxpress.server.settings import Settings, resolve
from onnxpress.server.wire.status import status_of


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """What is written to standard error; what `configure` changes in the process is put back."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook
    root.handlers = []
    yield capsys
    logging.captureWarnings(capture=False)
    root.handlers, root.level, sys.excepthook, threading.excepthook, sys.unraisablehook = before


def settings(**changed: str) -> Settings:
    return Settings(repository=Path("models"), log_format="json", **changed)


def records(log: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.readouterr().err.splitlines()]


def test_a_record_is_one_json_object_on_one_line(log: pytest.CaptureFixture[str]) -> None:
    """Time in UTC with microseconds, level, logger, message, and what was given beside it."""
    logs.configure(settings())
    before = datetime.now(UTC)
    logging.getLogger("uvicorn.error").error("two\nlines %d", 7, extra={"model": "churn", "version": 2})
    (record,) = records(log)
    at = datetime.fromisoformat(record.pop("ts"))
    assert before <= at <= datetime.now(UTC)
    assert record == {"level": "ERROR", "logger": "uvicorn.error", "message": "two\nlines 7", "model": "churn", "version": 2}  # fmt: skip  # noqa: E501


def test_an_internal_error_has_its_id(log: pytest.CaptureFixture[str]) -> None:
    """The id that the caller was told finds the record, which holds the trace."""
    logs.configure(settings())
    try:
        raise ZeroDivisionError("the cause")
    except ZeroDivisionError as error:
        message = status_of(error)[1]
    (record,) = records(log)
    assert message == f"internal error {record['error_id']}"
    assert record["exception"].startswith("Traceback")
    assert record["exception"].endswith("ZeroDivisionError: the cause")


def test_warnings_and_what_nobody_caught_are_records(log: pytest.CaptureFixture[str]) -> None:
    """Nothing but JSON is written, so that no line is lost to whoever collects them."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.configure(settings())
        warnings.warn("careful", UserWarning, stacklevel=1)
    thread = threading.Thread(target=lambda: 1 / 0, name="pump-1")
    thread.start()
    thread.join()
    sys.excepthook(KeyError, KeyError("lost"), None)
    found = records(log)
    assert [record["logger"] for record in found] == ["py.warnings", "onnxpress.server.logs", "onnxpress.server.logs"]
    assert "careful" in found[0]["message"]
    assert found[1]["message"] == "thread pump-1 died"
    assert "ZeroDivisionError" in found[1]["exception"]
    assert "lost" in found[2]["exception"]


def test_an_error_in_a_finalizer_is_a_record(log: pytest.CaptureFixture[str]) -> None:
    """Python itself would print it as text, in the middle of the JSON lines."""

    class Dying:
        def __del__(self) -> None:
            raise ZeroDivisionError("late")

    logs.configure(settings())
    Dying()
    (record,) = records(log)
    assert "Dying.__del__" in record["message"]
    assert "ZeroDivisionError: late" in record["exception"]


@pytest.mark.parametrize(("level", "written"), [("debug", 3), ("info", 2), ("error", 1)])
def test_level(log: pytest.CaptureFixture[str], level: str, written: int) -> None:
    """Records below the level are not written."""
    logs.configure(settings(log_level=level))
    for severity in (logging.DEBUG, logging.INFO, logging.ERROR):
        logging.getLogger("x").log(severity, "said")
    assert len(records(log)) == written


def test_settings_are_told_with_their_sources_and_without_secrets(
    log: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Every setting by section; where it came from unless it is the default; never what a secret's file holds."""
    token = tmp_path / "token"
    token.write_text("correct horse")
    flags = {"repository": "models", "log_format": "json", "admin_token_file": str(token)}
    effective = resolve(flags, {"ONNXPRESS_GRPC_PORT": "9001"})
    logs.configure(effective)
    logs.tell_settings(effective)
    (record,) = records(log)
    assert record["settings"]["data"]["grpc_port"] == 9001
    assert record["settings"]["admin"]["token_file"] == str(token)
    assert record["settings"]["data"]["reflection"] is True
    assert record["origins"] == dict.fromkeys(flags, "flag") | {"grpc_port": "environment"}
    assert "[data] host='0.0.0.0' grpc_port='9001' (environment) front='native'" in record["message"]
    assert "horse" not in json.dumps(record)
