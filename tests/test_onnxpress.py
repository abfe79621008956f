import sys

import pytest

import onnxpress


def run(monkeypatch: pytest.MonkeyPatch, module: str, extra: str) -> int:
    monkeypatch.setitem(onnxpress.COMMANDS, "convert", (module, extra, "a line of help"))
    monkeypatch.setattr(sys, "argv", ["onnxpress", "convert"])
    return onnxpress.main()


def test_a_room_that_is_not_in_the_image_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The serving image has no converters: `onnxpress convert` there says so, without a trace."""
    assert run(monkeypatch, "no_such_room.cli", "convert") == 2
    said = capsys.readouterr().err
    assert said == "onnxpress: convert needs no_such_room, which is not installed: pip install 'onnxpress[convert]'\n"


def test_a_hole_in_an_installed_room_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch):
    """A module that is missing where its room exists would not be cured by an extra; the trace is wanted."""
    with pytest.raises(ModuleNotFoundError, match=r"server\.no_such_module"):
        run(monkeypatch, "server.no_such_module", "convert")
