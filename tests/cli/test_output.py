"""What a command prints, and where."""

import importlib.util
import io

import pytest

from onnxpress.cli.output import facts_of, print_fields, printable, terminal
from onnxpress.protos import admin_pb2 as pb
from onnxpress.protos.package_pb2 import Manifest, Tensor


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_needs_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """The serving image has no rich: a terminal there gets the lines that a pipe gets."""
    assert terminal(Tty()) is not None
    assert terminal(io.StringIO()) is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert terminal(Tty()) is None


def test_fields_are_lines_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Labels in a column, values of any length on one line."""
    print_fields([("size", "12 bytes"), ("inputs", "x" * 300)])
    assert capsys.readouterr().out == f"size       12 bytes\ninputs     {'x' * 300}\n"


def test_facts_keep_types_and_name_what_is_unset() -> None:
    """Integers above 2**53 stay integers, enums lose their prefix, an unset message is null, a default is its value."""
    status = pb.VersionStatus(version=2**63, state=pb.VERSION_STATE_READY)
    assert facts_of(status)["version"] == 2**63
    assert facts_of(status)["state"] == "ready"
    assert facts_of(pb.GetDeploymentResponse())["updated_at"] is None
    assert facts_of(pb.DeployResponse())["changed"] is False
    assert facts_of(pb.DeployRequest(expected_epoch=0))["expected_epoch"] == 0
    assert facts_of(pb.DeployRequest())["expected_epoch"] is None
    assert facts_of(Tensor(name="x", shape=[-1, 3])) == {"name": "x", "datatype": "", "shape": [-1, 3]}
    assert facts_of(Manifest(classes=["a"], opsets={"": 21}))["opsets"] == {"": 21}


def test_text_of_others_cannot_steer_the_terminal() -> None:
    """Escapes, carriage returns and direction marks are shown as text; letters of any script stay."""
    assert printable("größe\x1b[2J\r\u202e") == "größe\\x1b[2J\\r\\u202e"
