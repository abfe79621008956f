"""`python -m benchmarks.engines` on a small model, with and without the other libraries."""

import json
import sys
from pathlib import Path

import pytest
from xgboost import XGBClassifier

from benchmarks.engines import __main__ as command
from benchmarks.engines import contenders, models
from benchmarks.packages import training_rows

pytestmark = pytest.mark.kernel

SMALL = "xgboost-100x6"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One model of 20 trees, three batch sizes, no environment of other libraries, folders of the test's own."""
    small = models.Model(
        "A small model", "xgboost", "json", lambda: XGBClassifier(n_estimators=20, max_depth=4).fit(*training_rows())
    )
    monkeypatch.setattr(command, "MODELS", {SMALL: small})
    monkeypatch.setattr(models, "MODELS", {SMALL: small})
    monkeypatch.setattr("benchmarks.engines.report.MODELS", {SMALL: small})
    monkeypatch.setattr(command, "SIZES", (1, 8, 64))
    monkeypatch.setattr(command, "WORK", tmp_path / "work")
    monkeypatch.setattr(command, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(contenders, "ENVIRONMENT", tmp_path / "nowhere")


def test_every_engine_of_ours_is_timed(tmp_path: Path) -> None:
    """Each size has a positive figure per round of each engine; those that are missing are named with the reason."""
    assert command.main(["--rounds", "2", "--seconds", "0.01"]) == 0
    written = json.loads((tmp_path / "docs/engines.json").read_text())
    sizes = written["cpu_s_per_row"][SMALL]
    assert [*sizes] == ["1", "8", "64"]
    for at in sizes.values():
        assert {name: len(costs) for name, costs in at.items()} == dict.fromkeys(
            (contenders.RUNTIME, contenders.FOREST, contenders.CHOICE, contenders.ORIGINAL), 2
        )
        assert all(cost > 0 for costs in at.values() for cost in costs)
    assert written["absent"] == {
        f"{name}, A small model": "it is not installed (`make bench-peers`)" for name in contenders.OTHERS
    }
    assert "| 64 |" in (tmp_path / "docs/engines.md").read_text()
    assert (tmp_path / "docs/engines.svg").exists()


def test_a_short_run_never_becomes_the_docs(tmp_path: Path) -> None:
    """`--quick` is for testing the bench."""
    assert command.main(["--quick"]) == 0
    assert not (tmp_path / "docs").exists()


def test_a_library_that_cannot_run_the_model_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The reason is the library's own; here the import fails, since this environment has none of them."""
    monkeypatch.setattr(contenders, "ENVIRONMENT", Path(sys.prefix))
    assert command.main(["--quick"]) == 0
    absent = json.loads((tmp_path / "work/engines.json").read_text())["absent"]
    assert absent["oneDAL, A small model"] == "ModuleNotFoundError: No module named 'daal4py'"


@pytest.mark.parametrize("flags", [["--rounds", "0"], ["--seconds", "-2"], ["--only", "nothing"]])
def test_wrong_flags_are_usage_errors(flags: list[str]) -> None:
    """Exit code 2 and no measurement."""
    with pytest.raises(SystemExit, match="2"):
        command.main(flags)
