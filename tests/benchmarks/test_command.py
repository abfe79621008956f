"""The command's own behaviour, without measuring."""

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import machine, packages, peers, scenarios
from benchmarks.figures import Run
from benchmarks.generator import Generator, GeneratorError


@pytest.fixture(autouse=True)
def _no_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is trained, compiled or asked of the machine; files go to a folder of the test's own."""
    monkeypatch.setattr(command, "WORK", tmp_path / "work")
    monkeypatch.setattr(command, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(packages, "build", lambda *_: None)
    monkeypatch.setattr(Generator, "__init__", lambda *_: None)
    monkeypatch.setattr(machine, "describe", lambda _: {"cpu": "some"})
    monkeypatch.setattr(machine, "h2load", dict)
    monkeypatch.setattr(peers, "versions", dict)


def fast(bench: scenarios.Bench) -> None:
    """Measures in no time."""
    runs = {name: [Run(rate, 0, 1.0, 0.1, 0.1, 1, 2, 3, 4)] for name, rate in (("echo", 1000), ("onnxpress", 700))}
    bench.results.cells["light, 1 row, 8x16"] = runs


def broken(_: scenarios.Bench) -> None:
    """Fails."""
    raise GeneratorError("h2load went away\nand said more")


def test_a_whole_bench_writes_the_docs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Page, plot and figures; a broken promise is an error only where it is asked for."""
    monkeypatch.setattr(command, "PARTS", {"fast": fast})
    assert command.main([]) == 0
    assert "NOT REACHED" in (tmp_path / "docs" / "README.md").read_text()
    assert json.loads((tmp_path / "docs" / "results.json").read_text())["machine"] == {"cpu": "some"}
    assert (tmp_path / "docs" / "throughput.svg").exists()
    assert command.main(["--strict"]) == 1


def test_a_failed_part_keeps_the_others_and_the_docs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Exit code 2, the reason noted, the other parts' figures kept aside, the published page left alone."""
    monkeypatch.setattr(command, "PARTS", {"broken": broken, "fast": fast})
    assert command.main([]) == 2
    assert not (tmp_path / "docs").exists()
    page = (tmp_path / "work" / "README.md").read_text()
    assert "h2load went away" in page
    assert "| light, 1 row, 8x16 | echo |" in page


@pytest.mark.parametrize("flags", [["--quick"], ["--only", "fast"]])
def test_part_of_a_bench_never_becomes_the_docs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: list[str]
) -> None:
    """Quick or partial figures are not for quoting."""
    monkeypatch.setattr(command, "PARTS", {"fast": fast})
    assert command.main(flags) == 0
    assert not (tmp_path / "docs").exists()


def test_another_build_is_compared_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`--against` runs no other part, hands over the command, and never becomes the docs."""
    asked: list[Path | None] = []
    monkeypatch.setattr(command, "PARTS", {"broken": broken})
    monkeypatch.setattr(command, "against", lambda bench: asked.append(bench.before))
    assert command.main(["--against", "other/bin/onnxpress"]) == 0
    assert asked == [Path("other/bin/onnxpress")]
    assert not (tmp_path / "docs").exists()


@pytest.mark.parametrize("flags", [["--rounds", "0"], ["--seconds", "-2"], ["--only", "nothing"]])
def test_wrong_flags_are_usage_errors(flags: list[str]) -> None:
    """Exit code 2 and no measurement."""
    with pytest.raises(SystemExit, match="2"):
        command.main(flags)
